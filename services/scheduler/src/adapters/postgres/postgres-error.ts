import { messageOf, PortError } from "@lacewing/runtime/errors.ts";

/** SQLSTATE classes that say "not now": connection, resources, operator intervention, conflict of transactions. */
const RETRYABLE_CLASSES = new Set(["08", "40", "53", "57", "58"]);
/** A lock was not given in time. */
const LOCK_TIMEOUT_STATE = "55P03";
const RETRYABLE_STATES = new Set([
  LOCK_TIMEOUT_STATE,
  /** Idle in a transaction for too long: the session was ended. */
  "25P03",
  /** Read only: a standby that is about to be promoted. */
  "25006",
]);
/** A statement given the same data fails again: key twice, data out of range, constraint, size of an index entry. */
const DATA_CLASSES = new Set(["21", "22", "23", "54"]);
/** No schema, table, column or function of this name. */
const NOT_MIGRATED_STATES = new Set(["3F000", "42P01", "42703", "42883"]);

/** Turns whatever `pg` threw into the one error that travels inward. */
export function toPortError(error: unknown, what: string): PortError {
  if (error instanceof PortError) return error;
  const state = sqlStateOf(error);
  const reason = `${what}: ${reasonOf(error)}`;
  if (state === undefined) {
    // Everything without an SQLSTATE happened on the way: refused, reset, timed out, ended.
    return new PortError("database_unavailable", reason, { retryable: true, cause: error });
  }
  if (RETRYABLE_CLASSES.has(state.slice(0, 2)) || RETRYABLE_STATES.has(state)) {
    return new PortError("database_unavailable", `${reason} (${state})`, {
      retryable: true,
      cause: error,
    });
  }
  if (NOT_MIGRATED_STATES.has(state)) {
    const message = `${reason} (${state}): the schema is not up to date, run the migrations`;
    return new PortError("schema_outdated", message, { retryable: false, cause: error });
  }
  return new PortError("database_refused", `${reason} (${state})`, {
    retryable: false,
    cause: error,
  });
}

/** Whether a row, and not the world, is what the statement failed for. */
export function isDataError(error: unknown): boolean {
  const state = sqlStateOf(error);
  return state !== undefined && DATA_CLASSES.has(state.slice(0, 2));
}

/** Whether somebody else kept a lock for longer than the transaction would wait. */
export function isLockTimeout(error: unknown): boolean {
  return sqlStateOf(error) === LOCK_TIMEOUT_STATE;
}

/** SQLSTATE and message of a refusal, for people. */
export function refusalOf(error: unknown): string {
  return `${sqlStateOf(error) ?? "no SQLSTATE"}: ${reasonOf(error)}`;
}

/** The SQLSTATE of an error that the server sent; drizzle hides it in `cause`. */
export function sqlStateOf(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  if ("severity" in error && "code" in error && typeof error.code === "string") return error.code;
  return error.cause === undefined ? undefined : sqlStateOf(error.cause);
}

function reasonOf(error: unknown): string {
  // Several addresses of one name that all refuse make an error without a message of its own.
  if (error instanceof AggregateError) return error.errors.map(messageOf).join("; ");
  return messageOf(error);
}
