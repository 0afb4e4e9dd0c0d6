import type { PieceLayout } from "@lacewing/contracts/pieces.ts";
import {
  LEASE_DURATION_MS_LEAST,
  LEASE_DURATION_MS_MIN,
  LEASE_PATIENCE,
  OPEN_LEASE_DURATION_MS,
  SLOWEST_BYTES_PER_SECOND,
} from "./limits.ts";

/**
 * How long a lease lives without a piece: one that comes slowly, but comes, must not be cut off. A parent whose pace is known is
 * given several times what a piece takes at it.
 *
 * @param bytesPerMs of a lease from the parent; 0 or undefined when nothing is known
 */
export function leaseDurationMs(layout: PieceLayout | undefined, bytesPerMs = 0): number {
  return durationMs(layout, bytesPerMs, LEASE_DURATION_MS_LEAST);
}

/** Likewise what a silent reader of the origin is given, which may rest for longer: what it is slow to send is in no other place. */
export function originPatienceMs(layout: PieceLayout | undefined, bytesPerMs = 0): number {
  return durationMs(layout, bytesPerMs, LEASE_DURATION_MS_MIN);
}

function durationMs(layout: PieceLayout | undefined, bytesPerMs: number, leastMs: number): number {
  if (layout === undefined) return OPEN_LEASE_DURATION_MS;
  const pieceMs = (layout.pieceLengthBytes / SLOWEST_BYTES_PER_SECOND) * 1000;
  const longestMs = LEASE_DURATION_MS_MIN + Math.ceil(pieceMs);
  if (bytesPerMs === 0) return longestMs;
  const expectedMs = Math.ceil((LEASE_PATIENCE * layout.pieceLengthBytes) / bytesPerMs);
  return Math.min(longestMs, leastMs + expectedMs);
}
