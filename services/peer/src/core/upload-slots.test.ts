import { PIECE_LENGTH_BYTES_MAX } from "@lacewing/contracts/piece-length.ts";
import { expect, test } from "vitest";
import { patienceMs } from "./lease-fit.ts";
import { uploadSlotsOf } from "./upload-slots.ts";

const MIB = 2 ** 20;

test.each([
  [16, 0, 16],
  [16, 100 * MIB, 16],
  [16, 8 * MIB, 16],
  [16, 8 * MIB - 1, 15],
  [16, MIB, 2],
  [1, 8 * MIB, 1],
  [16, 1000, 1],
])("of %i upload slots a limit of %i B/s feeds %i", (slotCount, bytesPerSecond, fed) => {
  expect(uploadSlotsOf(slotCount, bytesPerSecond)).toBe(fed);
});

test.each([1, 2, 5, 16, 100])(
  "the largest piece comes in its child's time when %i MiB/s are shared by all slots",
  (mibPerSecond) => {
    const slots = uploadSlotsOf(64, mibPerSecond * MIB);
    const pieceMs = (PIECE_LENGTH_BYTES_MAX * slots * 1000) / (mibPerSecond * MIB);
    expect(pieceMs).toBeLessThan(patienceMs(PIECE_LENGTH_BYTES_MAX, 0));
  },
);
