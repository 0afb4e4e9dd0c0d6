import type { Clock } from "@lacewing/runtime/clock.ts";
import { expect, test } from "vitest";
import { TokenBucket } from "./token-bucket.ts";

/** Time passes only by sleeping; every sleep lasts `latenessMs` longer than asked. */
function virtualClock(latenessMs = 0): Clock & { pass(ms: number): void } {
  let nowMs = 0;
  return {
    now: () => nowMs,
    monotonic: () => nowMs,
    pass: (ms) => {
      nowMs += ms;
    },
    sleep: async (ms) => {
      nowMs += ms + latenessMs;
    },
  };
}

async function send(bucket: TokenBucket, bytes: number, chunkBytes = 16_384): Promise<void> {
  for (let left = bytes; left > 0;) left -= await bucket.take(Math.min(chunkBytes, left));
}

test.each([0, 3, 40, 120])(
  "a sender gets the rate of the link, though timers are %i ms late",
  async (latenessMs) => {
    const clock = virtualClock(latenessMs);
    const bucket = new TokenBucket(12_500_000, clock);
    await send(bucket, 125_000_000);
    expect(clock.monotonic()).toBeGreaterThan(9_900);
    expect(clock.monotonic()).toBeLessThan(10_100);
  },
);

test("several senders share one link and each gets its part", async () => {
  const clock = virtualClock();
  const bucket = new TokenBucket(10_000_000, clock);
  const endedAt: number[] = [];
  const sender = async () => {
    await send(bucket, 5_000_000);
    endedAt.push(clock.monotonic());
  };
  await Promise.all([sender(), sender(), sender(), sender()]);
  expect(Math.max(...endedAt)).toBeGreaterThan(1_900);
  expect(Math.max(...endedAt)).toBeLessThan(2_100);
  expect(Math.min(...endedAt)).toBeGreaterThan(1_900);
});

test("an idle link saves up no more than its buffers would hold", async () => {
  const clock = virtualClock();
  const bucket = new TokenBucket(1_000_000, clock);
  clock.pass(60_000);
  await send(bucket, 1_000_000);
  expect(clock.monotonic() - 60_000).toBeGreaterThanOrEqual(940);
});

test("without a cap nobody waits", async () => {
  const bucket = new TokenBucket(undefined, virtualClock());
  expect(await bucket.take(1_000_000_000)).toBe(1_000_000_000);
});

test("lifting the cap frees those who wait", async () => {
  const clock = virtualClock();
  const bucket = new TokenBucket(1, clock);
  const waiting = bucket.take(1_000);
  bucket.bytesPerSecond = undefined;
  expect(await waiting).toBeGreaterThan(0);
  expect(clock.monotonic()).toBeLessThan(100);
});

test("a busy link grants large parts, a few per step, however often it is asked", async () => {
  const steady = virtualClock();
  // Every look at the clock takes a microsecond, as on a real machine.
  const clock: Clock = {
    ...steady,
    monotonic: () => {
      steady.pass(0.001);
      return steady.monotonic();
    },
  };
  const bucket = new TokenBucket(10_000_000, clock);
  let grantCount = 0;
  for (let left = 1_000_000; left > 0; grantCount++) left -= await bucket.take(16_384);
  expect(grantCount).toBeLessThan(100);
});
