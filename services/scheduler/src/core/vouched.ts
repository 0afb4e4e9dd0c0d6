import type { Task } from "./state.ts";
import { syncPeer } from "./swarm/sync.ts";

/**
 * Whether a host other than this one holds all of the content and found it to be what its anchor says: then the content is known, and
 * whoever has something else by its name was given something else.
 */
export function isVouchedFor(task: Task, hostId: string): boolean {
  if (task.anchor === "" || task.state !== "verified") return false;
  for (const holderId of task.holderIds) {
    const holder = task.peers.get(holderId);
    if (holderId !== hostId && holder?.isVerified === true && holder.held.isFull) return true;
  }
  return false;
}

/** The host is no parent for this content before it has given up what it holds now. */
export function strikeCopyOf(task: Task, hostId: string): void {
  const peer = task.peers.get(hostId);
  if (peer === undefined || peer.isStruck) return;
  peer.isStruck = true;
  syncPeer(peer);
}
