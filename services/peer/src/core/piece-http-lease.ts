import type { ByteSpan } from "@lacewing/contracts/pieces.ts";

/** Pieces from `start`, `count` of them: as a lease lists them. */
export interface LeasedRange {
  readonly start: number;
  readonly count: number;
}

/** Whether every piece from `pieces.start` up to, not including, `pieces.end` is in one of the ranges, in whatever order they are. */
export function leaseCovers(ranges: readonly LeasedRange[], pieces: ByteSpan): boolean {
  let next = pieces.start;
  for (const range of ranges.toSorted((a, b) => a.start - b.start)) {
    if (next >= pieces.end || range.start > next) break;
    next = Math.max(next, range.start + range.count);
  }
  return next >= pieces.end;
}
