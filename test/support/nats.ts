import { existsSync } from "node:fs";
import { createServer } from "node:net";
import { once } from "node:events";
import { connect, type NatsConnection } from "@nats-io/transport-node";
import { findTool } from "./required-tool.ts";
import { type RunningProcess, startProcess } from "./processes.ts";
import { makeTempDir } from "./temp-dir.ts";
import { waitFor } from "./wait-for.ts";

/** A real nats-server with JetStream for one test file: `await using nats = await startTestNats()`. */
export interface TestNats {
  readonly url: string;
  /** A connection that is closed with the server. */
  connect(): Promise<NatsConnection>;
  /** Ends the server as a power cut would, and starts it again on the same store and port. */
  restart(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** Path of nats-server: Debian puts it where an ordinary user's PATH does not lead. */
function findNatsServer(): string | undefined {
  const usual = "/usr/sbin/nats-server";
  return findTool("nats-server") ?? (existsSync(usual) ? usual : undefined);
}

/** A test's server needs to live as long as its file. */
const SERVER_TIMEOUT_MS = 10 * 60_000;

/** @throws when there is no nats-server on this machine. */
export async function startTestNats(): Promise<TestNats> {
  const found = findNatsServer();
  if (found === undefined) throw new Error("nats-server is not on the PATH");
  const command: string = found;
  const dir = await makeTempDir("nats");
  const port = await freePort();
  const url = `nats://127.0.0.1:${port}`;
  const args = ["-a", "127.0.0.1", "-p", `${port}`, "-js", "-sd", dir.path];
  const connections: NatsConnection[] = [];
  let server: RunningProcess = await start();

  async function start(): Promise<RunningProcess> {
    const started = await startProcess({ command, args, timeoutMs: SERVER_TIMEOUT_MS });
    await waitFor("nats-server answers", async () => {
      const probe = await connect({ servers: url, reconnect: false });
      await probe.close();
      return true;
    });
    return started;
  }

  return {
    url,
    connect: async () => {
      const connection = await connect({
        servers: url,
        maxReconnectAttempts: -1,
        reconnectTimeWait: 50,
      });
      connections.push(connection);
      return connection;
    },
    restart: async () => {
      server.kill("SIGKILL");
      await server.result;
      server = await start();
    },
    [Symbol.asyncDispose]: async () => {
      await Promise.all(connections.map((connection) => connection.close()));
      server.kill("SIGTERM");
      await server.result;
      await dir[Symbol.asyncDispose]();
    },
  };
}

async function freePort(): Promise<number> {
  const server = createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  if (address === null || typeof address === "string") throw new Error("no port");
  return address.port;
}
