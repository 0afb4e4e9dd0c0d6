import { expect, test } from "vitest";
import { Rows } from "./rows.ts";

const NOBODY = 0;

test("a piece is in demand for as long as any peer misses it", () => {
  const rows = new Rows(40);
  rows.ensure(2);
  rows.setMissing(1, (at) => (at === 1 ? 0b11 : 0b101));
  rows.setMissing(2, (at) => (at === 1 ? 0b10 : 0));
  expect([...rows.demand.missed]).toEqual([0b101, 0b11]);

  rows.removeMissing(1, 33);
  expect([...rows.demand.missed]).toEqual([0b101, 0b11]);
  rows.removeMissing(1, 32);
  rows.clear(2);
  rows.addMissing(2, 7);

  expect([...rows.demand.missed]).toEqual([0b10000101, NOBODY]);
  expect([rows.missingCountOf(1), rows.missingCountOf(2)]).toEqual([2, 1]);
});

test("the sets, counts and times of peers do not touch one another, whatever the number of words", () => {
  for (const pieceCount of [1, 32, 33, 256, 257, 1000]) {
    const rows = new Rows(pieceCount);
    rows.ensure(40);
    const last = rows.words - 1;
    for (const ordinal of [38, 39, 40]) {
      rows.data[rows.missingAt(ordinal) + last] = 100 + ordinal;
      rows.data[rows.planAt(ordinal) + last] = 200 + ordinal;
      rows.data[rows.haveAt(ordinal) + last] = 300 + ordinal;
      rows.setZone(ordinal, 400 + ordinal);
      rows.setLeaseCount(ordinal, 3);
      rows.setPlanCount(ordinal, 500 + ordinal);
      rows.setTakenAt(ordinal, 0.5 + ordinal);
      rows.setSentAt(ordinal, 0.25 + ordinal);
    }
    const seen = [38, 39, 40].map((ordinal) => [
      rows.data[rows.missingAt(ordinal) + last],
      rows.data[rows.planAt(ordinal) + last],
      rows.data[rows.haveAt(ordinal) + last],
      rows.zoneOf(ordinal),
      rows.leaseCountOf(ordinal),
      rows.planCountOf(ordinal),
      rows.takenAtMs(ordinal),
      rows.sentAtMs(ordinal),
    ]);
    const wanted = [38, 39, 40].map((n) => [
      100 + n,
      200 + n,
      300 + n,
      400 + n,
      3,
      500 + n,
      0.5 + n,
      0.25 + n,
    ]);
    expect({ pieceCount, seen }).toEqual({ pieceCount, seen: wanted });
  }
});
