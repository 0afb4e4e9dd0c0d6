import { expect, test } from "vitest";
import { addSlotWaiter, firstSlotWaiter, takeSlotWaiter } from "./slot-turns.ts";
import { type Host, newHost, newPeer, newTask, type Peer, type Task } from "./state.ts";
import { ACTIVITY, Swarm } from "./swarm/swarm.ts";

/** The host's part in a task of which it has uploaded so much, waiting for a slot. */
function waiting(host: Host, taskId: string, uploadShare: number): Peer {
  const task: Task = newTask(taskId, 0, 0);
  const peer = newPeer(task, host);
  task.swarm = new Swarm(0, 1);
  task.swarm.join(peer, host, peer.held, peer.leased);
  task.swarm.setActivity(peer.ordinal, ACTIVITY.waiting);
  peer.uploadShare = uploadShare;
  return peer;
}

function stopWaiting({ task, ordinal }: Peer): void {
  task.swarm?.setActivity(ordinal, ACTIVITY.idle);
}

/** Takes all out, in order. */
function turnsOf(host: Host): readonly (Peer | undefined)[] {
  const turns: (Peer | undefined)[] = [];
  for (let peer = takeSlotWaiter(host); peer !== undefined; peer = takeSlotWaiter(host))
    turns.push(peer);
  return turns;
}

test("the only peer that waits has the next turn, once", () => {
  const host = newHost("host-1", "boot-1", 0);
  expect(firstSlotWaiter(host)).toBeUndefined();
  const only = waiting(host, "00aa", 5);
  addSlotWaiter(host, only);
  addSlotWaiter(host, only);
  expect(firstSlotWaiter(host)).toBe(only);
  expect(turnsOf(host)).toEqual([only]);
});

test("of several the one that had least has the next turn, of equals who came first", () => {
  const host = newHost("host-1", "boot-1", 0);
  const [much, less, alike] = [
    waiting(host, "00aa", 5),
    waiting(host, "00bb", 3),
    waiting(host, "00cc", 5),
  ];
  for (const peer of [much, less, alike, much]) addSlotWaiter(host, peer);
  expect(firstSlotWaiter(host)).toBe(less);
  expect(turnsOf(host)).toEqual([less, much, alike]);
  addSlotWaiter(host, alike);
  expect(turnsOf(host)).toEqual([alike]);
});

test("who waits no more has no turn", () => {
  const host = newHost("host-1", "boot-1", 0);
  const [one, other] = [waiting(host, "00aa", 1), waiting(host, "00bb", 2)];
  addSlotWaiter(host, one);
  stopWaiting(one);
  expect(firstSlotWaiter(host)).toBeUndefined();
  addSlotWaiter(host, other);
  expect(turnsOf(host)).toEqual([other]);
});
