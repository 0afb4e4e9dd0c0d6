import type { PieceRange } from "@lacewing/contracts/gen/lacewing/decisions/v1/decisions.ts";
import { countOf, indexesOf } from "@lacewing/contracts/pieces.ts";

/** Length of a SHA-256. */
export const DIGEST_BYTES = 32;

/** Whether it says what a piece must have; zeros stand for one that nobody has seen yet. */
export function isNamed(digest: Uint8Array): boolean {
  return digest.length === DIGEST_BYTES && digest.some((byte) => byte !== 0);
}

/**
 * The digests by piece, of pieces that were all named with one. @returns `undefined` when there are more or fewer digests than pieces.
 */
export function namedDigests(
  pieces: readonly PieceRange[],
  digests: Uint8Array,
): ReadonlyMap<number, Uint8Array> | undefined {
  if (countOf(pieces) * DIGEST_BYTES !== digests.length) return undefined;
  const named = new Map<number, Uint8Array>();
  let at = 0;
  for (const index of indexesOf(pieces)) {
    const digest = digests.subarray(at, at + DIGEST_BYTES);
    if (isNamed(digest)) named.set(index, digest);
    at += DIGEST_BYTES;
  }
  return named;
}
