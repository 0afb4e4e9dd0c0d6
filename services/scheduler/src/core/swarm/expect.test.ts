import { expect, test } from "vitest";
// @boundaries-ignore tests share builders that no service ships
import { aLease } from "../../../../../test/support/lease-builder.ts";
import { newHost, newPeer, newTask, type Peer, type Task } from "../state.ts";
import { noteSent } from "./expect.ts";
import { Swarm } from "./swarm.ts";
import { joinSwarm } from "./sync.ts";

const PIECE_BYTES = 4 * 2 ** 20;
const PIECE_MS = 40;
const AT_MS = 1_000_000;

function member(task: Task, hostId: string): Peer {
  const peer = newPeer(task, newHost(hostId, "boot", AT_MS));
  peer.host.peers.set(task.taskId, peer);
  joinSwarm(task, peer);
  return peer;
}

test("of a longer lease the half is left that the lease beside it had of the link, however much of it is here", () => {
  const task = newTask("07", 7, AT_MS);
  task.layout = { lengthBytes: 8 * PIECE_BYTES, pieceLengthBytes: PIECE_BYTES };
  task.swarm = new Swarm(8, 1);
  const [child, parent] = [member(task, "child"), member(task, "parent")];
  parent.host.bytesPerMs = PIECE_BYTES / PIECE_MS;
  const decided = { slice: 7, epoch: 1, decidedAtMs: AT_MS };
  const terms = { decided, child, parent: parent.host };
  const ended = aLease({ ...terms, number: 1, pieces: [{ start: 0, count: 2 }] });
  ended.transferMs = 4 * PIECE_MS;
  const other = aLease({ ...terms, number: 2, pieces: [{ start: 2, count: 4 }] });
  other.remainingCount = 2;
  parent.host.serving = [ended, other];
  task.swarm.timetable.setSentAt(parent.ordinal, Infinity);

  noteSent(task, ended, parent.host);

  expect(task.swarm.timetable.sentAtMs(parent.ordinal)).toBe(AT_MS + 6 * PIECE_MS);
});
