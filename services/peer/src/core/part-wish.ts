import type { ByteSpan } from "@lacewing/contracts/pieces.ts";

/** Parts that make up this share of a content are most likely read by somebody who wants all of it: 16 connections, say, a part each. */
const SHARE_OF_ALL = 1 / 32;
/** Of very large content so many bytes are enough: programs that fetch it in parts of 8 or 10 MiB are told by the first few. */
const PARTS_BYTES_MAX = 64 * 2 ** 20;
/** Whoever goes on with a download wants the rest, to the last byte. Readers of an index at the end want less than this. */
const REST_BYTES_MIN = 2 ** 20;

/** Whether whoever asks for these parts of a content, which lie apart, is most likely fetching all of it. */
export function isPartOfAll(lengthBytes: number, parts: readonly ByteSpan[]): boolean {
  const bytes = parts.reduce((sum, { start, end }) => sum + end - start, 0);
  if (bytes >= Math.min(lengthBytes * SHARE_OF_ALL, PARTS_BYTES_MAX)) return true;
  return parts.some(({ start, end }) => end === lengthBytes && end - start >= REST_BYTES_MIN);
}
