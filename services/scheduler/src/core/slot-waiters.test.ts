import { expect, test } from "vitest";
import { SlotWaiters } from "./slot-waiters.ts";

interface Waiter {
  readonly name: string;
  uploadShare: number;
  isWaiting: boolean;
}

function waiter(name: string, uploadShare: number): Waiter {
  return { name, uploadShare, isWaiting: true };
}

function queueOf(waiters: readonly Waiter[]): SlotWaiters<Waiter> {
  const queue = new SlotWaiters<Waiter>((peer) => peer.isWaiting);
  for (const peer of waiters) queue.add(peer);
  return queue;
}

/** Names in the order in which they have their turns. */
function turnsOf(queue: SlotWaiters<Waiter>): readonly string[] {
  const names: string[] = [];
  for (let peer = queue.take(); peer !== undefined; peer = queue.take()) names.push(peer.name);
  return names;
}

test("who had least has the first turn, and of equals who came first", () => {
  const shares = [5, 3, 9, 3, 0, 7, 5, 1];
  const queue = queueOf(shares.map((share, index) => waiter(`${share}.${index}`, share)));
  expect(queue.first()?.name).toBe("0.4");
  expect(turnsOf(queue)).toEqual(["0.4", "1.7", "3.1", "3.3", "5.0", "5.6", "7.5", "9.2"]);
  expect(queue.size).toBe(0);
});

test("who waits is there once", () => {
  const peer = waiter("a", 1);
  const queue = queueOf([peer, peer]);
  expect(turnsOf(queue)).toEqual(["a"]);
  queue.add(peer);
  expect(turnsOf(queue)).toEqual(["a"]);
});

test("who was given something meanwhile has its turn after those who had less", () => {
  const [a, b] = [waiter("a", 1), waiter("b", 2)];
  const queue = queueOf([a, b]);
  a.uploadShare = 3;
  expect(turnsOf(queue)).toEqual(["b", "a"]);
});

test("who does not wait any more is left out, and is let in again later", () => {
  const peers = Array.from({ length: 6 }, (_, index) => waiter(`${index}`, index));
  const queue = queueOf(peers);
  for (const peer of peers.slice(0, 3)) peer.isWaiting = false;
  expect(queue.first()?.name).toBe("3");
  const [first] = peers;
  if (first !== undefined) {
    first.isWaiting = true;
    queue.add(first);
  }
  expect(turnsOf(queue)).toEqual(["0", "3", "4", "5"]);
});

test("those that do not wait any more do not stay behind for ever", () => {
  const peers = Array.from({ length: 100 }, (_, index) => waiter(`${index}`, index));
  const queue = queueOf(peers);
  for (const peer of peers.slice(50)) peer.isWaiting = false;
  for (let turn = 0; turn < 50; turn++) queue.take();
  expect(queue.size).toBe(0);
});
