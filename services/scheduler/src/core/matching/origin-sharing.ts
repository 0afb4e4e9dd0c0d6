import { pieceSpan } from "@lacewing/contracts/pieces.ts";
import { remainingOf } from "../leases.ts";
import type { Lease } from "../lease.ts";
import type { Peer, State, Task } from "../state.ts";
import { originReader } from "./origin.ts";

/** A stream with less than this left goes on: to stop it and ask for ranges costs as much as it wins. */
const SHARED_BYTES_MIN = 128 * 2 ** 20;
/** Of that its host keeps the next so many bytes: it reads on until it hears of this, and they must not come twice. */
const KEPT_BYTES = 64 * 2 ** 20;
/** So many others must be able to read the origin: for fewer the uplink of one reader suffices. */
const OTHERS_MIN = 3;
/** Peers that want pieces looked at for these. */
const OTHERS_LOOKED_MAX = 64;

/** A stream from the origin that others shall have a part of, and what its host goes on with. */
export interface SharedStream {
  readonly lease: Lease;
  readonly child: Peer;
  readonly kept: readonly number[];
  readonly reason: string;
}

/**
 * The stream of the host that opened the content, while many wait for it: everything that comes from the origin would have to
 * leave through that one host's uplink. Split, the pieces of the one copy begin their way at many hosts. Each part needs a grant,
 * so it pays only where grants come soon.
 */
export function sharedStream(state: State, task: Task, nowMs: number): SharedStream | undefined {
  const lease = state.leases.get(task.streamLeaseId ?? "");
  if (lease === undefined || !task.hasOriginRanges) return undefined;
  // Others get it from its host, all of it.
  if (task.relays?.isOver === false) return undefined;
  if (task.needyIds.size <= OTHERS_MIN || !isControlQuick(task)) return undefined;
  const { child } = lease;
  const kept = keptPieces(task, lease);
  if (kept === undefined) return undefined;
  const otherCount = otherReaderCount(state, task, child, nowMs);
  if (otherCount < OTHERS_MIN) return undefined;
  return { lease, child, kept, reason: "origin shared: others read a part each" };
}

/** Whether a grant is known to travel for less time than a piece. */
function isControlQuick({ swarm, layout, controlMs }: Task): boolean {
  if (swarm === undefined || layout === undefined || controlMs === 0) return false;
  return controlMs * swarm.usualBytesPerMs <= layout.pieceLengthBytes;
}

/** The next pieces of a long stream; `undefined` when it is none. */
function keptPieces({ layout }: Task, lease: Lease): readonly number[] | undefined {
  if (layout === undefined) return undefined;
  const kept: number[] = [];
  let bytes = 0;
  for (const piece of remainingOf(lease)) {
    if (bytes < KEPT_BYTES) kept.push(piece);
    const span = pieceSpan(layout, piece);
    bytes += span.end - span.start;
    if (bytes >= SHARED_BYTES_MIN) return kept;
  }
  return undefined;
}

function otherReaderCount(state: State, task: Task, child: Peer, nowMs: number): number {
  let lookedCount = 0;
  let otherCount = 0;
  for (const hostId of task.needyIds) {
    if (++lookedCount > OTHERS_LOOKED_MAX || otherCount >= OTHERS_MIN) break;
    const peer = task.peers.get(hostId);
    if (peer === undefined || peer === child) continue;
    if (state.hosts.get(hostId)?.state !== "alive") continue;
    if (originReader(peer, nowMs) !== undefined) otherCount++;
  }
  return otherCount;
}
