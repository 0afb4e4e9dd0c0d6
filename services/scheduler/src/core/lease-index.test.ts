import fc from "fast-check";
import { expect, test } from "vitest";
// @boundaries-ignore tests share builders that no service ships
import { aLease } from "../../../../test/support/lease-builder.ts";
import { LeaseIndex, leaseNumberOf } from "./lease-index.ts";
import type { Lease } from "./lease.ts";
import { overdueAtMs } from "./leases.ts";
import { newHost, newPeer, newTask } from "./state.ts";

/** Few, so that the same are met again and again: first and last places of a block, and places of others. */
const NUMBERS = [0, 1, 65, 127, 128, 129, 600] as const;
const CHILD = newPeer(newTask("07", 7, 0), newHost("child", "boot", 0));

function leaseOf(slice: number, epoch: number, number: number): Lease {
  return aLease({ number, decided: { slice, epoch, decidedAtMs: 0 }, child: CHILD });
}

test("it holds what a map by id holds, whatever is added and taken out", () => {
  const step = fc.record({
    isAdded: fc.boolean(),
    slice: fc.nat(1),
    epoch: fc.integer({ min: 1, max: 2 }),
    number: fc.constantFrom(...NUMBERS),
  });
  fc.assert(
    fc.property(fc.array(step, { minLength: 60, maxLength: 300 }), (steps) => {
      const index = new LeaseIndex();
      const map = new Map<string, Lease>();
      for (const { isAdded, slice, epoch, number } of steps) {
        const lease = map.get(`${slice}-${epoch}-${number}`) ?? leaseOf(slice, epoch, number);
        if (isAdded) {
          index.add(lease);
          map.set(lease.leaseId, lease);
        } else {
          index.delete(lease);
          map.delete(lease.leaseId);
        }
        expect(index.size).toBe(map.size);
        expect(index.get(lease.leaseId)).toBe(map.get(lease.leaseId));
        expect(index.has(lease.slice, lease.epoch, lease.number)).toBe(map.has(lease.leaseId));
        expect([...map].every(([leaseId, other]) => index.get(leaseId) === other)).toBe(true);
      }
      const ids = [...index.values()].map(({ leaseId }) => leaseId);
      expect(ids.toSorted()).toEqual([...map.keys()].toSorted());
    }),
  );
});

test("the number of a lease is the last part of its id", () => {
  expect(leaseNumberOf("7-1-65")).toBe(65);
  expect(leaseNumberOf("7-1-x")).toBeNaN();
});

test.for(["", "7", "7-1", "7-1-", "07-1-5", "7-1-5.0", "7-1-5-2", "7-1-0x5", "a-b-c", "7-1--5"])(
  "%s is the id of no lease",
  (leaseId) => {
    const index = new LeaseIndex();
    index.add(leaseOf(7, 1, 5));

    expect(index.get(leaseId)).toBeUndefined();
  },
);

test("leases that are overdue are found whatever was added, taken out and given more or less time", () => {
  const step = fc.record({
    what: fc.constantFrom("add", "delete", "prolong", "look"),
    number: fc.constantFrom(...NUMBERS),
    atMs: fc.nat(20_000),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
      const index = new LeaseIndex();
      const live = new Set<Lease>();
      for (const { what, number, atMs } of steps) {
        const lease = index.get(`7-1-${number}`) ?? leaseOf(7, 1, number);
        if (what === "add") {
          lease.progressAtMs = atMs;
          index.add(lease);
          live.add(lease);
        } else if (what === "delete") {
          index.delete(lease);
          live.delete(lease);
        } else if (what === "prolong") lease.progressAtMs += atMs;
        const isLook = what === "look";
        const found = new Set(isLook ? index.due(atMs) : []);
        const wanted = [...live].filter((each) => isLook && atMs >= overdueAtMs(each));
        expect(found).toEqual(new Set(wanted));
      }
    }),
  );
});
