import fc from "fast-check";
import { expect, test } from "vitest";
import { TokenBucket } from "./token-bucket.ts";

test("bytes pass at once while they are saved up, then as fast as the limit says", () => {
  const bucket = new TokenBucket(1000);
  expect(bucket.take(100, 0)).toBe(0);
  expect(bucket.take(50, 0)).toBe(50);
  expect(bucket.take(500, 0)).toBe(550);
  // Half a second later half of a second's bytes have passed.
  expect(bucket.take(10, 500)).toBe(60);
});

test("a limit that was idle for long has saved no more than a moment's bytes", () => {
  const bucket = new TokenBucket(1000);
  expect(bucket.take(100, 1e9)).toBe(0);
  expect(bucket.take(1000, 1e9)).toBe(1000);
});

test("a bucket is idle when it has forgotten everything that was taken", () => {
  const bucket = new TokenBucket(1000);
  expect(bucket.isIdle(0)).toBe(true);
  bucket.take(1000, 0);
  expect(bucket.isIdle(999)).toBe(false);
  expect(bucket.isIdle(1000)).toBe(true);
});

test("whatever is asked for when: never more than the limit and the savings, and never less while somebody waits", () => {
  const requests = fc.array(
    fc.record({
      bytes: fc.integer({ min: 1, max: 100_000 }),
      gapMs: fc.integer({ min: 0, max: 500 }),
    }),
    { minLength: 1, maxLength: 50 },
  );
  fc.assert(
    fc.property(fc.integer({ min: 1000, max: 1e9 }), requests, (bytesPerSecond, asked) => {
      const bucket = new TokenBucket(bytesPerSecond);
      const perMs = bytesPerSecond / 1000;
      let nowMs = 0;
      let bytes = 0;
      let freeAtMs = 0;
      for (const request of asked) {
        nowMs += request.gapMs;
        bytes += request.bytes;
        const passesAtMs = nowMs + bucket.take(request.bytes, nowMs);
        expect(bytes).toBeLessThanOrEqual((passesAtMs + 100) * perMs * (1 + 1e-9) + 1e-6);
        // First come first served, and no later than if every byte were sent without savings.
        freeAtMs = Math.max(freeAtMs, nowMs) + request.bytes / perMs;
        expect(passesAtMs).toBeLessThanOrEqual(freeAtMs * (1 + 1e-9) + 1e-6);
      }
    }),
  );
});
