import { expect, test } from "vitest";
import { noteRate } from "./host-rates.ts";
import { newHost, newState, newTask, type Lease, type State } from "./state.ts";

const PIECE_BYTES = 4 * 2 ** 20;
const LINK_BYTES_PER_MS = 100_000;
const PIECE_MS = PIECE_BYTES / LINK_BYTES_PER_MS;
const STARTED_AT_MS = 1_000_000;

function leaseOf(transferMs: number, grantedAtMs: number): Lease {
  return {
    leaseId: `7-1-${grantedAtMs}`,
    taskId: "07",
    slice: 7,
    epoch: 1,
    childHostId: "child",
    parentHostId: "parent",
    pieces: [],
    remaining: new Set(),
    isOpen: false,
    requestId: "",
    reason: "",
    candidateCount: 1,
    grantedAtMs,
    durationMs: 1,
    traceparent: "",
    progressAtMs: grantedAtMs,
    isOrphaned: false,
    outcome: "finished",
    endedAtMs: undefined,
    bytes: PIECE_BYTES,
    transferMs,
  };
}

/** Leases end `everyMs`, each having taken `transferMs`. */
function paceAfter(count: number, everyMs: number, transferMs: number): number {
  const state: State = newState();
  const parent = newHost("parent", "boot", STARTED_AT_MS);
  state.hosts.set("parent", parent);
  const task = newTask("07", 7, STARTED_AT_MS);
  for (let number = 1; number <= count; number++) {
    const atMs = STARTED_AT_MS + number * everyMs;
    noteRate(state, task, leaseOf(transferMs, atMs - transferMs), atMs);
  }
  return parent.bytesPerMs;
}

test("a link is as fast as all of its leases together, however long each of them waits for the others", () => {
  expect(paceAfter(80, PIECE_MS, 8 * PIECE_MS)).toBeCloseTo(LINK_BYTES_PER_MS, -3);
});

test("a link that is seldom used is as fast as one lease over it", () => {
  expect(paceAfter(80, 20 * PIECE_MS, PIECE_MS)).toBeCloseTo(LINK_BYTES_PER_MS, -3);
});
