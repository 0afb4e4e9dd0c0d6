import type { Lease } from "@lacewing/contracts/gen/lacewing/assignments/v1/assignments.ts";
import { ATTRIBUTE, SPAN } from "@lacewing/observability/semconv.ts";
import {
  contextFromTraceparent,
  endSpan,
  type Span,
  startSpan,
  traceparentOf,
} from "@lacewing/observability/trace.ts";
import type { Clock } from "@lacewing/runtime/clock.ts";
import type { FetchEnd, FetchSource } from "./lease-fetch.ts";

/** A span ends when its source had nothing to do for this long. */
const IDLE_MS = 1000;
/** A content up to this length comes in one go: what is to be told of it stands on the spans around (`schedule`, `serve`). */
const UNTRACED_BYTES_MAX = 128 * 1024;

/** One fetch as its tracer follows it. */
export interface TracedFetch {
  /** For the parent: its `serve` span hangs under this fetch. */
  readonly traceparent: string;
  ended(end: FetchEnd, pieceCount: number): void;
}

interface OpenSpan {
  readonly span: Span;
  running: number;
  fetches: number;
  pieces: number;
  bytes: number;
  failure: FetchEnd | undefined;
  lastAtMs: number;
  timer: NodeJS.Timeout | undefined;
}

/**
 * One span per request and source, however many leases it takes: a download that follows another one piece by piece
 * would otherwise make hundreds of spans. Failures are told apart by their reason on the span.
 */
export class FetchTracer {
  readonly #hostId: string;
  readonly #clock: Clock;
  readonly #open = new Map<string, OpenSpan>();

  constructor(hostId: string, clock: Clock) {
    this.#hostId = hostId;
    this.#clock = clock;
  }

  fetchBegan(
    source: FetchSource,
    traceparent: string,
    { taskId, lengthBytes }: { readonly taskId: string; readonly lengthBytes: number },
    lease: Lease | undefined,
  ): TracedFetch {
    if (lengthBytes <= UNTRACED_BYTES_MAX && lease !== undefined) {
      const failed = (end: FetchEnd): void => {
        if (end.ok || end.reason === "cancelled") return;
        this.#fail(this.#startSpan(source, traceparent, taskId, lease), end);
      };
      return { traceparent, ended: failed };
    }
    const parentHostId = source.kind === "parent" ? source.hostId : "";
    const key = `${traceparent}|${taskId}|${parentHostId}`;
    const open = this.#open.get(key) ?? this.#start(key, source, traceparent, taskId, lease);
    open.running++;
    open.fetches++;
    clearTimeout(open.timer);
    return {
      traceparent: traceparentOf(open.span) ?? "",
      ended: (end, pieceCount) => {
        open.running--;
        open.lastAtMs = this.#clock.monotonic();
        open.pieces += end.ok ? pieceCount : 0;
        open.bytes += end.bytes;
        if (!end.ok && end.reason !== "cancelled") open.failure = end;
        if (open.running === 0) open.timer = setTimeout(() => this.#end(key, open), IDLE_MS);
      },
    };
  }

  /** Ends what is open, so that nothing is lost at shutdown. */
  close(): void {
    for (const [key, open] of this.#open) this.#end(key, open);
  }

  #start(
    key: string,
    source: FetchSource,
    traceparent: string,
    taskId: string,
    lease: Lease | undefined,
  ): OpenSpan {
    const open: OpenSpan = {
      span: this.#startSpan(source, traceparent, taskId, lease),
      running: 0,
      fetches: 0,
      pieces: 0,
      bytes: 0,
      failure: undefined,
      lastAtMs: this.#clock.monotonic(),
      timer: undefined,
    };
    this.#open.set(key, open);
    return open;
  }

  #startSpan(
    source: FetchSource,
    traceparent: string,
    taskId: string,
    lease: Lease | undefined,
  ): Span {
    return startSpan(source.kind === "origin" ? SPAN.originFetch : SPAN.pieceFetch, {
      parent: contextFromTraceparent(traceparent),
      side: "client",
      attributes: {
        [ATTRIBUTE.taskId]: taskId,
        [ATTRIBUTE.hostId]: this.#hostId,
        ...(source.kind === "parent" ? { [ATTRIBUTE.parentHostId]: source.hostId } : {}),
        ...(lease === undefined
          ? { [ATTRIBUTE.degraded]: true }
          : { [ATTRIBUTE.leaseId]: lease.leaseId, [ATTRIBUTE.leaseReason]: lease.reason }),
      },
    });
  }

  /** A failure of what needed no span as long as it went well. */
  #fail(span: Span, end: FetchEnd & { readonly ok: false }): void {
    endSpan(span, {
      attributes: {
        [ATTRIBUTE.httpResponseBodySize]: end.bytes,
        [ATTRIBUTE.outcome]: end.reason,
      },
      error: new Error(end.detail),
    });
  }

  #end(key: string, open: OpenSpan): void {
    clearTimeout(open.timer);
    this.#open.delete(key);
    const failure = open.failure;
    endSpan(open.span, {
      agoMs: open.running === 0 ? this.#clock.monotonic() - open.lastAtMs : 0,
      attributes: {
        [ATTRIBUTE.pieceCount]: open.pieces,
        [ATTRIBUTE.httpResponseBodySize]: open.bytes,
        "lacewing.lease.count": open.fetches,
        [ATTRIBUTE.outcome]: failure === undefined || failure.ok ? "finished" : failure.reason,
      },
      ...(failure === undefined || failure.ok ? {} : { error: new Error(failure.detail) }),
    });
  }
}
