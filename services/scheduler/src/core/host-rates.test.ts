import { expect, test } from "vitest";
// @boundaries-ignore tests share builders that no service ships
import { aLease } from "../../../../test/support/lease-builder.ts";
import { noteRate } from "./host-rates.ts";
import type { Lease } from "./lease.ts";
import { type Host, newHost, newPeer, newTask, type Peer } from "./state.ts";
import { Swarm } from "./swarm/swarm.ts";

const PIECE_BYTES = 4 * 2 ** 20;
const LINK_BYTES_PER_MS = 100_000;
const PIECE_MS = PIECE_BYTES / LINK_BYTES_PER_MS;
/** 10 Gbit/s: eight leases in one pack of reports. */
const FAST_LINK_BYTES_PER_MS = 1_250_000;
const FAST_PIECE_MS = PIECE_BYTES / FAST_LINK_BYTES_PER_MS;
const STARTED_AT_MS = 1_000_000;

function endedLease(child: Peer, parent: Host, transferMs: number, grantedAtMs: number): Lease {
  const decided = { slice: 7, epoch: 1, decidedAtMs: grantedAtMs };
  const lease = aLease({ number: grantedAtMs, decided, child, parent });
  lease.bytes = PIECE_BYTES;
  lease.transferMs = transferMs;
  return lease;
}

/** Leases end `everyMs`, each having taken `transferMs`. */
function paceAfter(count: number, everyMs: number, transferMs: number): number {
  return paceOf(count, (number) => number * everyMs, transferMs);
}

/** @param reportsAtMs when the end of the n-th lease is heard of */
function paceOf(count: number, reportsAtMs: (number: number) => number, transferMs: number) {
  const parent = newHost("parent", "boot", STARTED_AT_MS);
  const task = newTask("07", 7, STARTED_AT_MS);
  const child = newPeer(task, newHost("child", "boot", STARTED_AT_MS));
  for (let number = 1; number <= count; number++) {
    const atMs = STARTED_AT_MS + reportsAtMs(number);
    noteRate(task, endedLease(child, parent, transferMs, atMs - transferMs), atMs);
  }
  return parent.bytesPerMs;
}

test("a link is as fast as all of its leases together, however long each of them waits for the others", () => {
  expect(paceAfter(80, PIECE_MS, 8 * PIECE_MS)).toBeCloseTo(LINK_BYTES_PER_MS, -3);
});

test("a link that is seldom used is as fast as one lease over it", () => {
  expect(paceAfter(80, 20 * PIECE_MS, PIECE_MS)).toBeCloseTo(LINK_BYTES_PER_MS, -3);
});

test("a link is not taken for faster because many of its leases are reported at once", () => {
  const packMs = 25;
  // Of several children: one soon after the other.
  const reportsAtMs = (number: number) =>
    Math.ceil((number * FAST_PIECE_MS) / packMs) * packMs + (number % 8) / 16;
  expect(paceOf(400, reportsAtMs, 4 * FAST_PIECE_MS)).toBeLessThan(1.5 * FAST_LINK_BYTES_PER_MS);
});

/** Leases of one child at once, after some whose grants and reports took these parts of a piece's time. */
function depthAfter(...samples: readonly number[]): number {
  const parent = newHost("parent", "boot", STARTED_AT_MS);
  const task = newTask("07", 7, STARTED_AT_MS);
  task.layout = { lengthBytes: 8 * PIECE_BYTES, pieceLengthBytes: PIECE_BYTES };
  task.swarm = new Swarm(8, 1);
  task.swarm.bytesPerMs = LINK_BYTES_PER_MS;
  const child = newPeer(task, newHost("child", "boot", STARTED_AT_MS));
  for (const pieces of samples) {
    const lease = endedLease(child, parent, PIECE_MS, STARTED_AT_MS);
    lease.isFromIdleParent = true;
    noteRate(task, lease, STARTED_AT_MS + (1 + pieces) * PIECE_MS);
  }
  return task.leaseDepth;
}

test.each([
  { pieces: 0.2, depth: 2 },
  { pieces: 0.5, depth: 3 },
  { pieces: 2, depth: 5 },
])(
  "while a grant travels $pieces of a piece's time, a child has $depth leases",
  ({ pieces, depth }) => {
    expect(depthAfter(pieces)).toBe(depth);
  },
);

test("a first grant that travelled long is forgotten in time", () => {
  expect(depthAfter(0.5, ...Array<number>(100).fill(0.01))).toBe(2);
});
