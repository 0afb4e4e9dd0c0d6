import type { PieceLayout } from "@lacewing/contracts/pieces.ts";
import {
  LEASE_DURATION_MS_MIN,
  OPEN_LEASE_DURATION_MS,
  SLOWEST_BYTES_PER_SECOND,
} from "./limits.ts";

/** How long a lease lives without a piece: one that comes slowly, but comes, must not be cut off. */
export function leaseDurationMs(layout: PieceLayout | undefined): number {
  if (layout === undefined) return OPEN_LEASE_DURATION_MS;
  const pieceMs = (layout.pieceLengthBytes / SLOWEST_BYTES_PER_SECOND) * 1000;
  return LEASE_DURATION_MS_MIN + Math.ceil(pieceMs);
}
