import type { Log } from "@lacewing/observability/log.ts";
import type { Counter } from "@lacewing/observability/metrics.ts";
import { backoffMs } from "@lacewing/runtime/backoff.ts";
import type { Clock } from "@lacewing/runtime/clock.ts";
import { PortError } from "@lacewing/runtime/errors.ts";
import type { SpanRecord } from "../core/span.ts";
import type { SpanStore } from "./span-store.ts";

/** Spans in one statement: about 1 MB of JSON. */
const BATCH_SPAN_COUNT_MAX = 1000;
/** Waits between tries while Postgres is away. */
const RETRY_LIMITS = { firstMs: 100, maxMs: 5000 } as const;
/** The last try of a stop: below the supervisor's patience. */
const STOP_FLUSH_MS = 4000;

export interface SpanWriterOptions {
  readonly store: Pick<SpanStore, "insert">;
  readonly clock: Clock;
  readonly log: Log;
  /** In [0, 1). */
  readonly random: () => number;
  readonly bufferSpanCountMax: number;
  /** Counts spans with `outcome` stored or lost. */
  readonly counter: Counter;
}

/**
 * Brings spans to the store: a bounded buffer and one loop that empties it. While Postgres is away the buffer fills, and once it is
 * full the sender is told to come back: nothing is dropped in silence.
 */
export class SpanWriter {
  readonly #options: SpanWriterOptions;
  readonly #stopping = new AbortController();
  #buffer: SpanRecord[] = [];
  #draining: Promise<void> | undefined;
  #isFailing = false;

  constructor(options: SpanWriterOptions) {
    this.#options = options;
  }

  get bufferedCount(): number {
    return this.#buffer.length;
  }

  /** Takes all spans and returns true, or takes none: there is no room, or the writer is stopping. */
  accept(spans: readonly SpanRecord[]): boolean {
    const hasRoom = this.#buffer.length + spans.length <= this.#options.bufferSpanCountMax;
    // A request larger than the whole buffer could never be taken: it is when there is nothing else.
    if (this.#stopping.signal.aborted || !(hasRoom || this.#buffer.length === 0)) return false;
    for (const span of spans) this.#buffer.push(span);
    if (spans.length > 0) this.#draining ??= this.#drain();
    return true;
  }

  /** Takes no more, writes what is buffered for at most 4 s, and counts the rest as lost. */
  async stop(): Promise<void> {
    const { clock, counter, log } = this.#options;
    this.#stopping.abort();
    const deadline = new AbortController();
    await Promise.race([
      this.#finish().finally(() => deadline.abort()),
      clock.sleep(STOP_FLUSH_MS, deadline.signal).catch(() => {}),
    ]);
    const lostCount = this.#buffer.length;
    this.#buffer = [];
    if (lostCount === 0) return;
    counter.add(lostCount, { outcome: "lost" });
    log.error("spans lost at stop", { spanCount: lostCount });
  }

  async #finish(): Promise<void> {
    await this.#draining;
    // The loop may have ended because of the stop, in the middle of a wait.
    if (this.#buffer.length > 0) await this.#drain();
  }

  async #drain(): Promise<void> {
    for (let attempt = 0; this.#buffer.length > 0;) {
      const batch = this.#buffer.slice(0, BATCH_SPAN_COUNT_MAX);
      if (await this.#isDone(batch)) {
        this.#buffer.splice(0, batch.length);
        attempt = 0;
        continue;
      }
      if (this.#stopping.signal.aborted) break;
      const waitMs = backoffMs(attempt, RETRY_LIMITS, this.#options.random());
      attempt += 1;
      await this.#options.clock.sleep(waitMs, this.#stopping.signal).catch(() => {});
    }
    this.#draining = undefined;
  }

  /** Whether the batch needs no other try: it is stored, or can never be. */
  async #isDone(batch: readonly SpanRecord[]): Promise<boolean> {
    const { store, counter, log } = this.#options;
    try {
      await store.insert(batch);
    } catch (error) {
      if (!(error instanceof PortError)) throw error;
      if (error.retryable) {
        if (!this.#isFailing) log.warn("span store unavailable", { error });
        this.#isFailing = true;
        return false;
      }
      return this.#divide(batch, error);
    }
    if (this.#isFailing)
      log.info("span store recovered", { bufferedSpanCount: this.bufferedCount });
    this.#isFailing = false;
    counter.add(batch.length, { outcome: "stored" });
    return true;
  }

  /** One span that the store refuses must not take the others with it: halves, down to the one. */
  async #divide(batch: readonly SpanRecord[], error: PortError): Promise<boolean> {
    if (batch.length > 1) {
      const middle = Math.ceil(batch.length / 2);
      const isFirstDone = await this.#isDone(batch.slice(0, middle));
      return isFirstDone && (await this.#isDone(batch.slice(middle)));
    }
    const { counter, log } = this.#options;
    counter.add(1, { outcome: "lost" });
    log.error("span refused by the store", {
      trace: batch[0]?.traceId,
      name: batch[0]?.name,
      error,
    });
    return true;
  }
}
