import { credentials, Metadata, type ServiceError, status } from "@grpc/grpc-js";
import {
  type Explanation,
  type ListHostsResponse,
  type ListPeersResponse,
  type ListTasksResponse,
  SchedulerClient as GeneratedClient,
} from "@lacewing/contracts/gen/lacewing/scheduler/v1/scheduler.ts";
import { messageOf } from "@lacewing/runtime/errors.ts";
import { CliError } from "./cli-error.ts";

/** A scheduler that is there accepts at once, also across a data centre. */
const CONNECT_TIMEOUT_MS = 3_000;
/** Reading the logs for an explanation takes two seconds at most, a query five. */
const CALL_TIMEOUT_MS = 20_000;
/** A hundred peers with the largest piece maps, and five hundred leases of scattered pieces. */
const MESSAGE_BYTES_MAX = 64 * 2 ** 20;

/** The scheduler's API as the commands use it. Every failure is a {@link CliError}. */
export interface SchedulerClient {
  explain(id: string): Promise<Explanation>;
  listHosts(page: PageAsked): Promise<ListHostsResponse>;
  listTasks(page: PageAsked & { readonly state: string }): Promise<ListTasksResponse>;
  listPeers(page: PageAsked & { readonly taskId: string }): Promise<ListPeersResponse>;
  close(): void;
}

export interface PageAsked {
  readonly pageSize: number;
  readonly pageToken: string;
}

/** Nobody listens where the scheduler should: what it stored may still be asked. */
export class SchedulerAway extends CliError {}

/** @throws {SchedulerAway} when no scheduler answers at `host:port`. */
export async function connectScheduler(address: string): Promise<SchedulerClient> {
  const client = new GeneratedClient(address, credentials.createInsecure(), {
    "grpc.max_receive_message_length": MESSAGE_BYTES_MAX,
    "grpc.enable_http_proxy": 0,
  });
  await new Promise<void>((resolve, reject) => {
    client.waitForReady(Date.now() + CONNECT_TIMEOUT_MS, (error) => {
      if (error === undefined || error === null) return resolve();
      client.close();
      reject(
        new SchedulerAway(
          `no scheduler answers at ${address}`,
          "Is the cluster running? Start it with `npm start` (or `npx lacewing up`), or name the address with --scheduler HOST:PORT.",
          { cause: error },
        ),
      );
    });
  });
  const options = () => ({ deadline: Date.now() + CALL_TIMEOUT_MS });
  const metadata = new Metadata();
  return {
    explain: (id) => answerOf((callback) => client.explain({ id }, metadata, options(), callback)),
    listHosts: (page) =>
      answerOf((callback) => client.listHosts(page, metadata, options(), callback)),
    listTasks: (page) =>
      answerOf((callback) => client.listTasks(page, metadata, options(), callback)),
    listPeers: (page) =>
      answerOf((callback) => client.listPeers(page, metadata, options(), callback)),
    close: () => client.close(),
  };
}

async function answerOf<T>(
  ask: (callback: (error: ServiceError | null, answer: T) => void) => unknown,
): Promise<T> {
  return new Promise((resolve, reject) => {
    ask((error, answer) => (error === null ? resolve(answer) : reject(asCliError(error))));
  });
}

function asCliError(error: ServiceError): CliError {
  return new CliError(error.details || messageOf(error), HINTS[error.code], { cause: error });
}

/** What usually helps, by gRPC status. */
const HINTS: Readonly<Partial<Record<number, string>>> = {
  [status.NOT_FOUND]:
    'A fact is stored some hundred milliseconds after it happened, and kept for days, not for ever. `lacewing tasks` and `lacewing sql "select download_id, url from downloads order by started_at desc limit 10"` show ids.',
  [status.INVALID_ARGUMENT]:
    "Ids stand in `lacewing tasks`, in the peers' logs (task, trace), and in the tables leases and downloads.",
  [status.FAILED_PRECONDITION]: "Give more digits.",
  [status.UNAVAILABLE]:
    "The scheduler is starting, or its database does not answer: look at its log.",
  [status.RESOURCE_EXHAUSTED]: "Repeat the command in a moment.",
  [status.DEADLINE_EXCEEDED]: "The scheduler is up but does not answer: look at its log.",
};
