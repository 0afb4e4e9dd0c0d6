import { parseHostId, parseTaskId } from "@lacewing/contracts/ids.ts";
import type { Clock } from "@lacewing/runtime/clock.ts";
import { trace } from "@opentelemetry/api";
import {
  InMemorySpanExporter,
  SimpleSpanProcessor,
  TracerProvider,
} from "@opentelemetry/sdk-trace";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { ServeSpans } from "./serve-spans.ts";

const exporter = new InMemorySpanExporter();
beforeEach(() => {
  vi.useFakeTimers();
  exporter.reset();
  trace.setGlobalTracerProvider(
    new TracerProvider({ spanProcessors: [new SimpleSpanProcessor({ exporter })] }),
  );
});
afterEach(() => {
  vi.useRealTimers();
  trace.disable();
});

const fakeClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  sleep: async () => {},
};
const hostId = parseHostId("parent");
const taskId = parseTaskId("ab".repeat(32));
if (hostId === undefined || taskId === undefined) throw new Error("not an id");

const TRACE = "1".repeat(32);
const request = (spanDigit: string, childHostId = "child") => ({
  traceparent: `00-${TRACE}-${spanDigit.repeat(16)}-01`,
  taskId,
  childHostId,
  leaseId: "0-1-1",
});

test("all requests of one trace, task and child are one span, which ends after a second of rest", () => {
  const spans = new ServeSpans(hostId, fakeClock);
  spans.begin(request("a"))({ bytes: 100, pieceCount: 1 });
  vi.advanceTimersByTime(900);
  const endLast = spans.begin(request("b"));
  vi.advanceTimersByTime(5_000);
  expect(exporter.getFinishedSpans()).toHaveLength(0);
  endLast({ bytes: 50, pieceCount: 2 });
  vi.advanceTimersByTime(1_500);
  const [span, ...others] = exporter.getFinishedSpans();
  expect(others).toEqual([]);
  expect(span?.spanContext().traceId).toBe(TRACE);
  expect(span?.parentSpanContext?.spanId).toBe("a".repeat(16));
  expect(span?.attributes).toMatchObject({
    "http.response.body.size": 150,
    "lacewing.piece.count": 3,
    "lacewing.request.count": 2,
    "lacewing.child.host.id": "child",
  });
  expect(vi.getTimerCount()).toBe(0);
});

test("children have spans of their own, and requests without a trace have none", () => {
  const spans = new ServeSpans(hostId, fakeClock);
  for (const child of ["one", "other"])
    spans.begin(request("a", child))({ bytes: 1, pieceCount: 1 });
  spans.begin({ ...request("a"), traceparent: undefined })({ bytes: 1, pieceCount: 1 });
  spans.close();
  expect(exporter.getFinishedSpans()).toHaveLength(2);
});

test("a transfer of more than a minute ends its span and goes on in another", () => {
  const spans = new ServeSpans(hostId, fakeClock);
  const end = spans.begin(request("a"));
  vi.advanceTimersByTime(61_000);
  expect(exporter.getFinishedSpans()).toHaveLength(1);
  end({ bytes: 1, pieceCount: 1 });
  spans.begin(request("a"))({ bytes: 1, pieceCount: 1 });
  spans.close();
  expect(exporter.getFinishedSpans()).toHaveLength(2);
});
