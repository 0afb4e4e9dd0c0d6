import { createHash } from "node:crypto";
import type {
  HeaderList,
  OriginClient,
  OriginRequest,
  OriginResponse,
} from "@lacewing/peer/app/ports.ts";
import { parseRange } from "@lacewing/peer/core/ranges.ts";
import { PortError } from "@lacewing/runtime/errors.ts";

const CHUNK_BYTES = 16 * 1024;

/** What the origin has under one path, and how it misbehaves. */
export interface ScriptedFile {
  bytes: Uint8Array;
  /** Empty: none. */
  etag: string;
  headers: HeaderList;
  /** `false`: a range is answered with everything. */
  hasRanges: boolean;
  /** `false`: `Content-Length` is left out. */
  hasLength: boolean;
  /** Another status than content. */
  status: number | undefined;
  /** `Retry-After` of such an answer. */
  retryAfter: string | undefined;
  /** No connection. */
  isDown: boolean;
  /** Each answer breaks off after so many bytes. */
  breaksAfterBytes: number;
  /** Each answer waits at this many bytes until the gate is opened. */
  gate: { readonly atBytes: number; readonly opened: Promise<void> } | undefined;
}

/** An {@link OriginClient} over files in memory, which counts what it sends. */
export class ScriptedOrigin implements OriginClient {
  readonly requests: OriginRequest[] = [];
  /** Bytes of content bodies that were handed over. */
  sentBytes = 0;
  /** Content bodies that were broken off before their end. */
  brokenOffCount = 0;
  /** Asked before each request is answered, and waited for. */
  beforeAnswer: (request: OriginRequest) => Promise<void> | void = () => {};
  readonly #files = new Map<string, ScriptedFile>();

  add(path: string, bytes: Uint8Array, how: Partial<ScriptedFile> = {}): ScriptedFile {
    const etag = `"${createHash("sha256").update(bytes).digest("hex").slice(0, 16)}"`;
    const file: ScriptedFile = {
      bytes,
      etag,
      headers: [["Content-Type", "application/octet-stream"]],
      hasRanges: true,
      hasLength: true,
      status: undefined,
      retryAfter: undefined,
      isDown: false,
      breaksAfterBytes: Infinity,
      gate: undefined,
      ...how,
    };
    this.#files.set(path, file);
    return file;
  }

  async open(request: OriginRequest, signal: AbortSignal): Promise<OriginResponse> {
    await Promise.resolve();
    signal.throwIfAborted();
    this.requests.push(request);
    await this.beforeAnswer(request);
    signal.throwIfAborted();
    const file = this.#files.get(request.url.pathname);
    if (file === undefined) return this.#refusal(404, signal);
    if (file.isDown) throw new PortError("origin_unreachable", "refused", { retryable: true });
    if (file.status !== undefined) return this.#refusal(file.status, signal, file.retryAfter);
    const range = request.range ?? spanOf(request.clientRange, file.bytes.length);
    const isRanged = range !== undefined && file.hasRanges;
    const isSame = request.ifRange === undefined || request.ifRange === file.etag;
    if (!isRanged || !isSame) return this.#answer(request, file, signal, undefined);
    const { start } = range;
    if (start >= file.bytes.length) return this.#refusal(416, signal);
    const end = Math.min(file.bytes.length, range.end ?? file.bytes.length);
    return this.#answer(request, file, signal, { start, end });
  }

  close(): void {}

  #answer(
    request: OriginRequest,
    file: ScriptedFile,
    signal: AbortSignal,
    span: { readonly start: number; readonly end: number } | undefined,
  ): OriginResponse {
    const total = file.bytes.length;
    const body = file.bytes.subarray(span?.start ?? 0, span?.end ?? total);
    const headers: HeaderList = [
      ...file.headers,
      ...(file.etag === "" ? [] : ([["ETag", file.etag]] as const)),
      ...(file.hasRanges ? ([["Accept-Ranges", "bytes"]] as const) : []),
      ...(file.hasLength ? ([["Content-Length", String(body.length)]] as const) : []),
      ...(span === undefined
        ? []
        : ([["Content-Range", `bytes ${span.start}-${span.end - 1}/${total}`]] as const)),
    ];
    const sent = request.method === "HEAD" ? new Uint8Array(0) : body;
    const isProbe = span !== undefined && body.length === 1;
    return this.#response(span === undefined ? 200 : 206, headers, sent, signal, {
      file,
      isContent: !isProbe,
    });
  }

  #refusal(status: number, signal: AbortSignal, retryAfter?: string): OriginResponse {
    const headers: HeaderList = [
      ["Content-Length", "4"],
      ...(retryAfter === undefined ? [] : ([["Retry-After", retryAfter]] as const)),
    ];
    return this.#response(status, headers, Buffer.from("none"), signal);
  }

  #response(
    status: number,
    headers: HeaderList,
    body: Uint8Array,
    signal: AbortSignal,
    content?: { readonly file: ScriptedFile; readonly isContent: boolean },
  ): OriginResponse {
    const length = headers.find(([name]) => name === "Content-Length")?.[1];
    const brokenOff = Promise.withResolvers<never>();
    brokenOff.promise.catch(() => undefined);
    let isOver = false;
    const breakOff = (): void => {
      if (isOver) return;
      isOver = true;
      if (content?.isContent === true) this.brokenOffCount++;
      brokenOff.reject(new PortError("origin_broken_off", "broken off", { retryable: true }));
    };
    signal.addEventListener("abort", breakOff);
    const chunks = async function* (this: ScriptedOrigin): AsyncGenerator<Uint8Array> {
      const gate = content?.file.gate;
      const pass = async (at: number): Promise<void> => {
        if (gate !== undefined && at >= gate.atBytes)
          await Promise.race([gate.opened, brokenOff.promise]);
      };
      for (let at = 0; at < body.length;) {
        await pass(at);
        await Promise.race([new Promise(setImmediate), brokenOff.promise]);
        if (at >= (content?.file.breaksAfterBytes ?? Infinity)) {
          throw new PortError("origin_broken_off", "broken off", { retryable: true });
        }
        const chunk = body.subarray(at, at + CHUNK_BYTES);
        at += chunk.length;
        if (content?.isContent === true) this.sentBytes += chunk.length;
        if (at >= body.length && at !== gate?.atBytes) isOver = true;
        yield chunk;
      }
      if (gate?.atBytes === body.length) await pass(body.length);
      isOver = true;
    };
    return {
      status,
      headers,
      isElsewhere: false,
      header: (name) => headers.find(([known]) => known.toLowerCase() === name)?.[1],
      bodyLength: length === undefined ? undefined : Number(length),
      body: chunks.call(this),
      discard: breakOff,
    };
  }
}

/** A client's own field is understood when it is one span. */
function spanOf(field: string | undefined, lengthBytes: number): OriginRequest["range"] {
  const selection = parseRange(field, lengthBytes);
  return selection.kind === "spans" && selection.spans.length === 1
    ? selection.spans[0]
    : undefined;
}
