import { CONTENT_DIFFERS } from "@lacewing/contracts/events/reasons.ts";
import type { Answer } from "./answer.ts";
import { resetPeer, tell, touchPeer } from "./ledger.ts";
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

/** Whether any other host gets, or has clients that wait for, the content as it is described now. */
export function isAwaitedElsewhere(task: Task, hostId: string): boolean {
  for (const peer of task.peers.values()) {
    if (peer.hostId === hostId || peer.isApart || peer.host.state !== "alive") continue;
    if (peer.requests.size > 0 || peer.leases.length > 0) return true;
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
  tell(state, task.slice, wordApart(task, peer));
}

/** The host has by the name of the task what the task is. */
export function comeBack(state: State, task: Task, host: Host): void {
  const peer = task.peers.get(host.hostId);
  if (peer?.isApart !== true) return;
  peer.isApart = false;
  syncPeer(peer);
  touchPeer(state, peer);
}

/** What such a host is told, each time that it asks. */
export function wordApart({ taskId, layout }: Task, { hostId }: Peer): Answer {
  const lengthBytes = layout?.lengthBytes ?? 0;
  return { kind: "drop_task", hostId, taskId, reason: CONTENT_DIFFERS, lengthBytes };
}
