import type { Log } from "@lacewing/observability/log.ts";
import { messageOf } from "@lacewing/runtime/errors.ts";
import pg from "pg";
import { toPortError } from "./postgres-error.ts";

export interface PoolOptions {
  /** Shown in `pg_stat_activity`. */
  readonly applicationName: string;
  readonly log: Log;
  /** Milliseconds the server gives one statement. */
  readonly statementTimeoutMs?: number;
}

/** Projection, ownership, housekeeping, and one to look with. */
const CONNECTION_COUNT_MAX = 4;
const CONNECT_TIMEOUT_MS = 5_000;
/** A flush of 5,000 facts takes some 100 ms; longer means that something blocks it. */
const STATEMENT_TIMEOUT_MS = 15_000;
/** A server that is frozen answers no time-out of its own: the client gives up this much later. */
const ANSWER_GRACE_MS = 2_000;
/** A scheduler that hangs in a transaction would hold its locks against its successor. */
const IDLE_IN_TRANSACTION_TIMEOUT_MS = 15_000;

/** Connections take leave of the server in a round trip; of one that is frozen they would wait for ever. */
const CLOSE_TIMEOUT_MS = 1_000;

const BIGINT_OID = 20;

/** A pool that can be ended although the server does not answer. */
export class DatabasePool extends pg.Pool {
  readonly #clients = new Set<pg.PoolClient>();
  readonly #log: Log;

  constructor(config: pg.PoolConfig, log: Log) {
    super(config);
    this.#log = log;
    this.on("connect", (client) => this.#clients.add(client));
    this.on("remove", (client) => this.#clients.delete(client));
  }

  /** Ends the pool like `end`, but breaks off what is under way, or does not take leave, after {@link CLOSE_TIMEOUT_MS}. */
  async close(): Promise<void> {
    const brokenOff = Promise.withResolvers<void>();
    const timer = setTimeout(() => {
      this.#log.warn("postgres connections broken off", { connectionCount: this.#clients.size });
      for (const client of this.#clients)
        if (client instanceof pg.Client) client.connection.stream.destroy();
      // One that is only being made is given up by its own limit.
      brokenOff.resolve();
    }, CLOSE_TIMEOUT_MS);
    await Promise.race([this.#leave(), brokenOff.promise]);
    clearTimeout(timer);
  }

  /** `end` alone waits for what is in use, and leaves the sockets of the others open. */
  async #leave(): Promise<void> {
    await this.end();
    while (this.#clients.size > 0)
      await new Promise<void>((resolve) => this.once("remove", () => resolve()));
  }
}

/** Connections to the database; the caller closes the pool. */
export function createPool(databaseUrl: string, options: PoolOptions): DatabasePool {
  const statementTimeoutMs = options.statementTimeoutMs ?? STATEMENT_TIMEOUT_MS;
  const config: pg.PoolConfig = {
    connectionString: databaseUrl,
    application_name: options.applicationName,
    max: CONNECTION_COUNT_MAX,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    statement_timeout: statementTimeoutMs,
    query_timeout: statementTimeoutMs + ANSWER_GRACE_MS,
    idle_in_transaction_session_timeout: IDLE_IN_TRANSACTION_TIMEOUT_MS,
    keepAlive: true,
    types: { getTypeParser },
  };
  const pool = new DatabasePool(config, options.log);
  // An idle connection that breaks is replaced at the next use; without a listener it would end the process.
  pool.on("error", (error) =>
    options.log.warn("postgres connection lost", { reason: messageOf(error) }),
  );
  return pool;
}

/**
 * Runs `work` in a transaction.
 *
 * @param work returns whether to commit, or the statement to commit with.
 * @param signal breaks it off with its connection, whichever statement is under way: a server that is frozen answers none.
 *
 * @throws whatever `work` or the commit throws, or {@link PortError} when no connection is to be had. The connection is given back only
 *   when its transaction has certainly ended.
 */
export async function inTransaction<Result>(
  pool: pg.Pool,
  begin: string,
  work: (
    client: pg.PoolClient,
  ) => Promise<{ readonly commit: boolean | string; readonly result: Result }>,
  signal?: AbortSignal,
): Promise<Result> {
  const client = await connected(pool, signal);
  let isClean = false;
  // A connection that breaks between two statements tells of it by this event only, which ends the process when nobody listens; the
  // next statement fails and says why.
  const onBroken = (): void => {};
  client.on("error", onBroken);
  const breakOff = (): void => void client.end();
  signal?.addEventListener("abort", breakOff, { once: true });
  try {
    signal?.throwIfAborted();
    await client.query(begin);
    const { commit, result } = await work(client);
    await client.query(commit === true ? "COMMIT" : commit === false ? "ROLLBACK" : commit);
    isClean = true;
    return result;
  } catch (error) {
    isClean = signal?.aborted !== true && (await rolledBack(client));
    throw error;
  } finally {
    signal?.removeEventListener("abort", breakOff);
    client.off("error", onBroken);
    client.release(!isClean);
  }
}

async function connected(pool: pg.Pool, signal?: AbortSignal): Promise<pg.PoolClient> {
  signal?.throwIfAborted();
  const connecting = pool.connect();
  const aborted = Promise.withResolvers<never>();
  const giveUp = (): void => {
    connecting.then((client) => client.release(true)).catch(() => {});
    aborted.reject(signal?.reason);
  };
  signal?.addEventListener("abort", giveUp, { once: true });
  try {
    return await Promise.race([connecting, aborted.promise]);
  } catch (error) {
    throw toPortError(error, "no connection to Postgres");
  } finally {
    signal?.removeEventListener("abort", giveUp);
  }
}

async function rolledBack(client: pg.PoolClient): Promise<boolean> {
  try {
    await client.query("ROLLBACK");
    return true;
  } catch {
    return false;
  }
}

/** 64-bit integers as numbers; one beyond 2^53 stays a text, which no reader takes for a number by mistake. */
const getTypeParser: typeof pg.types.getTypeParser = (
  oid: number,
  format?: "text" | "binary",
): ((value: string) => unknown) => {
  if (oid !== BIGINT_OID || format === "binary") return pg.types.getTypeParser(oid, "text");
  return (text) => {
    const value = Number(text);
    return Number.isSafeInteger(value) ? value : text;
  };
};
