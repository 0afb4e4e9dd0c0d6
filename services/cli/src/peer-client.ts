import { existsSync } from "node:fs";
import { credentials, Metadata, type ServiceError, status } from "@grpc/grpc-js";
import {
  type DownloadRequest,
  type DownloadResponse,
  type ListTasksResponse,
  type PinTaskRequest,
  type RemoveTaskRequest,
  type RemoveTaskResponse,
  PeerApiClient,
  type TaskStat,
} from "@lacewing/contracts/gen/lacewing/peer/v1/peer_api.ts";
import { messageOf } from "@lacewing/runtime/errors.ts";
import { CliError } from "./cli-error.ts";

/** A service on the same machine accepts at once, or is not there. */
const CONNECT_TIMEOUT_MS = 2_000;
/** Listing a full store takes milliseconds; longer means that the service hangs. */
const CALL_TIMEOUT_MS = 10_000;
/** The host gives up a silent origin or parent long before this; longer means that it hangs itself. */
const SILENCE_MS_MAX = 5 * 60_000;
/** A list of 100,000 tasks with their piece maps; gRPC's own 4 MiB would refuse a large store. */
const MESSAGE_BYTES_MAX = 256 * 2 ** 20;

/** Content that may be on its way: HTTP/2's own 64 KiB would stop the host after every quarter of a message. */
const WINDOW_BYTES = 8 * 2 ** 20;

/** One host's API as the commands use it. Every failure is a {@link CliError}. */
export interface PeerClient {
  stat(question: { readonly taskId?: string; readonly url?: string }): Promise<TaskStat>;
  list(): Promise<ListTasksResponse>;
  remove(request: RemoveTaskRequest): Promise<RemoveTaskResponse>;
  pin(request: PinTaskRequest): Promise<TaskStat>;
  /** The messages of one download in order; leaving the loop or `signal` cancels it. */
  download(request: DownloadRequest, signal: AbortSignal): AsyncGenerator<DownloadResponse>;
  close(): void;
}

/** @throws {CliError} when no peer service answers at the socket. */
export async function connectPeer(socket: string): Promise<PeerClient> {
  if (!existsSync(socket)) throw notRunning(socket);
  const client = new PeerApiClient(`unix:${socket}`, credentials.createInsecure(), {
    "grpc.max_receive_message_length": MESSAGE_BYTES_MAX,
    "grpc.enable_http_proxy": 0,
    "grpc-node.flow_control_window": WINDOW_BYTES,
  });
  await new Promise<void>((resolve, reject) => {
    client.waitForReady(Date.now() + CONNECT_TIMEOUT_MS, (error) => {
      if (error === undefined || error === null) return resolve();
      client.close();
      reject(notRunning(socket, error));
    });
  });
  const options = () => ({ deadline: Date.now() + CALL_TIMEOUT_MS });
  return {
    stat: ({ taskId = "", url = "" }) =>
      answerOf((callback) => client.statTask({ taskId, url }, new Metadata(), options(), callback)),
    list: () => answerOf((callback) => client.listTasks({}, new Metadata(), options(), callback)),
    remove: (request) =>
      answerOf((callback) => client.removeTask(request, new Metadata(), options(), callback)),
    pin: (request) =>
      answerOf((callback) => client.pinTask(request, new Metadata(), options(), callback)),
    download: (request, signal) => downloadWith(client, request, signal),
    close: () => client.close(),
  };
}

async function* downloadWith(
  client: PeerApiClient,
  request: DownloadRequest,
  signal: AbortSignal,
): AsyncGenerator<DownloadResponse> {
  signal.throwIfAborted();
  const call = client.download(request);
  const silence = new AbortController();
  const silenceTimer = setTimeout(() => silence.abort(), SILENCE_MS_MAX);
  const ended = AbortSignal.any([signal, silence.signal]);
  const cancel = (): void => call.cancel();
  ended.addEventListener("abort", cancel, { once: true });
  try {
    const messages: AsyncIterable<DownloadResponse> = call;
    for await (const message of messages) {
      silenceTimer.refresh();
      yield message;
    }
  } catch (error) {
    signal.throwIfAborted();
    if (!silence.signal.aborted) throw asCliError(error);
    throw new CliError(
      `nothing came for ${SILENCE_MS_MAX / 1000} s`,
      "The origin or the peer service hangs: look at the host's log.",
      { cause: error },
    );
  } finally {
    clearTimeout(silenceTimer);
    ended.removeEventListener("abort", cancel);
    call.cancel();
  }
}

async function answerOf<T>(
  ask: (callback: (error: ServiceError | null, answer: T) => void) => unknown,
): Promise<T> {
  return new Promise((resolve, reject) => {
    ask((error, answer) => (error === null ? resolve(answer) : reject(asCliError(error))));
  });
}

function notRunning(socket: string, cause?: unknown): CliError {
  return new CliError(
    `no peer service answers at ${socket}`,
    "Is the cluster running? Start it with `npm start` (or `npx lacewing up`).",
    { cause },
  );
}

function asCliError(error: unknown): CliError {
  const details = isServiceError(error) ? error.details : messageOf(error);
  const hint = isServiceError(error) ? HINTS[error.code] : undefined;
  return new CliError(details, hint, { cause: error });
}

function isServiceError(error: unknown): error is ServiceError {
  return error instanceof Error && "code" in error && "details" in error;
}

/** What usually helps, by gRPC status. */
const HINTS: Readonly<Partial<Record<number, string>>> = {
  [status.NOT_FOUND]: "`lacewing ls` shows what the host holds.",
  [status.FAILED_PRECONDITION]: "Wait, or `lacewing unpin` it; `--force` removes it all the same.",
  [status.RESOURCE_EXHAUSTED]: "`lacewing unpin` what need not be kept any more.",
  [status.UNAVAILABLE]:
    "The origin or the peer service did not answer: try again, or look at the host's log.",
  [status.DEADLINE_EXCEEDED]: "The peer service is up but does not answer: look at the host's log.",
  [status.ABORTED]:
    "The transfer was broken off; what came is not the whole content. The host's log says why.",
  [status.CANCELLED]: "The peer service stopped. Start the cluster again and repeat the command.",
};
