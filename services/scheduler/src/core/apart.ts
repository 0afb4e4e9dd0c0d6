import { CONTENT_DIFFERS } from "@lacewing/contracts/events/reasons.ts";
import { resetPeer, tellToDrop } from "./ledger.ts";
import type { Host, Peer, State, Task } from "./state.ts";
import { syncPeer } from "./swarm/sync.ts";

/** Whether any other host has got something of the content as it is described now, or is getting it. */
export function isUnderWayElsewhere(task: Task, hostId: string): boolean {
  for (const peer of task.peers.values()) {
    if (peer.hostId === hostId || peer.isApart) continue;
    if (peer.held.count > 0 || peer.leases.length > 0) return true;
  }
  return false;
}

/**
 * What the host has by the name of the task is of another length than the task: its pieces are nobody's, and it is given none, until it
 * has dropped them. It goes on by itself.
 */
export function standApart(state: State, task: Task, peer: Peer): void {
  if (!peer.isApart) {
    resetPeer(state, task, peer, peer.incarnation);
    peer.isApart = true;
    syncPeer(peer);
    for (const lease of [...peer.leases, ...peer.host.serving])
      if (lease.task === task) task.leasesToReview.add(lease);
  }
  sendAway(state, task, peer);
}

/** The host has by the name of the task what the task is. */
export function comeBack(task: Task, host: Host): void {
  const peer = task.peers.get(host.hostId);
  if (peer?.isApart !== true) return;
  peer.isApart = false;
  syncPeer(peer);
}

/** The host may not have heard it, or have been started since. */
export function sendAway(state: State, task: Task, { hostId }: Peer): void {
  tellToDrop(state, task, hostId, CONTENT_DIFFERS);
}
