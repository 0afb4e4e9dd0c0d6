import { contain, markDirty } from "./ledger.ts";
import type { State } from "./state.ts";

/** A reader's hint is believed for so long: a reader that is still blocked repeats it. */
const BLOCKED_MS = 2_000;

/** A client of the host reads in order and has got as far as a piece that is not there. */
export interface BlockedReader {
  readonly hostId: string;
  readonly taskId: string;
  readonly pieceIndex: number;
  readonly atMs: number;
}

/**
 * Notes where a reader is blocked: for a while the pieces from there on come before rarer ones. No fact: it is in no log, changes
 * only what is granted next, and is of no consequence to a replay.
 */
export function noteBlockedReader(state: State, hint: BlockedReader): void {
  const task = state.tasks.get(hint.taskId);
  const peer = task?.peers.get(hint.hostId);
  if (task === undefined || peer === undefined || hint.pieceIndex >= peer.held.size) {
    contain(state, "hint that does not fit");
    return;
  }
  const isRepeated = peer.blockedAtPiece === hint.pieceIndex && peer.blockedUntilMs > hint.atMs;
  peer.blockedAtPiece = hint.pieceIndex;
  peer.blockedUntilMs = hint.atMs + BLOCKED_MS;
  // Nothing is to be looked at anew for what is known.
  if (isRepeated) return;
  if (peer.ordinal >= 0) {
    task.swarm?.rows.setUrgent(peer.ordinal);
    task.swarm?.freshen(peer.ordinal);
  }
  if (peer.isNeedy) markDirty(state, task);
}
