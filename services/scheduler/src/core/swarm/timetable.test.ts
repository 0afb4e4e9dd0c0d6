import { expect, test } from "vitest";
import { Rows } from "./rows.ts";
import { Timetable } from "./timetable.ts";

test("sources are looked at in the order of their times, each once", () => {
  const timetable = new Timetable(new Rows(1));
  for (const [ordinal, atMs] of [90, 20, 40, 10, 30, 80, 50, 70, 60].entries())
    timetable.lookAt(ordinal, atMs);
  timetable.lookAt(0, 5);

  const taken = [timetable.takeDue(9)];
  for (let turn = 0; turn < 10; turn++) taken.push(timetable.takeDue(90));

  expect(taken).toEqual([-1, 3, 1, 4, 2, 6, 8, 7, 5, 0, -1]);
  expect(timetable.nextDueAtMs).toBe(Infinity);
});

test("a source that was looked at may be looked at again", () => {
  const timetable = new Timetable(new Rows(1));
  timetable.lookAt(7, 10);
  timetable.takeDue(10);

  timetable.lookAt(7, 20);

  expect([timetable.nextDueAtMs, timetable.takeDue(20)]).toEqual([20, 7]);
});

test("nothing is expected of a peer that was forgotten", () => {
  const rows = new Rows(1);
  rows.ensure(100);
  const timetable = new Timetable(rows);
  timetable.setSentAt(100, 10);
  timetable.setTakenAt(100, 20);
  expect([timetable.sentAtMs(100), timetable.takenAtMs(100)]).toEqual([10, 20]);

  timetable.clear(100);

  expect([timetable.sentAtMs(100), timetable.takenAtMs(100)]).toEqual([0, 0]);
});
