import { expect, test } from "vitest";
import { newHost, newPeer, newState, newTask } from "../state.ts";
import { swarmOf, syncWants } from "../swarm/sync.ts";
import { leaseSize } from "./lease-size.ts";
import { policyFor } from "./policy.ts";

const MIB = 2 ** 20;
const PIECE_COUNT = 48;

/** Pieces of one lease of a content that few hosts want, over links of this pace. */
function piecesOver(bytesPerMs: number): number {
  const task = newTask("07".repeat(32), 7, 0);
  task.layout = { lengthBytes: PIECE_COUNT * MIB, pieceLengthBytes: MIB };
  task.controlMs = 1;
  for (const hostId of ["source", "child", "other"]) {
    const peer = newPeer(task, newHost(hostId, "boot", 0));
    task.peers.set(hostId, peer);
    peer.isSeeding = hostId !== "source";
    if (peer.isSeeding) task.needyIds.add(hostId);
  }
  const swarm = swarmOf(task);
  swarm.bytesPerMs = bytesPerMs;
  for (const peer of task.peers.values()) syncWants(task, peer);
  const view = {
    state: newState(),
    task,
    swarm,
    policy: policyFor(task),
    nowMs: 0,
    random: () => 0,
    grant: () => {},
    isTurnFull: () => false,
    quietReads: [],
  };
  const ordinalOf = (hostId: string) => task.peers.get(hostId)?.ordinal ?? -1;
  return leaseSize(view, ordinalOf("source"), ordinalOf("child"), 1).pieces;
}

test.each([
  { megabits: 50, pieces: 1 },
  { megabits: 200, pieces: 1 },
  { megabits: 300, pieces: 2 },
  { megabits: 1000, pieces: 4 },
])(
  "over links of $megabits Mbit/s a lease for one of few hosts is of $pieces pieces of 1 MiB",
  ({ megabits, pieces }) => {
    expect(piecesOver((megabits * 1e6) / 8 / 1000)).toBe(pieces);
  },
);
