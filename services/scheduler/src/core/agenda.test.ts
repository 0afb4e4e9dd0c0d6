import fc from "fast-check";
import { expect, test } from "vitest";
import { Alarms } from "./agenda.ts";

/**
 * Goal: an alarm goes off once, at the time that was set last, whatever was set before and in whatever order.
 *
 * Method: alarms are set and taken at random beside a map that is looked through as a whole.
 */
test("each alarm goes off once, at the time that was set last", () => {
  const step = fc.record({ thing: fc.nat(5), atMs: fc.nat(40), isTaken: fc.boolean() });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const alarms = new Alarms<number>();
      const map = new Map<number, number>();
      for (const { thing, atMs, isTaken } of steps) {
        if (!isTaken) {
          alarms.set(thing, atMs);
          map.set(thing, atMs);
        } else {
          const taken: number[] = [];
          for (let due = alarms.takeDue(atMs); due !== undefined; due = alarms.takeDue(atMs))
            taken.push(due);
          const wanted = [...map].filter(([, dueAtMs]) => dueAtMs <= atMs).map(([due]) => due);
          for (const due of wanted) map.delete(due);
          expect(taken.toSorted()).toEqual(wanted.toSorted());
        }
        expect(alarms.size).toBe(map.size);
      }
    }),
  );
});
