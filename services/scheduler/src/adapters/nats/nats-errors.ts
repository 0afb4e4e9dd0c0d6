import { JetStreamApiError } from "@nats-io/jetstream";
import { messageOf, PortError } from "@lacewing/runtime/errors.ts";

/** `JSStreamWrongLastSequenceErrF`: somebody appended in between. */
export const WRONG_LAST_SEQUENCE = 10071;

/** `JSStreamNotFoundErr`. */
export const STREAM_NOT_FOUND = 10059;

/** `JSNoMessageFoundErr`. */
export const MESSAGE_NOT_FOUND = 10037;

/** Whether the server refused with this error code of its own. */
export function isApiError(error: unknown, code: number): boolean {
  return error instanceof JetStreamApiError && error.code === code;
}

/** Any failure of the broker. All but a closed connection may mend by themselves: a server restarts, a leader is elected. */
export function natsError(what: string, error: unknown): PortError {
  if (error instanceof PortError) return error;
  const isClosed = error instanceof Error && error.name === "ClosedConnectionError";
  return new PortError("nats_failed", `${what}: ${messageOf(error)}`, {
    retryable: !isClosed,
    cause: error,
  });
}
