import type { PieceRange } from "./gen/lacewing/decisions/v1/decisions.ts";

/** How content is cut: its length and the length of its pieces, both in bytes. */
export interface PieceLayout {
  readonly lengthBytes: number;
  readonly pieceLengthBytes: number;
}

/** Bytes from `start` up to, not including, `end`. */
export interface ByteSpan {
  readonly start: number;
  readonly end: number;
}

/** Number of pieces; 0 for empty content. */
export function pieceCountOf(layout: PieceLayout): number {
  return Math.ceil(layout.lengthBytes / layout.pieceLengthBytes);
}

/** The bytes of one piece; the last one is shorter when the lengths do not divide. */
export function pieceSpan(layout: PieceLayout, pieceIndex: number): ByteSpan {
  const start = pieceIndex * layout.pieceLengthBytes;
  return { start, end: Math.min(layout.lengthBytes, start + layout.pieceLengthBytes) };
}

/** The piece that holds a byte. */
export function pieceAt(layout: PieceLayout, offset: number): number {
  return Math.floor(offset / layout.pieceLengthBytes);
}

/** The pieces that `span` touches, as the first index and the index after the last. */
export function piecesCovering(layout: PieceLayout, span: ByteSpan): ByteSpan {
  if (span.end <= span.start) return { start: 0, end: 0 };
  return { start: pieceAt(layout, span.start), end: pieceAt(layout, span.end - 1) + 1 };
}

/** The indexes of piece ranges, in order. */
export function* indexesOf(ranges: readonly PieceRange[]): Generator<number> {
  for (const range of ranges) {
    for (let index = range.start; index < range.start + range.count; index++) yield index;
  }
}

/** Number of pieces in ranges. */
export function countOf(ranges: readonly PieceRange[]): number {
  return ranges.reduce((sum, range) => sum + range.count, 0);
}

/** Joins piece indexes, in ascending order, into ranges. */
export function rangesOf(ascendingIndexes: Iterable<number>): PieceRange[] {
  const ranges: PieceRange[] = [];
  for (const index of ascendingIndexes) {
    const last = ranges.at(-1);
    if (last !== undefined && last.start + last.count === index) last.count++;
    else ranges.push({ start: index, count: 1 });
  }
  return ranges;
}
