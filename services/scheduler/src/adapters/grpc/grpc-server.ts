import { fileURLToPath } from "node:url";
import { Server, ServerCredentials } from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import { ReflectionService } from "@grpc/reflection";
import {
  type SchedulerServer,
  SchedulerService,
} from "@lacewing/contracts/gen/lacewing/scheduler/v1/scheduler.ts";
import { PROTO_ROOT, SCHEDULER_PROTO } from "@lacewing/contracts/proto-files.ts";
import { messageOf, PortError } from "@lacewing/runtime/errors.ts";
import { HealthImplementation, protoPath as healthProto } from "grpc-health-check";

/** The scheduler's gRPC services: its API, `grpc.health.v1`, and reflection (`grpc.reflection.v1`, `v1alpha`). */
export interface GrpcServer {
  /** `host:port` it listens on. */
  readonly address: string;
  /** Whether this process is ready: the health of the empty service name. */
  setServing(isServing: boolean): void;
  close(): Promise<void>;
}

/** An answer that is under way when we stop is given up after this: whoever asked can ask a successor. */
const CLOSE_TIMEOUT_MS = 1_000;
/** Requests are an id and a page: more is no request of ours. */
const REQUEST_BYTES_MAX = 16 * 1024;
/** Calls of one connection at once; the API has a limit of its own over all of them. */
const CALLS_PER_CONNECTION_MAX = 100;

const API_NAME = "lacewing.scheduler.v1.Scheduler";

/** @throws {PortError} when the address is taken. */
export async function startGrpcServer(
  address: { readonly host: string; readonly port: number },
  api: SchedulerServer,
): Promise<GrpcServer> {
  const server = new Server({
    "grpc.max_receive_message_length": REQUEST_BYTES_MAX,
    "grpc.max_concurrent_streams": CALLS_PER_CONNECTION_MAX,
  });
  const health = new HealthImplementation({ "": "NOT_SERVING", [API_NAME]: "SERVING" });
  health.addToServer(server);
  server.addService(SchedulerService, api);
  reflection().addToServer(server);
  const host = address.host.includes(":") ? `[${address.host}]` : address.host;
  const port = await bind(server, `${host}:${address.port}`);
  return {
    address: `${host}:${port}`,
    setServing: (isServing) => health.setStatus("", isServing ? "SERVING" : "NOT_SERVING"),
    close: () => close(server),
  };
}

/** Tells tools that know nothing of us which calls there are. */
function reflection(): ReflectionService {
  const protos = loadSync([SCHEDULER_PROTO, healthProto], {
    includeDirs: [fileURLToPath(PROTO_ROOT)],
  });
  return new ReflectionService(protos);
}

function bind(server: Server, address: string): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  server.bindAsync(address, ServerCredentials.createInsecure(), (error, port) => {
    if (error === null) resolve(port);
    else {
      const message = `cannot listen on ${address}: ${messageOf(error)}`;
      reject(new PortError("listen_failed", message, { retryable: false, cause: error }));
    }
  });
  return promise;
}

async function close(server: Server): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(() => {
    server.forceShutdown();
    resolve();
  }, CLOSE_TIMEOUT_MS);
  server.tryShutdown(() => resolve());
  await promise;
  clearTimeout(timer);
}
