/**
 * The rules say that this cannot be: a decision that does not fit the state it is applied to. Never caught in the core; the
 * process ends and replays. A misfit is found before the decision is appended, so a replay does not meet it again.
 */
export class InvariantViolation extends Error {
  override readonly name = "InvariantViolation";
}

/** `value`, which the rules say exists. @throws {InvariantViolation} naming what is missing. */
export function must<Value>(value: Value | undefined, what: string): Value {
  if (value === undefined) throw new InvariantViolation(`missing: ${what}`);
  return value;
}

/** @throws {InvariantViolation} when the condition does not hold. */
export function mustHold(condition: boolean, what: string | (() => string)): void {
  if (!condition) throw new InvariantViolation(typeof what === "string" ? what : what());
}
