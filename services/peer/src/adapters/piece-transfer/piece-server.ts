import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { LeaseTokenClaims } from "@lacewing/contracts/gen/lacewing/assignments/v1/lease_token.ts";
import { type HostId, parseTaskId, type TaskId } from "@lacewing/contracts/ids.ts";
import { LEASE_TOKEN_LENGTH_MAX } from "@lacewing/contracts/lease-token.ts";
import { type ByteSpan, piecesCovering } from "@lacewing/contracts/pieces.ts";
import type { Log } from "@lacewing/observability/log.ts";
import { type Counter, METRICS_CONTENT_TYPE } from "@lacewing/observability/metrics.ts";
import type { Secret } from "@lacewing/observability/secret.ts";
import { traceparentFromHttp } from "@lacewing/observability/trace.ts";
import type { Clock } from "@lacewing/runtime/clock.ts";
import { messageOf } from "@lacewing/runtime/errors.ts";
import { type SocketAddress, SettingsError } from "@lacewing/runtime/settings.ts";
import type { Pace } from "../../app/pace.ts";
import type { PieceArrivals } from "../../app/piece-arrivals.ts";
import type { PieceStore, StoredTask } from "../../app/ports.ts";
import { leaseCovers } from "../../core/piece-http-lease.ts";
import { formatContentRange, parsePieceRange } from "../../core/piece-http-range.ts";
import type { BulkEntry } from "../../core/bulk-frames.ts";
import { BufferPool } from "../buffer-pool.ts";
import { answerBulk, readBulkRequest } from "./bulk-answer.ts";
import type { DelegationDoor } from "./delegation-door.ts";
import { LEASE_HEADER, LeaseCheck } from "./lease-check.ts";
import { ParkedReads } from "./parked-reads.ts";
import { sendBody, SLOW_READER_MS } from "./piece-answer.ts";
import { ServeSpans } from "./serve-spans.ts";

export interface PieceServerOptions {
  readonly listen: SocketAddress;
  readonly hostId: HostId;
  readonly clusterSecret: Secret;
  readonly store: PieceStore;
  /** Tells of every piece that comes to be held while the server runs. */
  readonly arrivals: PieceArrivals;
  readonly clock: Clock;
  readonly log: Log;
  /** Whether the service can do its work; `/readyz` answers 200 or 503. */
  readonly isReady: () => boolean;
  /** The text of `/metrics`. */
  readonly metrics: () => string;
  /** Counts bytes sent to other hosts. */
  readonly serveBytes: Pick<Counter, "add">;
  /** Answers with content that run at once; beyond, children are told to come back. */
  readonly uploadSlotCount?: number;
  /** See {@link SLOW_READER_MS}. */
  readonly slowReaderMs?: number;
  /** See {@link ParkedReads}. */
  readonly parkMsMax?: number;
  readonly parkedCountMax?: number;
  readonly parkedOfChildMax?: number;
  /** Takes delegations of other hosts; `undefined`: none are taken here. */
  readonly delegations?: DelegationDoor | undefined;
  /** Asked before content is sent; default: as fast as it goes. */
  readonly pace?: Pace | undefined;
}

export interface PieceServer {
  /** host:port where it listens. */
  readonly address: string;
  /** Answers with content that run now. */
  readonly uploadCount: number;
  /** Reads ahead that wait for their piece now. */
  readonly parkedCount: number;
  close(): Promise<void>;
}

/**
 * Reads served at once. Few fast ones spread a file sooner than many slow ones, because a child can offer on only pieces it
 * has whole; this many keep the link busy although some children read slowly.
 */
export const UPLOAD_SLOT_COUNT_DEFAULT = 16;
/** Reads without a scheduler's lease get only slots that would otherwise stay empty: never more than this share is taken then. */
const DEGRADED_SLOT_SHARE = 0.5;
/** What a child that found no slot is told to wait. */
const RETRY_AFTER_SECONDS = 1;
/** Longer than any child keeps an idle connection, so that it is the child who closes. */
const KEEP_ALIVE_MS = 75_000;
/** A head, or a request without a body, that takes longer is an attack or a dead connection. */
const REQUEST_MS_MAX = 10_000;
/** A token and a few short headers. */
const REQUEST_HEAD_BYTES_MAX = 2 * LEASE_TOKEN_LENGTH_MAX;
const CONNECTION_COUNT_MAX = 2_048;
/** Answers that run when the server closes get this long. */
const CLOSE_GRACE_MS = 1_000;

/** Why a request for content is refused; the one table from refusals to the wire. */
const REFUSAL_STATUS = {
  lease_missing: 401,
  lease_malformed: 401,
  lease_forged: 401,
  lease_expired: 401,
  lease_other_host: 403,
  lease_other_task: 403,
  lease_not_covered: 403,
  not_held: 404,
  range_not_satisfiable: 416,
  busy: 503,
} as const satisfies Record<string, number>;
type ContentRefusal = keyof typeof REFUSAL_STATUS;

/** Serves pieces to other hosts over HTTP/1.1, plain enough for `curl -r`. @throws {SettingsError} when it cannot listen. */
export async function startPieceServer(options: PieceServerOptions): Promise<PieceServer> {
  const service = new PieceService(options);
  const server = createServer(
    {
      keepAliveTimeout: KEEP_ALIVE_MS,
      headersTimeout: REQUEST_MS_MAX,
      requestTimeout: REQUEST_MS_MAX,
      maxHeaderSize: REQUEST_HEAD_BYTES_MAX,
      noDelay: true,
    },
    (request, response) => service.handle(request, response),
  );
  server.maxConnections = CONNECTION_COUNT_MAX;
  const address = await listen(server, options.listen);
  return {
    address,
    get uploadCount() {
      return service.uploadCount;
    },
    get parkedCount() {
      return service.parkedCount;
    },
    close: async () => {
      service.endWaits();
      await closeServer(server);
      service.close();
    },
  };
}

class PieceService {
  uploadCount = 0;
  readonly #options: PieceServerOptions;
  readonly #leases: LeaseCheck;
  readonly #spans: ServeSpans;
  readonly #parked: ParkedReads;
  readonly #pool = new BufferPool();
  readonly #log: Log;

  constructor(options: PieceServerOptions) {
    this.#options = options;
    this.#leases = new LeaseCheck(options.clusterSecret, options.hostId);
    this.#spans = new ServeSpans(options.hostId, options.clock);
    this.#parked = new ParkedReads(options);
    this.#log = options.log.child({ part: "piece_server" });
  }

  get parkedCount(): number {
    return this.#parked.count;
  }

  /** Nothing waits here for a piece any more. */
  endWaits(): void {
    this.#parked.close();
  }

  close(): void {
    this.#spans.close();
  }

  handle(request: IncomingMessage, response: ServerResponse): void {
    // The connection's own errors end the answer through "close".
    response.on("error", () => {});
    const path = (request.url ?? "").split("?", 1)[0] ?? "";
    if (path === "/v1/contents" && request.method === "POST") {
      this.#guarded(this.#serveMany(request, response), response);
      return;
    }
    const { delegations } = this.#options;
    if (path === "/v1/delegations" && request.method === "POST" && delegations !== undefined) {
      this.#guarded(this.#takeDelegation(delegations, request, response), response);
      return;
    }
    // A body has no business elsewhere; what comes of one is thrown away.
    request.resume();
    if (request.method !== "GET")
      return answer(response, 405, "method_not_allowed", { allow: "GET" });
    if (path === "/healthz") return answer(response, 200, "alive");
    if (path === "/readyz") {
      return this.#options.isReady()
        ? answer(response, 200, "ready")
        : answer(response, 503, "not_ready");
    }
    if (path === "/metrics") {
      return answer(response, 200, this.#options.metrics(), {
        "content-type": METRICS_CONTENT_TYPE,
      });
    }
    const taskId = parseTaskId(/^\/v1\/tasks\/([0-9a-f]{64})\/content$/.exec(path)?.[1] ?? "");
    if (taskId === undefined) return answer(response, 404, "no_such_path");
    this.#guarded(this.#serve(taskId, request, response), response);
  }

  #guarded(serving: Promise<void>, response: ServerResponse): void {
    serving.catch((error: unknown) => {
      if (!response.destroyed) {
        this.#log.error("piece_server.answer_failed", { error: messageOf(error) });
      }
      response.destroy();
    });
  }

  async #serveMany(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const entries = await readBulkRequest(request);
    if (entries === undefined) {
      response.shouldKeepAlive = false;
      return answer(response, 400, "request_malformed");
    }
    if (this.uploadCount >= this.#slotCount) {
      return refuse(response, "busy", { "retry-after": String(RETRY_AFTER_SECONDS) });
    }
    const { store, clock, serveBytes } = this.#options;
    this.uploadCount++;
    try {
      const surroundings = {
        store,
        pace: this.#options.pace,
        spans: this.#spans,
        check: ({ token, taskId }: BulkEntry) => this.#leases.check(token, taskId, clock.now()),
        // The exchange as a whole has taken one slot already.
        hasSlotFor: (claims: LeaseTokenClaims) => this.#hasSlotFor(claims, 1),
      };
      const slowReaderMs = this.#options.slowReaderMs ?? SLOW_READER_MS;
      serveBytes.add(await answerBulk(surroundings, entries, response, slowReaderMs));
    } finally {
      this.uploadCount--;
    }
  }

  async #takeDelegation(
    delegations: DelegationDoor,
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<void> {
    const { status, text } = await delegations.receive(request);
    if (!request.complete) response.shouldKeepAlive = false;
    answer(response, status, text);
  }

  async #serve(taskId: TaskId, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const token = request.headers[LEASE_HEADER];
    if (typeof token !== "string") return refuse(response, "lease_missing");
    const claims = this.#leases.check(token, taskId, this.#options.clock.now());
    if (typeof claims === "string") return refuse(response, `lease_${claims}`);
    const span = parsePieceRange(request.headers.range);
    if (claims.ahead && span !== undefined) {
      const isReady = (): boolean => this.#isReady(taskId, span, claims);
      await this.#parked.until({ taskId, childHostId: claims.childHostId, response, isReady });
      if (response.destroyed) return;
      if (this.#parked.isClosed) response.shouldKeepAlive = false;
    }
    const task = this.#options.store.get(taskId);
    if (task === undefined) return refuse(response, "not_held");
    if (span === undefined || span.end > task.layout.lengthBytes) {
      const contentRange = { "content-range": `bytes */${task.layout.lengthBytes}` };
      return refuse(response, "range_not_satisfiable", contentRange);
    }
    if (!leaseCovers(claims.pieces, piecesCovering(task.layout, span))) {
      return refuse(response, "lease_not_covered");
    }
    if (!this.#hasSlotFor(claims)) {
      return refuse(response, "busy", { "retry-after": String(RETRY_AFTER_SECONDS) });
    }
    this.uploadCount++;
    const unpin = task.pin();
    try {
      await this.#answerContent(task, span, claims, request, response);
    } finally {
      unpin();
      this.uploadCount--;
    }
  }

  /** Whether waiting would change nothing: the piece is held, or is none that a read ahead may wait for. */
  #isReady(taskId: TaskId, span: ByteSpan, claims: LeaseTokenClaims): boolean {
    const task = this.#options.store.get(taskId);
    if (task === undefined) return false;
    const pieces = piecesCovering(task.layout, span);
    const isOne = pieces.end - pieces.start === 1 && span.end <= task.layout.lengthBytes;
    return !isOne || !leaseCovers(claims.pieces, pieces) || task.held.has(pieces.start);
  }

  async #answerContent(
    task: StoredTask,
    span: ByteSpan,
    claims: LeaseTokenClaims,
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<void> {
    const { taskId } = task.description;
    const pieces = piecesCovering(task.layout, span);
    for (let pieceIndex = pieces.start; pieceIndex < pieces.end; pieceIndex++) {
      if (!task.held.has(pieceIndex)) return refuse(response, "not_held");
    }
    // Later pieces are proven as their turn comes: hashing them all first would keep the child waiting.
    if (!(await task.prove(pieces.start))) return refuse(response, "not_held");
    const traceparent = traceparentFromHttp(request.headers);
    const { childHostId, leaseId } = claims;
    const endServe = this.#spans.begin({ traceparent, taskId, childHostId, leaseId });
    response.writeHead(206, {
      "content-type": "application/octet-stream",
      "content-length": span.end - span.start,
      "content-range": formatContentRange(span, task.layout.lengthBytes),
    });
    const slowReaderMs = this.#options.slowReaderMs ?? SLOW_READER_MS;
    const { pace } = this.#options;
    const sent = await sendBody(response, task, span, this.#pool, slowReaderMs, pace);
    endServe({ bytes: sent.bytes, pieceCount: pieces.end - pieces.start });
    this.#options.serveBytes.add(sent.bytes);
    if (sent.end === "complete") return;
    this.#log.warn("piece_server.broken_off", {
      task: taskId,
      childHostId,
      why: sent.end,
      bytes: sent.bytes,
      wantedBytes: span.end - span.start,
    });
  }

  #hasSlotFor(claims: LeaseTokenClaims, ownCount = 0): boolean {
    const share = claims.degraded ? DEGRADED_SLOT_SHARE : 1;
    return this.uploadCount - ownCount < this.#slotCount * share;
  }

  get #slotCount(): number {
    return this.#options.uploadSlotCount ?? UPLOAD_SLOT_COUNT_DEFAULT;
  }
}

function refuse(
  response: ServerResponse,
  refusal: ContentRefusal,
  headers: Readonly<Record<string, string>> = {},
): void {
  answer(response, REFUSAL_STATUS[refusal], refusal, headers);
}

/** A short answer whose body is a word for people; programs go by the status. */
function answer(
  response: ServerResponse,
  status: number,
  text: string,
  headers: Readonly<Record<string, string>> = {},
): void {
  const body = Buffer.from(text.endsWith("\n") ? text : `${text}\n`);
  const length = { "content-type": "text/plain", "content-length": body.length };
  response.writeHead(status, { ...length, ...headers }).end(body);
}

async function listen(server: Server, at: SocketAddress): Promise<string> {
  await new Promise<void>((resolve, reject) => {
    server.once("error", (error) => {
      reject(new SettingsError(`cannot listen on ${at.host}:${at.port}: ${error.message}`));
    });
    server.listen(at.port, at.host, resolve);
  });
  const bound = server.address();
  if (bound === null || typeof bound === "string") throw new SettingsError("not a TCP address");
  return bound.family === "IPv6"
    ? `[${bound.address}]:${bound.port}`
    : `${bound.address}:${bound.port}`;
}

async function closeServer(server: Server): Promise<void> {
  await new Promise<void>((resolve) => {
    const cutOff = setTimeout(() => server.closeAllConnections(), CLOSE_GRACE_MS);
    server.close(() => {
      clearTimeout(cutOff);
      resolve();
    });
    server.closeIdleConnections();
  });
}
