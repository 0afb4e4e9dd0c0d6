import { Lease } from "@lacewing/contracts/gen/lacewing/assignments/v1/assignments.ts";
import { parseTaskId } from "@lacewing/contracts/ids.ts";
import { systemClock } from "@lacewing/runtime/clock.ts";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { isUnhurried, UnhurriedLeases } from "./unhurried-leases.ts";

const TASK = parseTaskId("ab".repeat(32));
let taken: string[];
let leases: UnhurriedLeases;
beforeEach(() => {
  vi.useFakeTimers();
  taken = [];
  const clock = { ...systemClock, monotonic: () => Date.now() };
  leases = new UnhurriedLeases(clock, (_, { leaseId }) => taken.push(leaseId));
});
afterEach(() => {
  vi.useRealTimers();
});

function add(leaseId: string): void {
  if (TASK === undefined) throw new Error("no task id");
  leases.add(TASK, Lease.fromPartial({ leaseId }));
}

describe("copies of small contents for the host's own keeping", () => {
  test("are taken together when no more of them came for three seconds", () => {
    add("a");
    vi.advanceTimersByTime(2_500);
    add("b");
    vi.advanceTimersByTime(2_500);
    expect([...leases.leaseIds()]).toEqual(["a", "b"]);
    vi.advanceTimersByTime(600);
    expect(taken).toEqual(["a", "b"]);
    expect([...leases.leaseIds()]).toEqual([]);
  });

  test("do not wait longer because they were told again", () => {
    add("a");
    vi.advanceTimersByTime(2_500);
    add("a");
    vi.advanceTimersByTime(600);
    expect(taken).toEqual(["a"]);
  });

  test("are taken after six seconds although more of them come", () => {
    for (let count = 0; count < 13; count++) {
      add(`${count}`);
      vi.advanceTimersByTime(500);
    }
    expect(taken.length).toBeGreaterThanOrEqual(12);
  });

  test("are taken at once when 256 wait", () => {
    for (let count = 0; count < 300; count++) add(`${count}`);
    expect(taken).toHaveLength(256);
    vi.advanceTimersByTime(3_100);
    expect(taken).toHaveLength(300);
  });

  test("are left when their lease ended, their task was given up, or the host stops", () => {
    add("a");
    add("b");
    leases.end("a");
    vi.advanceTimersByTime(3_100);
    expect(taken).toEqual(["b"]);
    add("c");
    if (TASK !== undefined) leases.drop(TASK);
    add("d");
    leases.stop();
    vi.advanceTimersByTime(7_000);
    expect(taken).toEqual(["b"]);
  });

  test("are small, and come from another host", () => {
    const lease = Lease.fromPartial({ lengthBytes: 128 * 1024, parentHostId: "host-b" });
    expect(isUnhurried(lease)).toBe(true);
    expect(isUnhurried({ ...lease, lengthBytes: 128 * 1024 + 1 })).toBe(false);
    expect(isUnhurried({ ...lease, parentHostId: "" })).toBe(false);
  });
});
