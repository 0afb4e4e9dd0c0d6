import type { ByteSpan } from "@lacewing/contracts/pieces.ts";

/** A parsed `Content-Range` of an answer with content. */
export interface ContentRange {
  readonly span: ByteSpan;
  /** Length of the whole content; `undefined` when the sender did not know (`*`). */
  readonly totalBytes: number | undefined;
}

/** RFC 9110 section 14.4. `undefined` for another unit, the unsatisfied form, or numbers that contradict each other. */
export function parseContentRange(text: string | undefined): ContentRange | undefined {
  const match = /^\s*bytes\s+(\d{1,16})-(\d{1,16})\/(\d{1,16}|\*)\s*$/i.exec(text ?? "");
  if (match === null) return undefined;
  const start = Number(match[1]);
  const end = Number(match[2]) + 1;
  const totalBytes = match[3] === "*" ? undefined : Number(match[3]);
  if (end <= start || !Number.isSafeInteger(end)) return undefined;
  if (totalBytes !== undefined && (totalBytes < end || !Number.isSafeInteger(totalBytes))) {
    return undefined;
  }
  return { span: { start, end }, totalBytes };
}

/** `bytes 0-99/1234`. */
export function formatContentRange(span: ByteSpan, totalBytes: number): string {
  return `bytes ${span.start}-${span.end - 1}/${totalBytes}`;
}
