import { Transform } from "node:stream";
import type { Clock } from "@lacewing/runtime/clock.ts";
import { type Pace, paceBy } from "../../app/pace.ts";
import { TokenBucket } from "../../core/token-bucket.ts";

/** Client addresses whose pace is remembered; beyond, the one that was there first begins anew. About 2 MB. */
const ADDRESS_COUNT_MAX = 10_000;

/** One limit for each address that clients come from, however many connections it has. */
export class ClientPaces {
  readonly #bytesPerSecond: number;
  readonly #clock: Clock;
  readonly #buckets = new Map<string, TokenBucket>();

  /** @param bytesPerSecond 0: no limit. */
  constructor(bytesPerSecond: number, clock: Clock) {
    this.#bytesPerSecond = bytesPerSecond;
    this.#clock = clock;
  }

  /** What a delivery to an address has to ask; `undefined` without a limit. */
  of(address: string | undefined): Pace | undefined {
    if (this.#bytesPerSecond === 0 || address === undefined) return undefined;
    const bucket = this.#buckets.get(address) ?? this.#begin(address);
    return paceBy(bucket, this.#clock);
  }

  #begin(address: string): TokenBucket {
    const [oldest] = this.#buckets.keys();
    if (this.#buckets.size >= ADDRESS_COUNT_MAX && oldest !== undefined) this.#forgetSome(oldest);
    const bucket = new TokenBucket(this.#bytesPerSecond);
    this.#buckets.set(address, bucket);
    return bucket;
  }

  /** Idle ones say the same as new ones; only when there is none, somebody gets more than his share for a moment. */
  #forgetSome(oldest: string): void {
    const nowMs = this.#clock.monotonic();
    for (const [address, bucket] of this.#buckets) {
      if (bucket.isIdle(nowMs)) this.#buckets.delete(address);
    }
    if (this.#buckets.size >= ADDRESS_COUNT_MAX) this.#buckets.delete(oldest);
  }
}

/** Lets bytes pass as a pace allows; they wait in it, and what feeds it waits with them. */
export function pacedStream(pace: Pace): Transform {
  return new Transform({
    transform: (chunk: Buffer, _encoding, passOn) => {
      const pause = pace(chunk.length);
      if (pause === undefined) passOn(null, chunk);
      else pause.then(() => passOn(null, chunk), passOn);
    },
  });
}
