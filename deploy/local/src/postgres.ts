import { execFile } from "node:child_process";
import {
  chownSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statfsSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { messageOf } from "@lacewing/runtime/errors.ts";
import pg from "pg";
import type { ChildSpec } from "./children.ts";
import { withDeathSignal } from "./death-signal.ts";
import { LocalError } from "./local-error.ts";
import { pollUntil } from "./poll.ts";
import type { PostgresBinaries } from "./postgres-binaries.ts";
import type { PostgresHome } from "./postgres-home.ts";
import { commandLineOf, isAlive } from "./process-table.ts";

const run = promisify(execFile);

/** How the embedded PostgreSQL is to run. */
export interface PostgresPlan {
  readonly home: PostgresHome;
  readonly binaries: PostgresBinaries;
  readonly port: number;
  /** Of the superuser `postgres`, used only to make the role and the database. */
  readonly adminPassword: string;
  /** Of the role `lacewing`, which owns the database and is nothing else. */
  readonly password: string;
  readonly env: Readonly<Record<string, string>>;
  readonly logFile: string;
  readonly setpriv: string | undefined;
}

const DATABASE = "lacewing";
const ADMIN = "postgres";
/** Writing the first 40 MB takes half a second on a quiet machine. */
const INITDB_TIMEOUT_MS = 120_000;
/** A fast shutdown writes a checkpoint. */
const STOP_TIMEOUT_MS = 30_000;
const PROBE_TIMEOUT_MS = 5_000;
/** Containers often have 64 MB: parallel queries would fail for want of shared memory. */
const SHARED_MEMORY_BYTES_MIN = 256 * 2 ** 20;

/** Where clients connect: as the owner of the database, not as superuser. */
export function databaseUrl(plan: Pick<PostgresPlan, "port" | "password">): string {
  return `postgres://${DATABASE}:${plan.password}@127.0.0.1:${plan.port}/${DATABASE}`;
}

/** A database URL that may be shown: without its password. */
export function withoutPassword(url: string): string {
  try {
    const parsed = new URL(url);
    if (parsed.password !== "") parsed.password = "***";
    for (const name of Array.from(parsed.searchParams.keys())) {
      if (/password/i.test(name)) parsed.searchParams.set(name, "***");
    }
    return parsed.toString();
  } catch {
    return "(not a URL)";
  }
}

/**
 * Makes the data directory on the first start. Complete or absent: it is written beside its place and renamed, so that
 * an interrupted first start leaves nothing that looks like a database.
 *
 * @throws {LocalError} when initdb fails, or the directory was made by another major version.
 */
export async function initializePostgres(plan: PostgresPlan, signal: AbortSignal): Promise<void> {
  const { home, binaries } = plan;
  const data = join(home.directory, "data");
  if (existsSync(join(data, "PG_VERSION"))) {
    const version = readFileSync(join(data, "PG_VERSION"), "utf8").trim();
    if (version === String(binaries.majorVersion)) return;
    throw new LocalError(
      `${data} was made by PostgreSQL ${version}, but the server found is version ${binaries.majorVersion}`,
      "Start a new cluster with `lacewing down --purge` (its data is lost), or choose another directory with --data DIR.",
    );
  }
  const fresh = `${data}.new`;
  const passwordFile = join(home.directory, "pwfile");
  rmSync(fresh, { recursive: true, force: true });
  mkdirSync(fresh, { mode: 0o700 });
  writeFileSync(passwordFile, plan.adminPassword, { mode: 0o600 });
  if (home.runAs !== undefined) {
    chownSync(fresh, home.runAs.uid, home.runAs.gid);
    chownSync(passwordFile, home.runAs.uid, home.runAs.gid);
  }
  try {
    await run(
      join(home.binDirectory, "initdb"),
      [
        "-D",
        fresh,
        "-U",
        ADMIN,
        `--pwfile=${passwordFile}`,
        "--auth=scram-sha-256",
        "--no-locale",
        "-E",
        "UTF8",
        "--no-instructions",
      ],
      { cwd: "/", env: plan.env, timeout: INITDB_TIMEOUT_MS, signal, ...home.runAs },
    );
  } catch (error) {
    signal.throwIfAborted();
    throw new LocalError(
      `PostgreSQL could not make its data directory: ${messageOf(error)}`,
      home.runAs === undefined
        ? undefined
        : `It runs as user ${home.runAs.uid}, since PostgreSQL refuses root: that user must exist.`,
      { cause: error },
    );
  } finally {
    rmSync(passwordFile, { force: true });
  }
  renameSync(fresh, data);
}

/** The process of the embedded server: loopback only, no unix socket (long paths), durable as usual. */
export function postgresChild(plan: PostgresPlan): ChildSpec {
  const data = join(plan.home.directory, "data");
  const settings = [
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    ...(sharedMemoryBytes() < SHARED_MEMORY_BYTES_MIN ? ["dynamic_shared_memory_type=mmap"] : []),
  ].flatMap((setting) => ["-c", setting]);
  const binary = join(plan.home.binDirectory, "postgres");
  const args = ["-D", data, "-p", String(plan.port), ...settings];
  return {
    name: "postgres",
    // Fast shutdown: ends its clients' transactions and leaves a clean directory.
    ...withDeathSignal(plan.setpriv, "SIGINT", binary, args),
    env: plan.env,
    cwd: "/",
    user: plan.home.runAs,
    logFile: plan.logFile,
    readiness: async (signal) => {
      await pollUntil(async () => {
        await asAdmin(plan, ADMIN, async (client) => client.query("select 1"));
        return true;
      }, signal);
    },
    stopSignal: "SIGINT",
    stopTimeoutMs: STOP_TIMEOUT_MS,
    beforeStart: () => removeStalePidFile(data),
  };
}

/** Makes the role and the database, and sets the role's password to ours. Does nothing that was done before. */
export async function ensureDatabase(plan: PostgresPlan): Promise<void> {
  await asAdmin(plan, ADMIN, async (client) => {
    const role = await client.query("select 1 from pg_roles where rolname = $1", [DATABASE]);
    const verb = role.rowCount === 0 ? "create" : "alter";
    const password = pg.escapeLiteral(plan.password);
    await client.query(`${verb} role ${DATABASE} login password ${password}`);
    const database = await client.query("select 1 from pg_database where datname = $1", [DATABASE]);
    if (database.rowCount === 0)
      await client.query(`create database ${DATABASE} owner ${DATABASE}`);
  });
}

async function asAdmin(
  plan: PostgresPlan,
  database: string,
  work: (client: pg.Client) => Promise<unknown>,
): Promise<void> {
  const client = new pg.Client({
    host: "127.0.0.1",
    port: plan.port,
    user: ADMIN,
    password: plan.adminPassword,
    database,
    connectionTimeoutMillis: PROBE_TIMEOUT_MS,
    query_timeout: PROBE_TIMEOUT_MS,
  });
  // A server that is killed while we are connected must not take us with it: the query itself fails.
  client.on("error", () => {});
  try {
    await client.connect();
    await work(client);
  } finally {
    await client.end();
  }
}

/**
 * After `kill -9` and a reboot the pid in `postmaster.pid` may belong to somebody else, and PostgreSQL would refuse to
 * start. Only such a file is removed: with a dead pid it is PostgreSQL's own guard against backends that still write.
 */
function removeStalePidFile(data: string): void {
  const file = join(data, "postmaster.pid");
  if (!existsSync(file)) return;
  const pid = Number(readFileSync(file, "utf8").split("\n")[0]);
  const isSomebodyElse =
    Number.isInteger(pid) && pid > 0 && isAlive(pid) && !commandLineOf(pid).includes(data);
  if (isSomebodyElse) rmSync(file, { force: true });
}

function sharedMemoryBytes(): number {
  try {
    const { bavail, bsize } = statfsSync("/dev/shm");
    return bavail * bsize;
  } catch {
    return process.platform === "linux" ? 0 : Number.POSITIVE_INFINITY;
  }
}
