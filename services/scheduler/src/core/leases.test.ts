import { expect, test } from "vitest";
// @boundaries-ignore tests share builders that no service ships
import { aLease } from "../../../../test/support/lease-builder.ts";
import { endsAtMs } from "./leases.ts";
import type { Lease } from "./lease.ts";
import { newHost, newPeer, newTask } from "./state.ts";
import { Swarm } from "./swarm/swarm.ts";

const GRANTED_AT_MS = 1_000_000;
const GIGABIT_BYTES_PER_MS = 125_000;
const DURATION_MS = 79_000;

function leaseOf(parentHostId: string): Lease {
  const task = newTask("07", 7, 0);
  task.layout = { lengthBytes: 2 ** 30, pieceLengthBytes: 16 * 2 ** 20 };
  task.swarm = new Swarm(64, 1);
  task.swarm.originBytesPerMs = GIGABIT_BYTES_PER_MS;
  const child = newPeer(task, newHost("child", "boot", GRANTED_AT_MS));
  const parent = parentHostId === "" ? undefined : newHost(parentHostId, "boot", 0);
  const lease = aLease({
    decided: { slice: 7, epoch: 1, decidedAtMs: GRANTED_AT_MS },
    child,
    parent,
  });
  lease.durationMs = DURATION_MS;
  return lease;
}

/** Seconds from the grant until the lease ends. */
function secondsOf(lease: Lease): number {
  return Math.round((endsAtMs(lease) - GRANTED_AT_MS) / 1000);
}

test("a reader of the origin that says nothing has some seconds more than what pieces take", () => {
  expect(secondsOf(leaseOf(""))).toBe(16);
});

test("a reader of the origin that is heard of has until it misses an announce", () => {
  const lease = leaseOf("");
  lease.child.host.lastHeardAtMs = GRANTED_AT_MS + 10_000;
  expect(secondsOf(lease)).toBe(45);
});

test("a piece shows that its child lives", () => {
  const lease = leaseOf("");
  lease.progressAtMs = GRANTED_AT_MS + 20_000;
  expect(secondsOf(lease)).toBe(55);
});

test("a lease from a parent runs out, or ends when its child has missed an announce", () => {
  const lease = leaseOf("parent");
  expect(secondsOf(lease)).toBe(35);
  lease.durationMs = 6_000;
  expect(secondsOf(lease)).toBe(8);
});
