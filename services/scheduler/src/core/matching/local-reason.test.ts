import { expect, test } from "vitest";
import { localReason } from "./local-reason.ts";
import { nobodyPassedOver } from "./view.ts";

const NAMED_COPY_COUNTS = [
  ...Array.from({ length: 100 }, (_, count) => ({ count, named: count })),
  { count: 104, named: 100 },
  { count: 105, named: 110 },
  { count: 994, named: 990 },
  { count: 996, named: 1_000 },
  { count: 1_234, named: 1_200 },
  { count: 87_654, named: 88_000 },
];

test("a reason says what was the case, whichever reasons were given before", () => {
  for (let round = 0; round < 2; round++) {
    for (const { count, named } of NAMED_COPY_COUNTS) {
      for (const useless of [0, 1, 8]) {
        const passed = { ...nobodyPassedOver(), useless };
        const over = useless === 0 ? "" : `; passed over: ${useless} without a wanted piece`;
        expect(localReason("local-zone", count, 8, passed)).toBe(
          `local-zone rarest rep=${named} of 8 candidates${over}`,
        );
      }
    }
  }
});

test("a reason names everybody who was passed over, and the rack", () => {
  const passed = { useless: 2, avoided: 1, busy: 3, slow: 4 };
  expect(localReason("local-rack", 3, 1, passed)).toBe(
    "local-rack rarest rep=3 of 1 candidate; passed over: 2 without a wanted piece, 1 avoided, 3 busy, 4 slow",
  );
});
