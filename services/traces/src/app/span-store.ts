import type { SpanKind, SpanRecord, TraceQuery } from "../core/span.ts";

/** An operation of a service, as Jaeger lists it. */
export interface Operation {
  readonly name: string;
  readonly spanKind: SpanKind;
}

/** The spans of one trace, oldest first. */
export interface StoredTrace {
  readonly traceId: string;
  readonly spans: readonly SpanRecord[];
  /** There are more than were given. */
  readonly isCut: boolean;
}

/**
 * Where spans are kept. Every method throws `PortError`: `store_unavailable` (retryable) when the database cannot be reached or
 * did not answer in time, `span_refused` (not retryable) when it cannot hold what was given.
 */
export interface SpanStore {
  /** Keeps all or nothing; a span that is already there stays as it is. Returns how many were new. */
  insert(spans: readonly SpanRecord[]): Promise<number>;
  /** Names in order. */
  services(): Promise<readonly string[]>;
  operations(service: string, kind: SpanKind | undefined): Promise<readonly Operation[]>;
  /** Whole traces of which one span meets the query, newest first. */
  find(query: TraceQuery): Promise<readonly StoredTrace[]>;
  /** `undefined` when no span of it is stored. */
  trace(traceId: string): Promise<StoredTrace | undefined>;
  /** Deletes at most `spanCountMax` of the oldest spans that started before the time or are too many. Returns how many. */
  prune(limits: PruneLimits): Promise<number>;
  /** Answers when the database does. */
  ping(): Promise<void>;
}

export interface PruneLimits {
  /** Nanoseconds since 1970-01-01 UTC; older spans go. */
  readonly startedBeforeUnixNano: bigint;
  /** Spans that may stay. */
  readonly keptCountMax: number;
  /** Spans deleted by one call. */
  readonly deletedCountMax: number;
}
