import { expect, test } from "vitest";
import { localReason } from "./local-reason.ts";
import { nobodyPassedOver } from "./view.ts";

test("a reason says what was the case, whichever reasons were given before", () => {
  for (let round = 0; round < 2; round++) {
    for (let copyCount = 0; copyCount < 5_000; copyCount += 7) {
      for (const useless of [0, 1, 8]) {
        const passed = { ...nobodyPassedOver(), useless };
        const over = useless === 0 ? "" : `; passed over: ${useless} without a wanted piece`;
        expect(localReason("local-zone", copyCount, 8, passed)).toBe(
          `local-zone rarest rep=${copyCount} of 8 candidates${over}`,
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
