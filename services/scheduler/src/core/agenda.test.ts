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
        const taken = new Set<number>();
        const wanted = new Set<number>();
        if (isTaken) {
          for (let due = alarms.takeDue(atMs); due !== undefined; due = alarms.takeDue(atMs))
            taken.add(due);
          for (const [due, dueAtMs] of map) if (dueAtMs <= atMs) wanted.add(due);
          for (const due of wanted) map.delete(due);
        } else {
          alarms.set(thing, atMs);
          map.set(thing, atMs);
        }
        expect(taken).toEqual(wanted);
        expect(alarms.size).toBe(map.size);
      }
    }),
  );
});
