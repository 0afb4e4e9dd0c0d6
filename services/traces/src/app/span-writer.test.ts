import { expect, test } from "vitest";
import { createMemoryLog } from "@lacewing/observability/memory-log.ts";
import { createMetricRegistry } from "@lacewing/observability/metrics.ts";
import { METRIC } from "@lacewing/observability/semconv.ts";
import { systemClock, type Clock } from "@lacewing/runtime/clock.ts";
import { PortError } from "@lacewing/runtime/errors.ts";
import type { SpanRecord } from "../core/span.ts";
import { createMemorySpanStore } from "./memory-span-store.ts";
import { SpanWriter } from "./span-writer.ts";

/** A clock whose waits are over at once. */
const hurried: Clock = { ...systemClock, sleep: () => Promise.resolve() };

function aWriter(clock: Clock, bufferSpanCountMax = 5000) {
  const store = createMemorySpanStore();
  const log = createMemoryLog();
  const metrics = createMetricRegistry();
  const counter = metrics.counter(METRIC.traceSpanCount);
  const writer = new SpanWriter({
    store,
    clock,
    log,
    random: () => 0,
    bufferSpanCountMax,
    counter,
  });
  return { writer, store, log, metrics };
}

function spans(count: number): SpanRecord[] {
  return Array.from({ length: count }, (_, index) => ({
    traceId: "a".repeat(32),
    spanId: index.toString(16).padStart(16, "0"),
    parentSpanId: undefined,
    service: "peer",
    name: `${index}`,
    kind: "internal",
    startUnixNano: 1n,
    endUnixNano: 2n,
    status: "unset",
    statusMessage: "",
    scope: "",
    attributes: {},
    resource: {},
    events: [],
    links: [],
  }));
}

const away = new PortError("store_unavailable", "away", { retryable: true });
const refusal = new PortError("span_refused", "bad", { retryable: false });

test("a span that the store refuses takes no other with it", async () => {
  const { writer, store, metrics } = aWriter(systemClock);
  store.failWith(refusal, (span) => span.name === "700");
  writer.accept(spans(2500));
  await writer.stop();
  expect(store.spans).toHaveLength(2499);
  expect(metrics.render()).toContain('{outcome="lost"} 1\n');
});

test("spans that wait while the store is away are kept in order, and the failure is told once", async () => {
  const { writer, store, log } = aWriter(systemClock);
  store.failWith(away);
  writer.accept(spans(3));
  for (let attempt = 0; attempt < 10; attempt += 1) await Promise.resolve();
  expect(writer.bufferedCount).toBe(3);
  store.failWith(undefined);
  await writer.stop();
  expect(store.spans.map((span) => span.name)).toEqual(["0", "1", "2"]);
  expect(log.entries.map((entry) => entry.event)).toEqual([
    "span store unavailable",
    "span store recovered",
  ]);
});

test("what does not fit is refused as a whole", () => {
  const { writer, store } = aWriter(systemClock, 10);
  store.failWith(away);
  expect(writer.accept(spans(8))).toBe(true);
  expect(writer.accept(spans(3))).toBe(false);
  expect(writer.bufferedCount).toBe(8);
});

test("a stop while the store is away ends, counts what is lost, and takes no more", async () => {
  const { writer, store, log } = aWriter(hurried);
  store.failWith(away);
  writer.accept(spans(4));
  await writer.stop();
  expect(writer.accept(spans(1))).toBe(false);
  expect(log.entries.at(-1)).toMatchObject({
    event: "spans lost at stop",
    fields: { spanCount: 4 },
  });
});
