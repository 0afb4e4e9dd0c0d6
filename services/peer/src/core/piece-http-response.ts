import type { ByteSpan } from "@lacewing/contracts/pieces.ts";
import { parseContentRange } from "./piece-http-range.ts";

/**
 * The head of a piece server's answer, read strictly. Only what our own servers send is understood: HTTP/1.1, CRLF line
 * ends, exactly one `Content-Length`, no transfer coding. Everything else is refused, because two readings of one head
 * would let bytes of one answer pass for another's.
 */
export interface ResponseHead {
  /** 200–599. */
  readonly status: number;
  readonly contentLength: number;
  /** As sent; present at most once. */
  readonly contentRange: string | undefined;
  /** Seconds; `undefined` when missing or not a plain number. */
  readonly retryAfterSeconds: number | undefined;
  /** Whether the server closes the connection after the body. */
  readonly closes: boolean;
}

export type HeadProgress =
  | { readonly kind: "more" }
  | {
      readonly kind: "head";
      readonly head: ResponseHead;
      /** Bytes of the last push that belong to the head; the body follows them. */
      readonly consumed: number;
    }
  | { readonly kind: "refused"; readonly why: string };

/** A head beyond this is refused: ours have a few hundred bytes. */
export const RESPONSE_HEAD_BYTES_MAX = 16 * 1024;

const CR = 13;
const LF = 10;
const MORE = { kind: "more" } as const;
const STATUS_LINE = /^HTTP\/1\.1 ([2-5]\d\d) [\t\x20-\x7e\x80-\xff]*$/;
/** No space before the colon and no folded lines: both have been used to smuggle heads. */
const FIELD = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+):([\t\x20-\x7e\x80-\xff]*)$/;
const LENGTH = /^\d{1,15}$/;

/** Takes a head apart as it arrives; one parser per answer. */
export class ResponseHeadParser {
  readonly #bytes = new Uint8Array(RESPONSE_HEAD_BYTES_MAX);
  #length = 0;
  #settled: Extract<HeadProgress, { kind: "refused" }> | undefined;

  /** Whether any byte has been seen. */
  get hasStarted(): boolean {
    return this.#length > 0;
  }

  /** Takes the next bytes. After a head or a refusal the parser takes no more. Never throws. */
  push(bytes: Uint8Array): HeadProgress {
    if (this.#settled !== undefined) return this.#settled;
    for (let at = 0; at < bytes.length; at++) {
      if (this.#length === RESPONSE_HEAD_BYTES_MAX) {
        return this.#refuse(`head is longer than ${RESPONSE_HEAD_BYTES_MAX} bytes`);
      }
      const byte = bytes[at] ?? 0;
      this.#bytes[this.#length++] = byte;
      if (byte === LF && this.#endsWithEmptyLine()) return this.#finish(at + 1);
    }
    return MORE;
  }

  #endsWithEmptyLine(): boolean {
    const length = this.#length;
    return (
      length >= 4 &&
      this.#bytes[length - 2] === CR &&
      this.#bytes[length - 3] === LF &&
      this.#bytes[length - 4] === CR
    );
  }

  #finish(consumed: number): HeadProgress {
    const lines = latin1(this.#bytes.subarray(0, this.#length - 4)).split("\r\n");
    const head = headOfLines(lines);
    if (typeof head === "string") return this.#refuse(head);
    this.#settled = { kind: "refused", why: "head was already complete" };
    return { kind: "head", head, consumed };
  }

  #refuse(why: string): HeadProgress {
    this.#settled = { kind: "refused", why };
    return this.#settled;
  }
}

/**
 * Why an answer is not the span that was asked for; `undefined` when it is. The bytes themselves prove themselves by their
 * digests; this catches an answer whose bytes would land in the wrong place.
 */
export function spanMismatch(head: ResponseHead, span: ByteSpan): string | undefined {
  const range = head.contentRange === undefined ? undefined : parseContentRange(head.contentRange);
  if (range === undefined) return "Content-Range is missing or malformed";
  if (range.span.start !== span.start || range.span.end !== span.end) {
    return `Content-Range is bytes ${range.span.start}-${range.span.end - 1}, asked for ${span.start}-${span.end - 1}`;
  }
  const wanted = span.end - span.start;
  return head.contentLength === wanted
    ? undefined
    : `Content-Length is ${head.contentLength} bytes, the range has ${wanted}`;
}

/** The head, or why it is refused. */
function headOfLines(lines: readonly string[]): ResponseHead | string {
  const [statusLine = "", ...fieldLines] = lines;
  const status = STATUS_LINE.exec(statusLine)?.[1];
  if (status === undefined) return "status line is not HTTP/1.1 with a final status";
  const fields = new Map<string, string>();
  for (const line of fieldLines) {
    const [, name, value] = FIELD.exec(line) ?? [];
    if (name === undefined || value === undefined) return "a header line is malformed";
    const key = name.toLowerCase();
    if (SINGLE_FIELDS.has(key) && fields.has(key)) return `${key} is given twice`;
    fields.set(key, value.trim());
  }
  if (fields.has("transfer-encoding")) return "transfer-encoding is not accepted";
  const contentLength = fields.get("content-length") ?? "";
  if (!LENGTH.test(contentLength)) return "content-length is missing or not a number";
  const retryAfter = fields.get("retry-after") ?? "";
  return {
    status: Number(status),
    contentLength: Number(contentLength),
    contentRange: fields.get("content-range"),
    retryAfterSeconds: LENGTH.test(retryAfter) ? Number(retryAfter) : undefined,
    closes: /(^|[\s,])close($|[\s,])/i.test(fields.get("connection") ?? ""),
  };
}

/** Fields whose repetition would leave two answers to one question. */
const SINGLE_FIELDS = new Set([
  "content-length",
  "content-range",
  "transfer-encoding",
  "connection",
  "retry-after",
]);

function latin1(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return text;
}
