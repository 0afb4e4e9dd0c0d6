import { parseRequestId, type RequestId } from "@lacewing/contracts/ids.ts";
import { InvariantViolation } from "@lacewing/runtime/errors.ts";

/** @param newId makes a new unique id, 1–64 letters, digits, `-`. @throws {InvariantViolation} when it does not. */
export function newRequestId(newId: () => string): RequestId {
  const id = parseRequestId(newId());
  if (id === undefined) throw new InvariantViolation("a new request id is malformed");
  return id;
}
