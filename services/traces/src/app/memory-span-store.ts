import type { PortError } from "@lacewing/runtime/errors.ts";
import type { SpanRecord } from "../core/span.ts";
import type { SpanStore } from "./span-store.ts";

/** The span store's in-memory twin for tests of what writes to it. */
export interface MemorySpanStore extends Pick<SpanStore, "insert"> {
  readonly spans: readonly SpanRecord[];
  /** Every later call fails so, until `undefined`. A predicate limits it to batches that hold such a span. */
  failWith(error: PortError | undefined, isRefused?: (span: SpanRecord) => boolean): void;
}

export function createMemorySpanStore(): MemorySpanStore {
  const spans = new Map<string, SpanRecord>();
  let failure: PortError | undefined;
  let isRefused: (span: SpanRecord) => boolean = () => true;
  return {
    get spans() {
      return [...spans.values()];
    },
    failWith: (error, predicate = () => true) => {
      failure = error;
      isRefused = predicate;
    },
    insert: (batch) => {
      if (failure !== undefined && batch.some(isRefused)) return Promise.reject(failure);
      const countBefore = spans.size;
      for (const span of batch) {
        const key = span.traceId + span.spanId;
        if (!spans.has(key)) spans.set(key, span);
      }
      return Promise.resolve(spans.size - countBefore);
    },
  };
}
