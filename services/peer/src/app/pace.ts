import type { Clock } from "@lacewing/runtime/clock.ts";
import { TokenBucket } from "../core/token-bucket.ts";

/** To be asked before bytes pass: resolves when they may, or `undefined` when they may at once. */
export type Pace = (bytes: number) => Promise<void> | undefined;

/** Limits of what this host moves; `undefined`: as fast as it goes. */
export interface Paces {
  /** From other hosts, in all. */
  readonly download: Pace | undefined;
  /** From origins, in all. */
  readonly backToSource: Pace | undefined;
}

/** Shorter waits are not worth a timer, whose own inaccuracy is a millisecond; the next bytes make up for them. */
const WAIT_MS_MIN = 2;

/** @param bytesPerSecond 0: no limit, and nothing to ask. */
export function paceOf(bytesPerSecond: number, clock: Clock): Pace | undefined {
  return bytesPerSecond === 0 ? undefined : paceBy(new TokenBucket(bytesPerSecond), clock);
}

export function paceBy(bucket: TokenBucket, clock: Clock): Pace {
  return (bytes) => {
    const waitMs = bucket.take(bytes, clock.monotonic());
    return waitMs < WAIT_MS_MIN ? undefined : clock.sleep(waitMs);
  };
}
