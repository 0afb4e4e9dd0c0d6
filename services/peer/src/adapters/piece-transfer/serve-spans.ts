import type { HostId, TaskId } from "@lacewing/contracts/ids.ts";
import { ATTRIBUTE, SPAN } from "@lacewing/observability/semconv.ts";
import {
  contextFromTraceparent,
  endSpan,
  type Span,
  startSpan,
} from "@lacewing/observability/trace.ts";
import type { Clock } from "@lacewing/runtime/clock.ts";

/** One request as the span of its transfer counts it. */
export interface ServedRequest {
  readonly traceparent: string | undefined;
  readonly taskId: TaskId;
  readonly childHostId: string;
  readonly leaseId: string;
}

/** A transfer is over when its child has asked for nothing this long. */
const IDLE_MS = 1_000;
/** A longer transfer gets another span, so that a trace of a download that still runs shows something. */
const SPAN_MS_MAX = 60_000;
const SWEEP_EVERY_MS = 250;
/** Spans open at once; requests beyond are served without one. */
const OPEN_SPAN_COUNT_MAX = 1_024;

interface OpenSpan {
  readonly span: Span;
  readonly startedAtMs: number;
  lastAtMs: number;
  runningCount: number;
  requestCount: number;
  pieceCount: number;
  bytes: number;
}

/**
 * One `serve` span per trace, task and child, however many requests the transfer takes: a trace of a download stays small.
 */
export class ServeSpans {
  readonly #open = new Map<string, OpenSpan>();
  readonly #hostId: HostId;
  readonly #clock: Clock;
  #sweeping: NodeJS.Timeout | undefined;

  constructor(hostId: HostId, clock: Clock) {
    this.#hostId = hostId;
    this.#clock = clock;
  }

  /** Counts a request in. @returns to be called when it is over, with what was sent. */
  begin(request: ServedRequest): (sent: { bytes: number; pieceCount: number }) => void {
    const entry = this.#entryOf(request);
    if (entry === undefined) return () => {};
    entry.requestCount++;
    entry.runningCount++;
    return ({ bytes, pieceCount }) => {
      entry.runningCount--;
      entry.bytes += bytes;
      entry.pieceCount += pieceCount;
      entry.lastAtMs = this.#clock.monotonic();
    };
  }

  /** Ends all spans. */
  close(): void {
    for (const [key, entry] of this.#open) this.#end(key, entry);
  }

  #entryOf(request: ServedRequest): OpenSpan | undefined {
    // Version and trace id: requests of several leases have different parent spans in one trace.
    const traceId = /^[0-9a-f]{2}-[0-9a-f]{32}-/.exec(request.traceparent ?? "")?.[0];
    if (traceId === undefined) return undefined;
    const key = `${traceId}${request.taskId}-${request.childHostId}`;
    const known = this.#open.get(key);
    if (known !== undefined || this.#open.size >= OPEN_SPAN_COUNT_MAX) return known;
    const nowMs = this.#clock.monotonic();
    const entry: OpenSpan = {
      span: startSpan(SPAN.serve, {
        parent: contextFromTraceparent(request.traceparent),
        side: "server",
        attributes: {
          [ATTRIBUTE.taskId]: request.taskId,
          [ATTRIBUTE.hostId]: this.#hostId,
          [ATTRIBUTE.childHostId]: request.childHostId,
          [ATTRIBUTE.leaseId]: request.leaseId,
        },
      }),
      startedAtMs: nowMs,
      lastAtMs: nowMs,
      runningCount: 0,
      requestCount: 0,
      pieceCount: 0,
      bytes: 0,
    };
    this.#open.set(key, entry);
    this.#sweeping ??= setInterval(() => this.#sweep(), SWEEP_EVERY_MS).unref();
    return entry;
  }

  #sweep(): void {
    const nowMs = this.#clock.monotonic();
    for (const [key, entry] of this.#open) {
      const isIdle = entry.runningCount === 0 && nowMs - entry.lastAtMs >= IDLE_MS;
      if (isIdle || nowMs - entry.startedAtMs >= SPAN_MS_MAX) this.#end(key, entry);
    }
  }

  #end(key: string, entry: OpenSpan): void {
    this.#open.delete(key);
    endSpan(entry.span, {
      agoMs: entry.runningCount === 0 ? this.#clock.monotonic() - entry.lastAtMs : 0,
      attributes: {
        [ATTRIBUTE.httpResponseBodySize]: entry.bytes,
        [ATTRIBUTE.pieceCount]: entry.pieceCount,
        [ATTRIBUTE.requestCount]: entry.requestCount,
      },
    });
    if (this.#open.size > 0) return;
    clearInterval(this.#sweeping);
    this.#sweeping = undefined;
  }
}
