import { expect, test } from "vitest";
// @boundaries-ignore tests share builders that no service ships
import { aLease } from "../../../../../test/support/lease-builder.ts";
import { addLease } from "../ledger.ts";
import { LEASE_DEPTH_MIN } from "../limits.ts";
import { type Host, newHost, newPeer, newState, newTask } from "../state.ts";
import { Swarm } from "./swarm.ts";
import { hasEnoughLeases } from "./sync.ts";

const AT_MS = 1_000_000;
const USUAL_BYTES_PER_MS = 100_000;

/** A host of the child's zone, or of another one, with the pace that it has shown; 0: none. */
function parentOf(idc: string, bytesPerMs: number): Host {
  const host = newHost("parent", "boot", AT_MS);
  host.idc = idc;
  host.bytesPerMs = bytesPerMs;
  return host;
}

/** Whether a child with leases from these hosts (`undefined`: the origin) has enough. */
function isEnough(parents: readonly (Host | undefined)[], originBytesPerMs = 0): boolean {
  const task = newTask("07", 7, AT_MS);
  task.swarm = new Swarm(4, 1);
  task.swarm.bytesPerMs = USUAL_BYTES_PER_MS;
  task.swarm.originBytesPerMs = originBytesPerMs;
  const host = newHost("child", "boot", AT_MS);
  host.idc = "near";
  const child = newPeer(task, host);
  const state = newState();
  for (const [number, parent] of parents.entries())
    addLease(state, task, aLease({ number, child, parent }));
  return hasEnoughLeases(child);
}

const usual = parentOf("near", USUAL_BYTES_PER_MS);
const unknown = parentOf("near", 0);
const slow = parentOf("near", USUAL_BYTES_PER_MS / 4);
const far = parentOf("far", USUAL_BYTES_PER_MS);

test.each([
  { what: "one lease", parents: [usual], enough: false },
  { what: "two", parents: [usual, usual], enough: true },
  { what: "one from a host of unknown pace", parents: [usual, unknown], enough: true },
  { what: "one from the origin", parents: [usual, undefined], enough: true },
  { what: "one from a slow host", parents: [usual, slow], enough: false },
  { what: "one from another zone", parents: [far, usual], enough: false },
  { what: "one more besides", parents: [far, usual, slow], enough: true },
])("$what: enough for a child is $enough", ({ parents, enough }) => {
  expect(parents.length).toBeLessThanOrEqual(LEASE_DEPTH_MIN + 1);
  expect(isEnough(parents)).toBe(enough);
});

test("what a slow origin sends leaves room for one more", () => {
  expect(isEnough([usual, undefined], USUAL_BYTES_PER_MS / 4)).toBe(false);
});
