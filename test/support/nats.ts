import { execFileSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { once } from "node:events";
import { delimiter, join } from "node:path";
import { cacheHome } from "@lacewing/local/nats-binary.ts";
import { jetstreamManager } from "@nats-io/jetstream";
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
  /** The address with a login, for a server that was started with that password. */
  urlWith(password: string): string;
  /** Ends the server as a power cut would, and starts it again on the same port. */
  restart(change?: TestNatsChange): Promise<void>;
  /** Takes all messages out of a stream, whose sequences go on. */
  purge(stream: string): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** How the server comes back. Left out: on the same store, open to everybody. */
export interface TestNatsChange {
  /** Asked of every client. */
  readonly password?: string;
  /** The store is gone, as after the loss of a disk. */
  readonly isWiped?: boolean;
  /** Subjects that nobody may publish to; without a password, and on the same store. */
  readonly denied?: string;
}

/** The only login of a server with a password. */
const USER = "tester";

/** Path of nats-server: Debian puts it where an ordinary user's PATH does not lead. */
function findNatsServer(): string | undefined {
  const usual = "/usr/sbin/nats-server";
  return findTool("nats-server") ?? (existsSync(usual) ? usual : undefined);
}

/** A test's server needs to live as long as its file. */
const SERVER_TIMEOUT_MS = 10 * 60_000;

/** A nats-server that tests can run on. */
export interface NatsProgram {
  readonly path: string;
  /** As it says itself: `v2.10.27`. */
  readonly version: string;
}

/**
 * Every version of nats-server that is at hand: the installed one, those that a local cluster has fetched into its cache, and those that
 * `LACEWING_TEST_NATS_SERVERS` names (paths joined by colons). Says so when there is only one.
 */
export function natsPrograms(): readonly NatsProgram[] {
  const named = (process.env["LACEWING_TEST_NATS_SERVERS"] ?? "").split(delimiter);
  const cache = cacheHome(process.env);
  const cached = existsSync(cache)
    ? readdirSync(cache).map((name) => join(cache, name, "nats-server"))
    : [];
  const paths = [findNatsServer() ?? "", ...named, ...cached].filter((path) => existsSync(path));
  const programs = new Map(
    paths.map((path) => {
      const text = execFileSync(path, ["--version"], { encoding: "utf8" });
      const version = /v\d+\.\d+\.\d+/.exec(text)?.[0] ?? text.trim();
      return [version, { path, version }];
    }),
  );
  if (programs.size === 1) {
    process.stderr.write(
      `only nats-server ${[...programs.keys()].join()} is at hand: name others in LACEWING_TEST_NATS_SERVERS\n`,
    );
  }
  return [...programs.values()];
}

/** @throws when there is no nats-server on this machine. */
export async function startTestNats(program?: NatsProgram): Promise<TestNats> {
  const found = program?.path ?? findNatsServer();
  if (found === undefined) throw new Error("nats-server is not on the PATH");
  const command: string = found;
  const dir = await makeTempDir("nats");
  const port = await freePort();
  const url = `nats://127.0.0.1:${port}`;
  const args = ["-a", "127.0.0.1", "-p", `${port}`, "-js", "-sd", dir.path];
  const connections: NatsConnection[] = [];
  let server: RunningProcess = await start();

  async function rightsFile(denied: string): Promise<string> {
    const path = dir.join("rights.conf");
    await writeFile(path, rightsText(denied));
    return path;
  }

  async function start(password?: string, denied?: string): Promise<RunningProcess> {
    const login = password === undefined ? undefined : { user: USER, pass: password };
    const loginArgs = login === undefined ? [] : ["--user", login.user, "--pass", login.pass];
    const rightsArgs = denied === undefined ? [] : ["-c", await rightsFile(denied)];
    const started = await startProcess({
      command,
      args: [...args, ...loginArgs, ...rightsArgs],
      timeoutMs: SERVER_TIMEOUT_MS,
    });
    await waitFor("nats-server answers", async () => {
      const probe = await connect({ servers: url, reconnect: false, ...login });
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
    urlWith: (password) => `nats://${USER}:${password}@127.0.0.1:${port}`,
    purge: async (stream) => {
      const connection = await connect({ servers: url });
      const manager = await jetstreamManager(connection);
      await manager.streams.purge(stream);
      await connection.close();
    },
    restart: async ({ password, isWiped = false, denied } = {}) => {
      server.kill("SIGKILL");
      await server.result;
      if (isWiped) await rm(dir.path, { recursive: true });
      server = await start(password, denied);
    },
    [Symbol.asyncDispose]: async () => {
      await Promise.all(connections.map((connection) => connection.close()));
      server.kill("SIGTERM");
      await server.result;
      await dir[Symbol.asyncDispose]();
    },
  };
}

/** Everybody is the same user, who may publish to anything else. */
function rightsText(denied: string): string {
  const permissions = { publish: { deny: [denied] } };
  const users = [{ user: USER, password: USER, permissions }];
  return JSON.stringify({ authorization: { users }, no_auth_user: USER });
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
