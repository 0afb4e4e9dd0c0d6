const MIB = 2 ** 20;

/** Shortest piece length; a last piece may be shorter. */
export const PIECE_LENGTH_BYTES_MIN = MIB;
/** Longest piece length: more would make a lease, a retry and a hash too coarse. */
export const PIECE_LENGTH_BYTES_MAX = 64 * MIB;
/** Larger content has about this many pieces: enough to spread, few enough to count. */
const PIECE_COUNT_TARGET = 256;

/** Content longer than this is passed through: its bitmap would not fit the limits of an event. 16 TiB. */
export const CONTENT_LENGTH_BYTES_MAX = 2 ** 44;

/**
 * Bytes per piece of content of `lengthBytes`, by rule version 2: the power of two next above length/256, between 1 and 64 MiB. Version 1 cut
 * content of 64 MiB to 1 GiB into pieces of 4 MiB.
 */
export function pieceLengthOf(lengthBytes: number): number {
  const wanted = 2 ** Math.ceil(Math.log2(Math.max(lengthBytes, 1) / PIECE_COUNT_TARGET));
  return Math.min(PIECE_LENGTH_BYTES_MAX, Math.max(PIECE_LENGTH_BYTES_MIN, wanted));
}

/** Whether a piece length can have come from {@link pieceLengthOf} in any version. */
export function isPieceLength(value: number): boolean {
  return (
    Number.isInteger(value) &&
    value >= PIECE_LENGTH_BYTES_MIN &&
    value <= PIECE_LENGTH_BYTES_MAX &&
    (value & (value - 1)) === 0
  );
}
