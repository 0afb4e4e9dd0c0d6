import { Server, ServerCredentials } from "@grpc/grpc-js";
import { HealthImplementation } from "grpc-health-check";
import { messageOf, PortError } from "@lacewing/runtime/errors.ts";

/** `grpc.health.v1`: the empty service name stands for the whole process. */
export interface HealthServer {
  /** `host:port` it listens on. */
  readonly address: string;
  setServing(isServing: boolean): void;
  close(): Promise<void>;
}

/** A call that is under way when we stop is a health check: it does not take longer. */
const CLOSE_TIMEOUT_MS = 1_000;

/** @throws {PortError} when the address is taken. */
export async function startHealthServer(address: {
  readonly host: string;
  readonly port: number;
}): Promise<HealthServer> {
  const health = new HealthImplementation({ "": "NOT_SERVING" });
  const server = new Server();
  health.addToServer(server);
  const host = address.host.includes(":") ? `[${address.host}]` : address.host;
  const port = await bind(server, `${host}:${address.port}`);
  return {
    address: `${host}:${port}`,
    setServing: (isServing) => health.setStatus("", isServing ? "SERVING" : "NOT_SERVING"),
    close: () => close(server),
  };
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
