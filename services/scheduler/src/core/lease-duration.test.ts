import { expect, test } from "vitest";
import { leaseDurationMs, originPatienceMs } from "./lease-duration.ts";

const LAYOUT = { lengthBytes: 2 ** 30, pieceLengthBytes: 16 * 2 ** 20 };
/** 16 MiB in 64 seconds: what is slower is not waited for. */
const SLOWEST_BYTES_PER_MS = 262.144;
const GIGABIT_BYTES_PER_MS = 125_000;

test.each([
  { what: "nothing is known of", bytesPerMs: 0, parentS: 79, originS: 79 },
  { what: "is as slow as may be", bytesPerMs: SLOWEST_BYTES_PER_MS, parentS: 79, originS: 79 },
  { what: "sends at 1 Gbit/s", bytesPerMs: GIGABIT_BYTES_PER_MS, parentS: 6.1, originS: 16.1 },
])(
  "a lease from a parent that $what lives $parentS s without a piece, a silent reader of such an origin has $originS s",
  ({ bytesPerMs, parentS, originS }) => {
    expect(leaseDurationMs(LAYOUT, bytesPerMs) / 1000).toBeCloseTo(parentS, 0);
    expect(originPatienceMs(LAYOUT, bytesPerMs) / 1000).toBeCloseTo(originS, 0);
  },
);
