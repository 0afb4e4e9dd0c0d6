import { context, ROOT_CONTEXT, trace } from "@opentelemetry/api";
import { AsyncLocalStorageContextManager } from "@opentelemetry/context-async-hooks";
import {
  InMemorySpanExporter,
  SimpleSpanProcessor,
  TracerProvider,
} from "@opentelemetry/sdk-trace";
import { headers } from "@nats-io/transport-node";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import {
  contextFromHeaders,
  contextFromTraceparent,
  endSpan,
  injectHeaders,
  startSpan,
  traceparentFromHttp,
  traceparentFromMetadata,
  traceparentOf,
  withSpan,
} from "./trace.ts";

const exporter = new InMemorySpanExporter();

beforeEach(() => {
  exporter.reset();
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
  trace.setGlobalTracerProvider(
    new TracerProvider({ spanProcessors: [new SimpleSpanProcessor({ exporter })] }),
  );
});

afterEach(() => {
  trace.disable();
  context.disable();
});

describe("a trace", () => {
  test("goes on at the other end of a NATS message", () => {
    const request = startSpan("task.request", { parent: ROOT_CONTEXT, side: "client" });
    const message = headers();
    injectHeaders(request, message);
    const schedule = startSpan("schedule", {
      parent: contextFromHeaders(message),
      side: "consumer",
    });
    endSpan(schedule);
    const [ended] = exporter.getFinishedSpans();
    expect(ended?.spanContext().traceId).toBe(request.spanContext().traceId);
    expect(ended?.parentSpanContext).toMatchObject({
      spanId: request.spanContext().spanId,
      isRemote: true,
    });
  });

  test("begins anew when a message has no headers", () => {
    const outer = startSpan("download");
    const span = startSpan("schedule", { parent: contextFromHeaders(undefined) });
    expect(span.spanContext().traceId).not.toBe(outer.spanContext().traceId);
  });

  test("survives traceparent in both directions", () => {
    const span = startSpan("download");
    const ids = trace.getSpanContext(contextFromTraceparent(traceparentOf(span)));
    expect(ids).toMatchObject({
      traceId: span.spanContext().traceId,
      traceFlags: 1,
      isRemote: true,
    });
  });
});

describe("a malformed traceparent", () => {
  const traceId = "0af7651916cd43dd8448eb211c80319c";
  const spanId = "b7ad6b7169203331";
  test.each([
    undefined,
    "",
    `ff-${traceId}-${spanId}-01`,
    `00-${traceId.toUpperCase()}-${spanId}-01`,
    `00-${"0".repeat(32)}-${spanId}-01`,
    `00-${traceId}-${"0".repeat(16)}-01`,
    `00-${traceId}-${spanId}-01-extra`,
    `00-${traceId}-${spanId}`,
    ` 00-${traceId}-${spanId}-01`,
  ])("%s is no parent", (text) => {
    expect(contextFromTraceparent(text)).toBe(ROOT_CONTEXT);
  });

  test("of any shape never throws", () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        expect(contextFromTraceparent(text)).toBe(ROOT_CONTEXT);
      }),
    );
  });

  test("is told apart from one of a later version, which may have more fields", () => {
    expect(contextFromTraceparent(`01-${traceId}-${spanId}-01-extra`)).not.toBe(ROOT_CONTEXT);
  });

  test("given twice in HTTP or gRPC is no parent", () => {
    expect(traceparentFromHttp({ traceparent: ["a", "b"] })).toBeUndefined();
    expect(traceparentFromHttp({ traceparent: "a" })).toBe("a");
    expect(traceparentFromMetadata({ get: () => ["a", "b"] })).toBeUndefined();
    expect(traceparentFromMetadata({ get: () => ["a"] })).toBe("a");
    expect(traceparentFromMetadata({ get: () => [] })).toBeUndefined();
  });
});

describe("a span around work", () => {
  test("is active inside and ended after", async () => {
    const active = await withSpan("download", {}, async (span) => {
      await Promise.resolve();
      return trace.getActiveSpan() === span;
    });
    expect(active).toBe(true);
    expect(exporter.getFinishedSpans()).toHaveLength(1);
  });

  test("that failed has the error's code and no URL query, and the error goes on", async () => {
    const error = Object.assign(new Error("GET http://o.test/x?sig=s3cret"), {
      code: "ECONNRESET",
    });
    await expect(withSpan("origin.fetch", {}, () => Promise.reject(error))).rejects.toBe(error);
    expect(exporter.getFinishedSpans()[0]).toMatchObject({
      status: { code: 2, message: "GET http://o.test/x" },
      attributes: { "error.type": "ECONNRESET" },
    });
  });
});

test("without a started SDK spans cost nothing and carry no ids", () => {
  trace.disable();
  const message = headers();
  injectHeaders(startSpan("download"), message);
  expect(message.has("traceparent")).toBe(false);
});
