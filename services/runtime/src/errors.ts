/**
 * The three kinds of failure and their forms: a refusal by a rule is a value (a `Rejection` union beside the rule),
 * a failure of the world is a `PortError`, a failure of ours is an `InvariantViolation`.
 */

/**
 * The world failed: a time-out, a refused connection, a full disk. Made in the adapter that knows the driver's own
 * error, which stays in `cause` and travels no further inward.
 */
export class PortError extends Error {
  /** Closed, machine-readable name of the condition, `snake_case`. */
  readonly code: string;
  /** Whether the same call may succeed later without anybody changing anything. */
  readonly retryable: boolean;

  constructor(
    code: string,
    message: string,
    options: { readonly retryable: boolean; readonly cause?: unknown },
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "PortError";
    this.code = code;
    this.retryable = options.retryable;
  }
}

/** We are wrong: a state that the rules say cannot exist. Never caught below `main.ts`; the process exits and replays. */
export class InvariantViolation extends Error {
  override readonly name = "InvariantViolation";
}

/** The message of anything that was thrown, without its stack. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
