/** Bytes `start` to `end`, both included, 0-based. */
export interface ByteRange {
  readonly start: number;
  readonly end: number;
}

export type RangeAnswer =
  | { readonly kind: "whole" }
  | { readonly kind: "part"; readonly range: ByteRange }
  | { readonly kind: "unsatisfiable" };

/**
 * What a `Range` header asks of a content of `sizeBytes` (RFC 9110 section 14). Several ranges and other units are
 * answered with the whole content, which the RFC allows and simple origins do.
 */
export function answerToRange(header: string | undefined, sizeBytes: number): RangeAnswer {
  const match = /^bytes=(\d*)-(\d*)$/.exec(header?.trim() ?? "");
  if (match === null || (match[1] === "" && match[2] === "")) return { kind: "whole" };
  const first = match[1] === "" ? undefined : Number(match[1]);
  const last = match[2] === "" ? undefined : Number(match[2]);
  if (first !== undefined && last !== undefined && last < first) return { kind: "whole" };
  const start = first ?? Math.max(0, sizeBytes - (last ?? 0));
  const end = first === undefined ? sizeBytes - 1 : Math.min(last ?? sizeBytes - 1, sizeBytes - 1);
  return start > end ? { kind: "unsatisfiable" } : { kind: "part", range: { start, end } };
}
