import { expect, test } from "vitest";
import { readReason } from "./reasons.ts";

test("a reason is told in words, with who was passed over and why", () => {
  const reason =
    "local-rack rarest rep=2 of 5 candidates; passed over: 2 without a wanted piece, 1 busy";
  expect(readReason(reason)).toEqual({
    why: "near, in the same rack; its rarest wanted piece had 2 copies",
    passedOver: [
      { reason: "without a wanted piece", count: 2, hostIds: [] },
      { reason: "busy", count: 1, hostIds: [] },
    ],
  });
});

test.each([
  [
    "parent least-loaded load=3 of 4 candidates",
    "the least loaded of 4 candidates, serving 3 others",
  ],
  ["parent least-loaded load=0 of 1 candidate", "the only host with a wanted piece that was free"],
  [
    "local-zone rarest rep=1 of 2 candidates",
    "near, in the same zone; its rarest wanted piece had 1 copy",
  ],
  ["zone-first z=east rep=0 of 9 candidates", "to bring the first copy into zone east"],
  [
    "rescue starved 1.5s of 2 candidates",
    "from another zone, because it had waited 1.5 s without a lease",
  ],
  [
    "relay 1/2: ahead of the parent's own copy",
    "part 1 of 2 of what a crowd relays: each piece as soon as the parent has it itself",
  ],
  ["origin open: content not described yet", "nobody had described the content yet"],
  ["origin rep=0: no copy held or in flight", "no copy was held or on its way"],
  ["origin: no copy held or in flight", "no copy was held or on its way"],
  ["origin rep=1: no piece arrived for 12.0s", "the only copy had not arrived for 12.0 s"],
])("%s: %s", (reason, why) => {
  expect(readReason(reason)).toEqual({ why, passedOver: [] });
});

test("a reason of another version of the scheduler stays as it is", () => {
  const reason = "dice: a six; passed over: whoever did not throw one";
  expect(readReason(reason)).toEqual({ why: "dice: a six", passedOver: [] });
  expect(readReason("")).toEqual({ why: "", passedOver: [] });
});
