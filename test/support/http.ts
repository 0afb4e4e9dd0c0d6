import { createHash } from "node:crypto";
import { request as startRequest, type IncomingHttpHeaders, type IncomingMessage } from "node:http";
import { PortError } from "@lacewing/runtime/errors.ts";

export interface HttpGet {
  readonly method?: "GET" | "HEAD" | "POST";
  /** A forward proxy; the request is sent to it in absolute form. */
  readonly proxyUrl?: string | undefined;
  /** Value of the `Range` header without `bytes=`, e.g. `0-99` or `-5`. */
  readonly range?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  /** Aborting breaks the connection, as a client that goes away. */
  readonly signal?: AbortSignal | undefined;
  /** No byte for so long fails the request, before the head or within the body. */
  readonly idleTimeoutMs?: number;
  /** Sees the body as it arrives; `bytesSoFar` includes the chunk. */
  readonly onChunk?: (chunk: Buffer, bytesSoFar: number) => void;
}

export interface HttpAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  /** Body bytes that arrived, also of a broken transfer. */
  readonly bodyBytes: number;
  /** SHA-256 of what arrived, lower-case hex. */
  readonly sha256: string;
  /** The first {@link KEPT_BODY_BYTES_MAX} of the body. */
  readonly body: Buffer;
  /** False when the transfer broke before the end that its framing announced. */
  readonly isComplete: boolean;
  /** Milliseconds to the head of the answer. */
  readonly headMs: number;
  readonly totalMs: number;
}

const IDLE_TIMEOUT_MS = 30_000;
/** Larger bodies are only hashed and counted. */
export const KEPT_BODY_BYTES_MAX = 16 * 2 ** 20;

/**
 * One HTTP request on a connection of its own, redirects not followed. A transfer that breaks inside the body is an
 * answer with `isComplete: false`, because that is what many tests are about.
 *
 * @throws {PortError} when no head arrived.
 */
export async function httpGet(url: string, options: HttpGet = {}): Promise<HttpAnswer> {
  const startedAt = performance.now();
  const response = await head(url, options);
  const headMs = performance.now() - startedAt;
  const hash = createHash("sha256");
  const kept: Buffer[] = [];
  let keptBytes = 0;
  let bodyBytes = 0;
  response.on("data", (chunk: Buffer) => {
    bodyBytes += chunk.length;
    hash.update(chunk);
    if (keptBytes < KEPT_BODY_BYTES_MAX) {
      const part = chunk.subarray(0, KEPT_BODY_BYTES_MAX - keptBytes);
      kept.push(part);
      keptBytes += part.length;
    }
    options.onChunk?.(chunk, bodyBytes);
  });
  await new Promise<void>((resolve) => {
    response.on("error", () => {});
    response.once("close", resolve);
  });
  return {
    status: response.statusCode ?? 0,
    headers: response.headers,
    bodyBytes,
    sha256: hash.digest("hex"),
    body: Buffer.concat(kept),
    isComplete: response.complete,
    headMs,
    totalMs: performance.now() - startedAt,
  };
}

async function head(url: string, options: HttpGet): Promise<IncomingMessage> {
  const target = new URL(url);
  const hop = options.proxyUrl === undefined ? target : new URL(options.proxyUrl);
  const idleTimeoutMs = options.idleTimeoutMs ?? IDLE_TIMEOUT_MS;
  return new Promise<IncomingMessage>((resolve, reject) => {
    const request = startRequest({
      host: hop.hostname,
      port: hop.port === "" ? 80 : Number(hop.port),
      method: options.method ?? "GET",
      path: options.proxyUrl === undefined ? `${target.pathname}${target.search}` : target.href,
      headers: {
        host: target.host,
        ...(options.range === undefined ? {} : { range: `bytes=${options.range}` }),
        ...options.headers,
      },
      agent: false,
      timeout: idleTimeoutMs,
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    });
    request.on("timeout", () => {
      request.destroy(new Error(`no byte within ${idleTimeoutMs} ms`));
    });
    request.on("error", (error) => {
      const where = `${target.host}${target.pathname}`;
      const message = `no answer from ${where}: ${error.message}`;
      reject(new PortError("no_answer", message, { retryable: true, cause: error }));
    });
    request.once("response", resolve);
    request.end(options.body);
  });
}
