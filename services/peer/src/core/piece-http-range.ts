import type { ByteSpan } from "@lacewing/contracts/pieces.ts";

/** Fifteen digits stay below 2^53. */
const RANGE = /^bytes=(\d{1,15})-(\d{1,15})$/;
const CONTENT_RANGE = /^bytes (\d{1,15})-(\d{1,15})\/(\d{1,15})$/;

/**
 * The bytes that a `Range` header asks of a piece server: one range with both ends, `bytes=0-1048575`. Anything else that
 * HTTP allows is `undefined`: hosts never ask for it.
 */
export function parsePieceRange(header: string | undefined): ByteSpan | undefined {
  const [, first, last] = RANGE.exec(header ?? "") ?? [];
  if (first === undefined || last === undefined) return undefined;
  const span = { start: Number(first), end: Number(last) + 1 };
  return span.start < span.end ? span : undefined;
}

/** The `Range` header for a span that is not empty. */
export function formatPieceRange(span: ByteSpan): string {
  return `bytes=${span.start}-${span.end - 1}`;
}

/** The `Content-Range` header of an answer that carries `span`. */
export function formatContentRange(span: ByteSpan, lengthBytes: number): string {
  return `bytes ${span.start}-${span.end - 1}/${lengthBytes}`;
}

/** The span and the content's whole length that a `Content-Range` tells; `undefined` when it does not make sense. */
export function parseContentRange(
  header: string,
): { readonly span: ByteSpan; readonly lengthBytes: number } | undefined {
  const [, first, last, length] = CONTENT_RANGE.exec(header) ?? [];
  if (first === undefined || last === undefined || length === undefined) return undefined;
  const span = { start: Number(first), end: Number(last) + 1 };
  const lengthBytes = Number(length);
  return span.start < span.end && span.end <= lengthBytes ? { span, lengthBytes } : undefined;
}
