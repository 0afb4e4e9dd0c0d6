import { SlotWaiters } from "./slot-waiters.ts";
import type { Host, Peer } from "./state.ts";
import { ACTIVITY } from "./swarm/swarm.ts";

/**
 * Which peer of a host has the next free upload slot. A host nearly always takes part in one task: the only one that waits is a field of
 * the host, as hundreds of thousands of hosts wait once for each lease that they serve. From the second on they stand in a queue.
 */

/** Does nothing when the peer waits already. */
export function addSlotWaiter(host: Host, peer: Peer): void {
  const { slotWaiter } = host;
  if (host.slotWaiters === undefined) {
    if (slotWaiter === undefined) host.slotWaiter = peer;
    if (slotWaiter === undefined || slotWaiter === peer) return;
    host.slotWaiters = new SlotWaiters(isWaiting);
    host.slotWaiters.add(slotWaiter);
    host.slotWaiter = undefined;
  }
  host.slotWaiters.add(peer);
}

export function firstSlotWaiter(host: Host): Peer | undefined {
  if (host.slotWaiters !== undefined) return host.slotWaiters.first();
  if (host.slotWaiter !== undefined && !isWaiting(host.slotWaiter)) host.slotWaiter = undefined;
  return host.slotWaiter;
}

/** Takes out who has the next turn. */
export function takeSlotWaiter(host: Host): Peer | undefined {
  if (host.slotWaiters === undefined) {
    const only = firstSlotWaiter(host);
    host.slotWaiter = undefined;
    return only;
  }
  const first = host.slotWaiters.take();
  if (host.slotWaiters.size === 0) host.slotWaiters = undefined;
  return first;
}

function isWaiting({ ordinal, task }: Peer): boolean {
  return ordinal >= 0 && task.swarm?.activityOf(ordinal) === ACTIVITY.waiting;
}
