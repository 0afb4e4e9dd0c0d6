import { expect, test } from "vitest";
import { leaseMisfit, patienceMs } from "./lease-fit.ts";

const MIB = 2 ** 20;
const layout = { lengthBytes: 4 * MIB, pieceLengthBytes: MIB };
const fitting = { open: false, ...layout, pieces: [{ start: 0, count: 4 }] };

test("a lease for the content as it is here fits", () => {
  expect(leaseMisfit(fitting, layout)).toBeUndefined();
});

test("an open lease fits whatever the content turns out to be", () => {
  expect(
    leaseMisfit({ open: true, lengthBytes: 0, pieceLengthBytes: 0, pieces: [] }, layout),
  ).toBeUndefined();
});

test.each([
  ["of another length", { ...fitting, lengthBytes: 10 * MIB }],
  ["of another piece length", { ...fitting, pieceLengthBytes: 4 * MIB }],
  ["that runs past the end", { ...fitting, pieces: [{ start: 3, count: 2 }] }],
  ["that lies past the end", { ...fitting, pieces: [{ start: 9, count: 1 }] }],
])("a lease %s does not fit", (_what, lease) => {
  expect(leaseMisfit(lease, layout)).toMatch(/^the lease /);
});

test("patience grows with the piece, and is never less than the lease's own", () => {
  expect(patienceMs(MIB, 0)).toBe(15_000 + 4096);
  expect(patienceMs(64 * MIB, 0)).toBeGreaterThan(4 * 60_000);
  expect(patienceMs(MIB, 60_000)).toBe(60_000);
});
