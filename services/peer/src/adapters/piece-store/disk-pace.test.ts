import { expect, test } from "vitest";
import { DiskPace } from "./disk-pace.ts";

const MIB = 2 ** 20;

/** Bytes that take the way through the pool until the main thread tries again. */
function detourOf(pace: DiskPace): number {
  let bytes = 0;
  while (!pace.mayBlock(MIB)) bytes += MIB;
  return bytes;
}

test("the main thread goes on while the page cache answers", () => {
  const pace = new DiskPace();
  for (let turn = 0; turn < 100; turn++) {
    expect(pace.mayBlock(MIB)).toBe(true);
    pace.took(0.1);
  }
});

test("a slow operation sends the next bytes through the pool, then the main thread tries again", () => {
  const pace = new DiskPace();
  pace.took(10);
  expect(detourOf(pace)).toBe(4 * MIB);
  expect(pace.mayBlock(MIB)).toBe(true);
});

test("each slow try doubles the detour up to a limit; a fast one makes it short again", () => {
  const pace = new DiskPace();
  const detours = Array.from({ length: 10 }, () => {
    pace.took(10);
    return detourOf(pace) / MIB;
  });
  expect(detours).toEqual([4, 8, 16, 32, 64, 128, 256, 512, 512, 512]);
  pace.took(0.1);
  pace.took(10);
  expect(detourOf(pace)).toBe(4 * MIB);
});

test("what takes less than four milliseconds is no slow disk", () => {
  const pace = new DiskPace();
  pace.took(3.9);
  expect(detourOf(pace)).toBe(0);
  pace.took(4);
  expect(detourOf(pace)).toBe(4 * MIB);
});
