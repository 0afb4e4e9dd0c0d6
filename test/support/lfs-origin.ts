import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { systemClock } from "@lacewing/runtime/clock.ts";
import { messageOf } from "@lacewing/runtime/errors.ts";
import { randomUUID } from "node:crypto";
import { sha256Of, sizeOf, type Content } from "./content.ts";
import { answerBatch } from "./lfs-batch.ts";
import { isBatchPath, oidOfStoragePath } from "./lfs-paths.ts";
import { answerWithContent, type OriginEntry } from "./origin-answer.ts";
import { FaultSet, type OriginFault } from "./origin-fault.ts";
import { OriginCounters, type OriginStats, type RequestKind } from "./origin-stats.ts";
import { createUrlSigner, type UrlSigner } from "./signed-url.ts";
import { TokenBucket } from "./token-bucket.ts";

/** An object as a Git LFS pointer names it. */
export interface LfsObject {
  readonly oid: string;
  readonly sizeBytes: number;
}

/**
 * A server that owns content: Git LFS batch API, signed storage URLs, and plain files under `/files/`.
 *
 * Keys of faults and counters are an oid, `files/<name>`, `batch` (the batch API) or `*` (all content).
 */
export interface LfsOrigin {
  /** `http://127.0.0.1:<port>` */
  readonly url: string;
  readonly port: number;
  /**
   * Offers `content` as an LFS object. An `oid` other than the content's own makes the origin a liar about this object.
   */
  addObject(content: Content, oid?: string): Promise<LfsObject>;
  /** Offers `content` at `/files/<name>`, or replaces it, which changes its ETag. An empty header value removes a default. */
  putFile(
    name: string,
    content: Content,
    headers?: Readonly<Record<string, string>>,
  ): Promise<void>;
  /** Replaces the faults of a key; an empty list heals it. */
  setFaults(key: string, faults: readonly OriginFault[]): Promise<void>;
  /** `undefined` = no cap. */
  setRate(bytesPerSecond: number | undefined): Promise<void>;
  /** Counters and access log since the start or the last reset; also `GET /_stats`. */
  stats(): Promise<OriginStats>;
  resetStats(): Promise<void>;
  /** Breaks open connections. */
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

export interface LfsOriginOptions {
  /** Cap on the sum of all connections, in bytes per second. */
  readonly rateBytesPerSecond?: number | undefined;
  /** Life of a signed URL. */
  readonly urlExpiresSeconds?: number | undefined;
  /** Every answer begins so long after its request, as that of an origin that is far away. */
  readonly distanceMs?: number | undefined;
}

/** As GitHub's. */
const URL_EXPIRES_SECONDS = 3600;

/** Starts an origin in this process, on a free loopback port. See `lfs-origin-process.ts` for one of its own. */
export async function startLfsOrigin(options: LfsOriginOptions = {}): Promise<LfsOrigin> {
  const world = new OriginWorld(options);
  const server = createServer((request, response) => {
    void world.answer(request, response);
  });
  // A test ends by closing the origin, not by waiting for idle clients.
  server.keepAliveTimeout = 60_000;
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(0, "127.0.0.1", resolve);
  });
  const address = server.address();
  if (address === null || typeof address === "string") throw new TypeError("no TCP address");
  const close = async () => {
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    server.closeAllConnections();
    await closed;
  };
  return {
    url: `http://127.0.0.1:${address.port}`,
    port: address.port,
    addObject: async (content, oid) => world.addObject(content, oid),
    putFile: async (name, content, headers) => world.put(`files/${name}`, content, headers),
    setFaults: async (key, faults) => world.setFaults(key, faults),
    setRate: async (bytesPerSecond) => {
      world.link.bytesPerSecond = bytesPerSecond;
    },
    stats: async () => world.counters.snapshot(),
    resetStats: async () => world.counters.reset(),
    close,
    [Symbol.asyncDispose]: close,
  };
}

class OriginWorld {
  readonly link: TokenBucket;
  readonly counters = new OriginCounters();
  readonly #entries = new Map<string, OriginEntry>();
  readonly #faults = new Map<string, readonly OriginFault[]>();
  readonly #signer: UrlSigner;
  readonly #distanceMs: number;

  constructor(options: LfsOriginOptions) {
    this.link = new TokenBucket(options.rateBytesPerSecond, systemClock);
    this.#distanceMs = options.distanceMs ?? 0;
    this.#signer = createUrlSigner({
      secret: randomUUID(),
      expiresSeconds: options.urlExpiresSeconds ?? URL_EXPIRES_SECONDS,
      now: () => systemClock.now(),
    });
  }

  async addObject(content: Content, oid: string | undefined): Promise<LfsObject> {
    const name = oid ?? (await sha256Of(content));
    this.put(name, content);
    return { oid: name, sizeBytes: sizeOf(content) };
  }

  put(key: string, content: Content, headers: Readonly<Record<string, string>> = {}): void {
    const version = (this.#entries.get(key)?.version ?? 0) + 1;
    this.#entries.set(key, { content, headers, version });
  }

  setFaults(key: string, faults: readonly OriginFault[]): void {
    if (faults.length === 0) this.#faults.delete(key);
    else this.#faults.set(key, faults);
  }

  /** Never rejects: what goes wrong in here breaks the connection, as a crashing origin would. */
  async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    response.on("error", () => response.destroy());
    try {
      if (this.#distanceMs > 0) await systemClock.sleep(this.#distanceMs);
      await this.#route(request, response);
    } catch (error) {
      if (response.headersSent) response.destroy();
      else response.writeHead(500).end(`${messageOf(error)}\n`);
    }
  }

  async #route(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const host = request.headers.host ?? "127.0.0.1";
    const url = new URL(request.url ?? "/", `http://${host}`);
    if (url.pathname === "/_stats") {
      const body = JSON.stringify(this.counters.snapshot());
      response.writeHead(200, { "content-type": "application/json" }).end(body);
      return;
    }
    const oid = oidOfStoragePath(url.pathname);
    const fileName = url.pathname.startsWith("/files/") ? url.pathname.slice(1) : undefined;
    const key = oid ?? (fileName === undefined ? "" : decodeURIComponent(fileName));
    const refusal =
      oid === undefined
        ? undefined
        : this.#signer.refusalOf({ host, path: url.pathname, query: url.searchParams });
    const isBatch = request.method === "POST" && isBatchPath(url.pathname);
    const entry = this.#entries.get(key);
    const kind = isBatch
      ? "batch"
      : entry === undefined || refusal !== undefined
        ? "refused"
        : kindOf(request);
    const record = this.#record({ request, response, path: url.pathname, host, key, kind });
    const faults = this.#faultsOf(isBatch ? "batch" : key, !isBatch);
    if (isBatch) {
      const sizeOfObject = (id: string) => this.#sizeOf(id);
      await answerBatch({ request, response, host, faults, signer: this.#signer, sizeOfObject });
    } else if (refusal !== undefined) {
      const body = `<?xml version="1.0"?><Error><Code>AccessDenied</Code><Message>${refusal}</Message></Error>\n`;
      response.writeHead(403, { "content-type": "application/xml" }).end(body);
    } else if (entry === undefined) {
      response.writeHead(404, { "content-type": "text/plain" }).end("no such content\n");
    } else if (kind === "refused") {
      response.writeHead(405, { allow: "GET, HEAD" }).end();
    } else {
      await answerWithContent({ request, response, entry, faults, link: this.link, record });
    }
  }

  #sizeOf(oid: string): number | undefined {
    const entry = this.#entries.get(oid);
    return entry === undefined ? undefined : sizeOf(entry.content);
  }

  #faultsOf(key: string, isContent: boolean): FaultSet {
    const ofAll = isContent ? (this.#faults.get("*") ?? []) : [];
    return new FaultSet([...(this.#faults.get(key) ?? []), ...ofAll]);
  }

  #record(seen: {
    readonly request: IncomingMessage;
    readonly response: ServerResponse;
    readonly path: string;
    readonly host: string;
    readonly key: string;
    readonly kind: RequestKind;
  }) {
    const { request, response, path, host, key, kind } = seen;
    const { range } = request.headers;
    const userAgent = request.headers["user-agent"];
    const record = this.counters.begin({
      at: systemClock.now(),
      method: request.method ?? "",
      host,
      path,
      key,
      ...(range === undefined ? {} : { range }),
      ...(userAgent === undefined ? {} : { userAgent }),
      kind,
      status: 0,
      bodyBytes: 0,
      isComplete: false,
    });
    response.on("close", () => {
      record.entry.status = response.headersSent ? response.statusCode : 0;
      record.ended(response.writableFinished);
    });
    return record;
  }
}

function kindOf(request: IncomingMessage): RequestKind {
  if (request.method === "HEAD") return "head";
  if (request.method !== "GET") return "refused";
  return request.headers.range === "bytes=0-0" ? "probe" : "content";
}
