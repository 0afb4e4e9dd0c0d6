const MIB = 2 ** 20;

/** Content up to this length is cut into pieces of {@link PIECE_LENGTH_BYTES_MIN}. */
const SMALL_CONTENT_BYTES_MAX = 64 * MIB;
/** Shortest piece length; a last piece may be shorter. */
export const PIECE_LENGTH_BYTES_MIN = MIB;
/** Longest piece length: more would make a lease, a retry and a hash too coarse. */
export const PIECE_LENGTH_BYTES_MAX = 64 * MIB;
/** Larger content has about this many pieces: enough to spread, few enough to count. */
const PIECE_COUNT_TARGET = 256;

/** Content longer than this is passed through: its bitmap would not fit the limits of an event. 16 TiB. */
export const CONTENT_LENGTH_BYTES_MAX = 2 ** 44;

/**
 * Bytes per piece of content of `lengthBytes`, by rule version 1: 1 MiB up to 64 MiB of content, then the power of two
 * next above length/256, between 4 and 64 MiB.
 */
export function pieceLengthOf(lengthBytes: number): number {
  if (lengthBytes <= SMALL_CONTENT_BYTES_MAX) return PIECE_LENGTH_BYTES_MIN;
  const wanted = 2 ** Math.ceil(Math.log2(lengthBytes / PIECE_COUNT_TARGET));
  return Math.min(PIECE_LENGTH_BYTES_MAX, Math.max(4 * MIB, wanted));
}

/** Whether a piece length can have come from {@link pieceLengthOf} in this or a later version. */
export function isPieceLength(value: number): boolean {
  return (
    Number.isInteger(value) &&
    value >= PIECE_LENGTH_BYTES_MIN &&
    value <= PIECE_LENGTH_BYTES_MAX &&
    (value & (value - 1)) === 0
  );
}
