import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { chmodSync, chownSync, cpSync, mkdirSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { type PostgresBinaries, findPostgres } from "@lacewing/local/postgres-binaries.ts";
import { isReachable, type RunAs } from "@lacewing/local/postgres-home.ts";
import { initializePostgres, type PostgresPlan } from "@lacewing/local/postgres.ts";
import { migrate } from "@lacewing/migrations/migrate.ts";
import { Client } from "pg";
import { freezeProcesses, type FrozenPostgres } from "./frozen-postgres.ts";
import { makeTempDir, type TempDir } from "./temp-dir.ts";
import { waitFor } from "./wait-for.ts";

/** A real PostgreSQL server for one test file: `await using postgres = await startTestPostgres()`. */
export interface TestPostgres {
  /** Makes an empty database that an ordinary role owns. @returns its URL. */
  createDatabase(): Promise<string>;
  /** Makes a database that is migrated. @returns its URL. */
  createMigratedDatabase(): Promise<string>;
  /** Ends the server as an operator's fast shutdown does; sessions break. @throws when the server was given from outside. */
  stop(): Promise<void>;
  /** Brings it back on the same port with the same data, and waits until it answers. */
  start(): Promise<void>;
  /**
   * Stops every process of the server where it is: connections stand, and nothing answers. Give it back before the server is ended.
   *
   * @throws when the server was given from outside.
   */
  freeze(): Promise<FrozenPostgres>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** `nobody`: PostgreSQL refuses to run as root. */
const NOBODY: RunAs = { uid: 65_534, gid: 65_534 };
const STATEMENT_TIMEOUT_MS = 30_000;
const STOP_TIMEOUT_MS = 10_000;
/** The databases of one file go with its server; a given server keeps them, so they are dropped one by one. */
const DATABASE_PREFIX = "lacewing_test_";

/**
 * Starts a server with a fresh data directory, without fsync: what it holds need not outlive the test. With
 * `LACEWING_TEST_DATABASE_URL` the server it names is used instead; its user must be allowed to create databases.
 */
export async function startTestPostgres(): Promise<TestPostgres> {
  const given = process.env["LACEWING_TEST_DATABASE_URL"];
  if (given !== undefined && given !== "") return databasesOf(given, undefined, GIVEN_SERVER);
  const dir = await makeTempDir("pg");
  const plan = await planFor(dir);
  await initializePostgres(plan, AbortSignal.timeout(60_000));
  const adminUrl = `postgres://postgres:${plan.adminPassword}@127.0.0.1:${plan.port}/postgres`;
  const server = serverOf(plan, adminUrl, dir);
  try {
    await server.start();
    await withClient(adminUrl, async (client) =>
      client.query(`CREATE ROLE lacewing LOGIN PASSWORD '${plan.password}'`),
    );
  } catch (error) {
    await server.remove();
    throw error;
  }
  return databasesOf(adminUrl, { name: "lacewing", password: plan.password }, server);
}

interface TestServer extends Pick<TestPostgres, "start" | "stop" | "freeze"> {
  /** Ends it, and its data with it. */
  remove(): Promise<void>;
}

const notOurs = async (): Promise<never> => {
  throw new Error("a server named by LACEWING_TEST_DATABASE_URL is not this test's to stop");
};
const GIVEN_SERVER: TestServer = {
  start: async () => {},
  stop: notOurs,
  freeze: notOurs,
  remove: async () => {},
};

function serverOf(plan: PostgresPlan, adminUrl: string, dir: TempDir): TestServer {
  let server: ChildProcess | undefined;
  const stop = async () => {
    if (server !== undefined) await stopServer(server);
  };
  return {
    start: async () => {
      server = startServer(plan);
      await waitFor("PostgreSQL answers", async () => {
        await withClient(adminUrl, async (client) => client.query("SELECT 1"));
        return true;
      });
    },
    stop,
    freeze: () => freezeProcesses(adminUrl, join(plan.home.directory, "data")),
    remove: async () => {
      await stop();
      await dir[Symbol.asyncDispose]();
    },
  };
}

function databasesOf(
  adminUrl: string,
  owner: { readonly name: string; readonly password: string } | undefined,
  server: TestServer,
): TestPostgres {
  const made: string[] = [];
  const createDatabase = async () => {
    const name = `${DATABASE_PREFIX}${randomBytes(6).toString("hex")}`;
    const ownership = owner === undefined ? "" : ` OWNER ${owner.name}`;
    await withClient(adminUrl, async (client) =>
      client.query(`CREATE DATABASE ${name}${ownership}`),
    );
    made.push(name);
    const url = new URL(adminUrl);
    url.pathname = `/${name}`;
    if (owner !== undefined) {
      url.username = owner.name;
      url.password = owner.password;
    }
    return url.toString();
  };
  return {
    createDatabase,
    createMigratedDatabase: async () => {
      const url = await createDatabase();
      await migrate(url);
      return url;
    },
    stop: server.stop,
    start: server.start,
    freeze: server.freeze,
    [Symbol.asyncDispose]: async () => {
      if (owner === undefined) await dropDatabases(adminUrl, made);
      await server.remove();
    },
  };
}

async function dropDatabases(adminUrl: string, names: readonly string[]): Promise<void> {
  await withClient(adminUrl, async (client) => {
    for (const name of names) await client.query(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`);
  });
}

async function planFor(dir: TempDir): Promise<PostgresPlan> {
  const binaries = findPostgres(process.env);
  const runAs = process.getuid?.() === 0 ? NOBODY : undefined;
  const directory = dir.join("home");
  mkdirSync(directory);
  if (runAs !== undefined) {
    chmodSync(dir.path, 0o755);
    chownSync(directory, runAs.uid, runAs.gid);
  }
  return {
    home: { directory, runAs, binDirectory: binDirectoryFor(binaries, runAs, dir) },
    binaries,
    port: await freePort(),
    adminPassword: randomBytes(12).toString("hex"),
    password: randomBytes(12).toString("hex"),
    env: {},
    logFile: dir.join("postgres.log"),
    setpriv: undefined,
  };
}

/** A checkout under somebody's closed home cannot be entered by `nobody`: the binaries are copied then (60 MB). */
function binDirectoryFor(
  binaries: PostgresBinaries,
  runAs: RunAs | undefined,
  dir: TempDir,
): string {
  const { binDirectory, copyRoot } = binaries;
  const mayRun = runAs === undefined || isReachable(join(binDirectory, "postgres"), runAs);
  if (mayRun || copyRoot === undefined) return binDirectory;
  cpSync(copyRoot, dir.join("native"), { recursive: true, verbatimSymlinks: true });
  return dir.join("native", "bin");
}

function startServer(plan: PostgresPlan): ChildProcess {
  const { home } = plan;
  const settings = [
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "dynamic_shared_memory_type=mmap",
    "max_connections=30",
    "shared_buffers=16MB",
  ].flatMap((setting) => ["-c", setting]);
  return spawn(
    join(home.binDirectory, "postgres"),
    ["-D", join(home.directory, "data"), "-p", String(plan.port), ...settings],
    { cwd: "/", env: {}, stdio: "ignore", ...home.runAs },
  );
}

async function stopServer(server: ChildProcess): Promise<void> {
  if (server.exitCode !== null || server.signalCode !== null) return;
  const ended = once(server, "exit");
  server.kill("SIGINT");
  const timer = setTimeout(() => server.kill("SIGKILL"), STOP_TIMEOUT_MS);
  await ended;
  clearTimeout(timer);
}

async function withClient(url: string, work: (client: Client) => Promise<unknown>): Promise<void> {
  const client = new Client({
    connectionString: url,
    connectionTimeoutMillis: STATEMENT_TIMEOUT_MS,
    query_timeout: STATEMENT_TIMEOUT_MS,
  });
  client.on("error", () => {});
  try {
    await client.connect();
    await work(client);
  } finally {
    await client.end().catch(() => {});
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  if (address === null || typeof address === "string") throw new Error("no port was given");
  return address.port;
}
