import type { ByteSpan } from "@lacewing/contracts/pieces.ts";
import { failedPrecondition, isRangeWanted, type Validators } from "./conditions.ts";
import { formatContentRange } from "./content-range.ts";
import { headerOf, headerValues, type HeaderList } from "./http-headers.ts";

/** A request for more parts than this gets the whole: nobody needs them, and each part costs a head (RFC 9110 section 17.15). */
export const RANGE_COUNT_MAX = 32;

/** What a `Range` field selects. Spans are non-empty, inside the content, apart from each other, in the order asked for. */
export type RangeSelection =
  | { readonly kind: "whole" }
  | { readonly kind: "unsatisfiable" }
  | { readonly kind: "spans"; readonly spans: readonly ByteSpan[] };

const WHOLE: RangeSelection = { kind: "whole" };

/**
 * Reads a `Range` field (RFC 9110 sections 14.1.2 and 14.2): single, open, suffix and several ranges. A malformed field, an
 * unknown unit or too many ranges are ignored, which means the whole; ranges that overlap or touch are joined.
 */
export function parseRange(field: string | undefined, lengthBytes: number): RangeSelection {
  const specs = /^\s*bytes\s*=(.*)$/is
    .exec(field ?? "")?.[1]
    ?.split(",")
    .map((spec) => spec.trim());
  const given = specs?.filter((spec) => spec !== "") ?? [];
  if (given.length === 0 || given.length > RANGE_COUNT_MAX) return WHOLE;
  const spans: ByteSpan[] = [];
  for (const spec of given) {
    const span = parseSpec(spec, lengthBytes);
    if (span === "malformed") return WHOLE;
    if (span !== "unsatisfiable") spans.push(span);
  }
  // A suffix of empty content is satisfiable, but an empty range cannot be written in Content-Range.
  if (spans.some((span) => span.end <= span.start)) return WHOLE;
  return spans.length === 0
    ? { kind: "unsatisfiable" }
    : { kind: "spans", spans: joinedSpans(spans) };
}

function parseSpec(spec: string, lengthBytes: number): ByteSpan | "malformed" | "unsatisfiable" {
  const match = /^(\d*)\s*-\s*(\d*)$/.exec(spec);
  const [, first = "", last = ""] = match ?? [];
  if (first === "" && last === "") return "malformed";
  if (first === "") {
    const suffixBytes = position(last);
    if (suffixBytes === 0) return "unsatisfiable";
    return { start: Math.max(0, lengthBytes - suffixBytes), end: lengthBytes };
  }
  const start = position(first);
  if (last !== "" && position(last) < start) return "malformed";
  if (start >= lengthBytes) return "unsatisfiable";
  return { start, end: last === "" ? lengthBytes : Math.min(lengthBytes, position(last) + 1) };
}

/** Numbers beyond what can be counted exactly are beyond any content too. */
function position(digits: string): number {
  return Math.min(Number(digits), Number.MAX_SAFE_INTEGER - 1);
}

/** Joins spans that overlap or touch; a joined span stands where its first part stood (RFC 9110 section 15.3.7.2). */
export function joinedSpans(spans: readonly ByteSpan[]): readonly ByteSpan[] {
  const apart: ByteSpan[] = [];
  for (const span of spans) {
    let wide = span;
    let place = apart.length;
    for (let index = apart.length - 1; index >= 0; index--) {
      const other = apart[index];
      if (other === undefined || other.start > wide.end || wide.start > other.end) continue;
      wide = { start: Math.min(wide.start, other.start), end: Math.max(wide.end, other.end) };
      apart.splice(index, 1);
      place = index;
      // The wider span may reach others that were apart before.
      index = apart.length;
    }
    apart.splice(place, 0, wide);
  }
  return apart;
}

/** What is known of the content that a client asked for. Empty texts: not known. */
export interface Representation extends Validators {
  readonly lengthBytes: number;
  readonly contentType: string;
  /** Sent with every 200 and 206; none of those that {@link planResponse} writes itself. */
  readonly extraHeaders: HeaderList;
}

/** A stretch of content and the text before it: nothing, or the head of a part of `multipart/byteranges`. */
export interface ResponsePart {
  /** One byte per character when written as latin1. */
  readonly prefix: string;
  readonly span: ByteSpan;
}

/** An answer from held or arriving content. */
export interface ResponsePlan {
  readonly status: 200 | 206 | 304 | 412 | 416;
  readonly headers: HeaderList;
  readonly parts: readonly ResponsePart[];
  /** After the last part. */
  readonly suffix: string;
  /** Bytes of the body as it is sent, prefixes and suffix included; 0 for HEAD. */
  readonly bodyLength: number;
}

/**
 * Answers a GET or HEAD for content of known length: preconditions first (RFC 9110 section 13.2.2), then ranges (section
 * 14.2, for GET only).
 *
 * @param boundary of `multipart/byteranges`: letters and digits that do not occur in the content, so random.
 */
export function planResponse(request: {
  readonly method: "GET" | "HEAD";
  readonly requestHeaders: HeaderList;
  readonly representation: Representation;
  readonly boundary: string;
}): ResponsePlan {
  const { method, requestHeaders, representation, boundary } = request;
  const { lengthBytes } = representation;
  const failed = failedPrecondition(requestHeaders, representation);
  if (failed !== undefined) return withoutContent(failed, representation);
  const isRanged = method === "GET" && isRangeWanted(requestHeaders, representation);
  const fields = isRanged ? headerValues(requestHeaders, "range") : [];
  const selection = fields.length === 1 ? parseRange(fields[0], lengthBytes) : WHOLE;
  if (selection.kind === "unsatisfiable") return withoutContent(416, representation);
  const [first, ...others] = selection.kind === "spans" ? selection.spans : [];
  if (first === undefined) {
    const parts = [{ prefix: "", span: { start: 0, end: lengthBytes } }];
    return {
      status: 200,
      headers: contentHeaders(representation, representation.contentType, lengthBytes),
      parts: method === "HEAD" || lengthBytes === 0 ? [] : parts,
      suffix: "",
      bodyLength: method === "HEAD" ? 0 : lengthBytes,
    };
  }
  if (others.length > 0) return multipart([first, ...others], representation, boundary);
  const bodyLength = first.end - first.start;
  return {
    status: 206,
    headers: [
      ...contentHeaders(representation, representation.contentType, bodyLength),
      ["Content-Range", formatContentRange(first, lengthBytes)],
    ],
    parts: [{ prefix: "", span: first }],
    suffix: "",
    bodyLength,
  };
}

/** The smallest span that contains everything the plan sends of the content; `undefined` when it sends nothing of it. */
export function wantedSpan(plan: Pick<ResponsePlan, "parts">): ByteSpan | undefined {
  if (plan.parts.length === 0) return undefined;
  return {
    start: Math.min(...plan.parts.map((part) => part.span.start)),
    end: Math.max(...plan.parts.map((part) => part.span.end)),
  };
}

/** RFC 9110 section 14.6. */
function multipart(
  spans: readonly ByteSpan[],
  representation: Representation,
  boundary: string,
): ResponsePlan {
  const { contentType, lengthBytes } = representation;
  const typeLine = contentType === "" ? "" : `Content-Type: ${contentType}\r\n`;
  const parts = spans.map((span, index) => ({
    prefix: `${index === 0 ? "" : "\r\n"}--${boundary}\r\n${typeLine}Content-Range: ${formatContentRange(span, lengthBytes)}\r\n\r\n`,
    span,
  }));
  const suffix = `\r\n--${boundary}--\r\n`;
  const bodyLength = parts.reduce(
    (sum, { prefix, span }) => sum + prefix.length + span.end - span.start,
    suffix.length,
  );
  const type = `multipart/byteranges; boundary=${boundary}`;
  return {
    status: 206,
    headers: contentHeaders(representation, type, bodyLength),
    parts,
    suffix,
    bodyLength,
  };
}

function contentHeaders(
  representation: Representation,
  contentType: string,
  bodyLength: number,
): HeaderList {
  return [
    ...(contentType === "" ? [] : ([["Content-Type", contentType]] as const)),
    ["Content-Length", String(bodyLength)],
    ["Accept-Ranges", "bytes"],
    ...validatorHeaders(representation),
    ...representation.extraHeaders,
  ];
}

function validatorHeaders({ etag, lastModified }: Validators): HeaderList {
  const known: HeaderList = [
    ["ETag", etag],
    ["Last-Modified", lastModified],
  ];
  return known.filter(([, value]) => value !== "");
}

/** The fields that a 304 repeats (RFC 9110 section 15.4.5). */
const REPEATED_BY_304 = ["cache-control", "content-location", "date", "expires", "vary"] as const;

function withoutContent(status: 304 | 412 | 416, representation: Representation): ResponsePlan {
  const headers: HeaderList =
    status === 304
      ? [
          ...validatorHeaders(representation),
          ...REPEATED_BY_304.flatMap((name) => {
            const value = headerOf(representation.extraHeaders, name);
            return value === undefined ? [] : [[name, value] as const];
          }),
        ]
      : [
          ["Content-Length", "0"],
          ...(status === 416
            ? ([["Content-Range", `bytes */${representation.lengthBytes}`]] as const)
            : []),
        ];
  return { status, headers, parts: [], suffix: "", bodyLength: 0 };
}
