import { createHash } from "node:crypto";
import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from "node:http";
import { gzipSync } from "node:zlib";
import { answerToRange, type ByteRange } from "./byte-range.ts";
import {
  bufferReader,
  bytesOf,
  openContent,
  sizeOf,
  type Content,
  type ContentReader,
} from "./content.ts";
import type { FaultSet } from "./origin-fault.ts";
import type { RequestRecord } from "./origin-stats.ts";
import type { TokenBucket } from "./token-bucket.ts";

/** One object or file as the origin offers it. */
export interface OriginEntry {
  readonly content: Content;
  /** Set on top of the usual headers; an empty string takes a header away. Names in lower case. */
  readonly headers: Readonly<Record<string, string>>;
  /** Grows when the content is replaced, so that the ETag changes even if the description does not. */
  readonly version: number;
}

/** Small turns keep the link fair between connections and smooth. */
const PACED_CHUNK_BYTES = 16 * 2 ** 10;
/** Without a cap larger chunks save CPU. */
const UNPACED_CHUNK_BYTES = 256 * 2 ** 10;
/** Gzip is made in memory: it is a fault of small test files. */
const GZIP_BYTES_MAX = 64 * 2 ** 20;
const LAST_MODIFIED = "Thu, 21 Dec 2023 07:31:04 GMT";

/** Answers a GET or HEAD for one entry as its faults want it. Resolves when the answer has ended, however it ended. */
export async function answerWithContent(exchange: {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly entry: OriginEntry;
  readonly faults: FaultSet;
  readonly link: TokenBucket;
  readonly record: RequestRecord;
}): Promise<void> {
  const { request, response, entry, faults, record } = exchange;
  if (answerWithoutContent(response, faults)) return;
  const headers = headersOf(entry, faults);
  const etag = typeof headers["etag"] === "string" ? headers["etag"] : undefined;
  if (etag !== undefined && request.headers["if-none-match"] === etag) {
    response.writeHead(304, headers).end();
    return;
  }
  if (request.headers["if-match"] !== undefined && request.headers["if-match"] !== etag) {
    response.writeHead(412).end();
    return;
  }
  await using reader = await openFaulty(entry.content, faults);
  const wanted =
    faults.has("ignore_range") || faults.has("gzip") ? undefined : rangeOf(request, headers);
  const answer = answerToRange(wanted, reader.sizeBytes);
  if (answer.kind === "unsatisfiable") {
    response.writeHead(416, { "content-range": `bytes */${reader.sizeBytes}` }).end();
    return;
  }
  const range = answer.kind === "part" ? answer.range : { start: 0, end: reader.sizeBytes - 1 };
  if (answer.kind === "part") {
    headers["content-range"] = `bytes ${range.start}-${range.end}/${reader.sizeBytes}`;
  }
  const claimed = faults.get("claim_length");
  if (!faults.has("chunked")) {
    headers["content-length"] = claimed?.contentLength ?? range.end - range.start + 1;
  }
  // After a lie about the length the connection cannot be used again.
  if (claimed !== undefined || faults.has("end_after")) headers["connection"] = "close";
  response.writeHead(answer.kind === "part" ? 206 : 200, headers);
  if (request.method === "HEAD") response.end();
  else await sendBody({ response, reader, range, faults, link: exchange.link, record });
}

/** The faults that need no content. True when one of them has answered, or keeps silent. */
export function answerWithoutContent(response: ServerResponse, faults: FaultSet): boolean {
  if (faults.has("never_answer")) return true;
  const refusal = faults.get("status");
  if (refusal !== undefined) {
    const retryAfter = refusal.retryAfterSeconds;
    response
      .writeHead(refusal.status, {
        "content-type": "text/plain",
        ...(retryAfter === undefined ? {} : { "retry-after": String(retryAfter) }),
      })
      .end(`status ${refusal.status} was ordered by the test\n`);
    return true;
  }
  const redirect = faults.get("redirect");
  if (redirect === undefined) return false;
  response.writeHead(redirect.status, { location: redirect.location }).end();
  return true;
}

function headersOf(entry: OriginEntry, faults: FaultSet): OutgoingHttpHeaders {
  const strong = etagOf(entry);
  const validators: OutgoingHttpHeaders = faults.has("no_validator")
    ? {}
    : faults.has("weak_validator")
      ? { etag: `W/${strong}` }
      : { etag: strong, "last-modified": LAST_MODIFIED };
  const headers: OutgoingHttpHeaders = {
    "content-type": "application/octet-stream",
    ...(faults.has("ignore_range") ? {} : { "accept-ranges": "bytes" }),
    ...(faults.has("gzip") ? { "content-encoding": "gzip" } : {}),
    ...validators,
    ...entry.headers,
  };
  return Object.fromEntries(Object.entries(headers).filter(([, value]) => value !== ""));
}

function etagOf(entry: OriginEntry): string {
  const description = JSON.stringify([entry.version, entry.content]);
  return `"${createHash("sha256").update(description).digest("hex").slice(0, 32)}"`;
}

/** The `Range` header, unless its `If-Range` names another state of the content (RFC 9110 section 13.1.5). */
function rangeOf(request: IncomingMessage, headers: OutgoingHttpHeaders): string | undefined {
  const condition = request.headers["if-range"];
  if (condition === undefined) return request.headers.range;
  const isStrongMatch = condition === headers["etag"] && !String(condition).startsWith("W/");
  return isStrongMatch || condition === headers["last-modified"]
    ? request.headers.range
    : undefined;
}

async function openFaulty(content: Content, faults: FaultSet): Promise<ContentReader> {
  const served = faults.get("other_content")?.content ?? content;
  if (faults.has("gzip")) {
    if (sizeOf(served) > GZIP_BYTES_MAX) {
      throw new RangeError(`gzip of ${sizeOf(served)} bytes: at most ${GZIP_BYTES_MAX}`);
    }
    return bufferReader(gzipSync(await bytesOf(served)));
  }
  const reader = await openContent(served);
  const flip = faults.get("flip_byte");
  if (flip === undefined) return reader;
  return {
    sizeBytes: reader.sizeBytes,
    read: async (offset, lengthBytes) => {
      const bytes = Buffer.from(await reader.read(offset, lengthBytes));
      const position = flip.offset - offset;
      if (position >= 0 && position < lengthBytes) {
        bytes.writeUInt8(bytes.readUInt8(position) ^ 0xff, position);
      }
      return bytes;
    },
    [Symbol.asyncDispose]: async () => reader[Symbol.asyncDispose](),
  };
}

async function sendBody(body: {
  readonly response: ServerResponse;
  readonly reader: ContentReader;
  readonly range: ByteRange;
  readonly faults: FaultSet;
  readonly link: TokenBucket;
  readonly record: RequestRecord;
}): Promise<void> {
  const { response, reader, range, faults, link, record } = body;
  const cut = faults.get("close_after") ?? faults.get("end_after") ?? faults.get("stall_after");
  const lengthBytes = range.end - range.start + 1;
  const stopAt = range.start + Math.min(lengthBytes, cut?.bytes ?? lengthBytes);
  const closed = new Promise<void>((resolve) => response.once("close", resolve));
  let flushed = Promise.resolve();
  if (cut !== undefined) response.flushHeaders();
  for (let offset = range.start; offset < stopAt;) {
    const chunkMax = link.bytesPerSecond === undefined ? UNPACED_CHUNK_BYTES : PACED_CHUNK_BYTES;
    const granted = await link.take(Math.min(chunkMax, stopAt - offset));
    if (response.destroyed) return;
    const chunk = await reader.read(offset, granted);
    const written = Promise.withResolvers<void>();
    const hasRoom = response.write(chunk, (error) => {
      if (error === null || error === undefined) record.sent(chunk.length);
      written.resolve();
    });
    flushed = written.promise;
    offset += granted;
    if (!hasRoom) await drained(response);
    if (response.destroyed) return;
  }
  if (cut === undefined || cut.bytes >= lengthBytes) {
    response.end();
    return;
  }
  switch (cut.kind) {
    case "close_after":
      // The reset comes after the bytes and not instead of them.
      await Promise.race([flushed, closed]);
      response.socket?.resetAndDestroy();
      return;
    case "end_after":
      // The head announced `Connection: close`, so this ends the connection.
      response.end();
      return;
    case "stall_after":
      // Nothing more is sent; the exchange ends when the client or the origin closes.
      return;
  }
}

async function drained(response: ServerResponse): Promise<void> {
  await new Promise<void>((resolve) => {
    const done = () => {
      response.off("drain", done).off("close", done);
      resolve();
    };
    response.on("drain", done).on("close", done);
  });
}
