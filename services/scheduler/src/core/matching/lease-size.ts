import { LEASE_PIECES_MAX } from "@lacewing/contracts/limits.ts";
import { pieceSpan } from "@lacewing/contracts/pieces.ts";
import { LEASE_BYTES_ALONE_MAX, LEASE_BYTES_MAX } from "../limits.ts";
import type { Rarity } from "../swarm/rarity.ts";
import type { Useful } from "./useful.ts";
import type { MatchView } from "./view.ts";

/** In what order pieces are taken: what is rare first, or from the front as clients read. */
export type PickOrder = { readonly rarity: Rarity } | "front";

/** How much one lease may carry. */
export interface LeaseSize {
  readonly pieces: number;
  readonly bytes: number;
}

/**
 * The size of a lease from a source: one piece (or few bytes) while the first piece is rare, so that it is soon offered on; what
 * the source delivers in about a second when it is not, but no more than its part of what the child lacks; most of the content
 * when nobody else waits and nobody else has it.
 */
export function leaseSize(
  view: MatchView,
  source: number,
  child: number,
  copyCount: number,
): LeaseSize {
  const { swarm, policy, task } = view;
  const pieceBytes = task.layout?.pieceLengthBytes ?? 1;
  const fewestBytes =
    swarm.usualBytesPerMs === 0
      ? policy.leaseBytesMin
      : Math.min(policy.leaseBytesMin, policy.shortLeaseMs * swarm.usualBytesPerMs);
  const fewest = Math.max(1, Math.floor(fewestBytes / pieceBytes));
  // Several sources bring the rest sooner than one.
  const part = Math.max(fewest, Math.ceil(swarm.missingCountOf(child) / (task.leaseDepth + 1)));
  if (task.needyIds.size <= 1) {
    const isOneSource = task.holderIds.size <= 1;
    return { pieces: isOneSource ? LEASE_PIECES_MAX : part, bytes: LEASE_BYTES_ALONE_MAX };
  }
  if (copyCount < policy.youngCopyCount) return { pieces: fewest, bytes: LEASE_BYTES_MAX };
  const bytesPerMs = swarm.hosts[source]?.bytesPerMs ?? 0;
  const paced = Math.floor((bytesPerMs * policy.leaseMs) / pieceBytes);
  const pieces = Math.max(fewest, Math.min(policy.leasePiecesMax, paced, part));
  return { pieces, bytes: LEASE_BYTES_MAX };
}

/** The loaded pieces for one lease, `first` among them, ascending. */
export function takePieces(
  view: MatchView,
  useful: Useful,
  child: number,
  order: PickOrder,
  first: number,
  size: LeaseSize,
): readonly number[] {
  const pieces = [first];
  useful.remove(first);
  let bytes = bytesOf(view, first);
  while (pieces.length < size.pieces) {
    const urgent = useful.urgent(view, child);
    const next =
      urgent >= 0
        ? urgent
        : order === "front"
          ? useful.lowest()
          : nextRarest(view, useful, order.rarity);
    if (next < 0) break;
    bytes += bytesOf(view, next);
    if (bytes > size.bytes) break;
    useful.remove(next);
    pieces.push(next);
  }
  return pieces.length === 1 ? pieces : pieces.sort((a, b) => a - b);
}

/**
 * The next piece by rarity. Of pieces that only this source has, the first in the content: there is nobody to do the same, and
 * clients begin to read there.
 */
export function nextRarest(view: MatchView, useful: Useful, rarity: Rarity): number {
  const sole = useful.lowest(view.swarm.sole);
  return sole >= 0 ? sole : useful.rarest(rarity, view.random);
}

function bytesOf(view: MatchView, piece: number): number {
  if (view.task.layout === undefined) return 0;
  const span = pieceSpan(view.task.layout, piece);
  return span.end - span.start;
}
