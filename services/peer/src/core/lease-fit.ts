import { isPieceLength } from "@lacewing/contracts/piece-length.ts";
import type { Lease } from "@lacewing/contracts/gen/lacewing/assignments/v1/assignments.ts";
import { indexesOf, type PieceLayout, pieceCountOf } from "@lacewing/contracts/pieces.ts";

/**
 * Why a lease cannot be carried out on content as this host knows it, or `undefined` when it can. Scheduler and host may have
 * been told different lengths by an origin that lies or changed: the pieces of one are not those of the other.
 */
export function leaseMisfit(
  lease: Pick<Lease, "open" | "lengthBytes" | "pieceLengthBytes" | "pieces">,
  layout: PieceLayout,
): string | undefined {
  if (lease.open) return undefined;
  if (
    lease.lengthBytes !== layout.lengthBytes ||
    lease.pieceLengthBytes !== layout.pieceLengthBytes
  ) {
    return `the lease is for ${lease.lengthBytes} bytes in pieces of ${lease.pieceLengthBytes}, here are ${layout.lengthBytes} in pieces of ${layout.pieceLengthBytes}`;
  }
  const pieceCount = pieceCountOf(layout);
  for (const index of indexesOf(lease.pieces)) {
    if (index >= pieceCount) return `the lease names piece ${index} of ${pieceCount}`;
  }
  return undefined;
}

/** A transfer that brings no piece for this long is given up: a pace of 256 KiB/s, and some seconds to begin. */
export function patienceMs(pieceLengthBytes: number, leaseDurationMs: number): number {
  const BEGIN_MS = 15_000;
  const SLOWEST_BYTES_PER_MS = 256;
  return Math.max(leaseDurationMs, BEGIN_MS + Math.ceil(pieceLengthBytes / SLOWEST_BYTES_PER_MS));
}

/**
 * A parent may say nothing for as long as the lease lives without a piece: then the child is the first to know, and can tell what
 * came, before the scheduler, which waits a little longer, ends the lease. `undefined`: there is no lease.
 */
export function silenceMs(leaseDurationMs: number): number | undefined {
  return leaseDurationMs > 0 ? leaseDurationMs : undefined;
}

/** Whether the lease begins with the first byte of the origin: then the opening request may be the download itself. */
export function isOriginFromStart(lease: Lease): boolean {
  return lease.parentHostId === "" && (lease.open || lease.pieces[0]?.start === 0);
}

/** Whether the lease says what the content is, so that nobody has to ask the origin. */
export function isDescribed({ open, lengthBytes, pieceLengthBytes }: Lease): boolean {
  return !open && lengthBytes > 0 && isPieceLength(pieceLengthBytes);
}
