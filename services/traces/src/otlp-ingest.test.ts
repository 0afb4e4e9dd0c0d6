import { gzipSync } from "node:zlib";
import { afterEach, describe, expect, test } from "vitest";
import { createMemoryLog } from "@lacewing/observability/memory-log.ts";
import { createMetricRegistry } from "@lacewing/observability/metrics.ts";
import { METRIC } from "@lacewing/observability/semconv.ts";
import { startTracing } from "@lacewing/observability/sdk/start-tracing.ts";
import { endSpan, noteInSpan, startSpan } from "@lacewing/observability/trace.ts";
import { ExportTraceServiceResponse } from "@lacewing/contracts/gen/lacewing/otlp/v1/trace.ts";
import { systemClock } from "@lacewing/runtime/clock.ts";
import { PortError } from "@lacewing/runtime/errors.ts";
import { createMemorySpanStore, type MemorySpanStore } from "./app/memory-span-store.ts";
import { SpanWriter } from "./app/span-writer.ts";
import { listenOtlp } from "./adapters/http/otlp-server.ts";

// Beside main.ts and not beside otlp-server.ts: like a main, it starts the SDK, to have bytes of the real exporter.
const open: (() => Promise<void>)[] = [];

afterEach(async () => {
  for (const close of open.splice(0).toReversed()) await close();
});

/** The receiving half of the trace store over a memory store. */
async function receiver(
  store: MemorySpanStore = createMemorySpanStore(),
  bufferSpanCountMax = 1000,
) {
  const log = createMemoryLog();
  const counter = createMetricRegistry().counter(METRIC.traceSpanCount);
  const writer = new SpanWriter({
    store,
    clock: systemClock,
    log,
    random: () => 0.5,
    bufferSpanCountMax,
    counter,
  });
  const server = await listenOtlp({
    address: { host: "127.0.0.1", port: 0 },
    writer,
    bodyBytesMax: 100_000,
    counter,
    log,
  });
  open.push(async () => {
    await server.close();
    await writer.stop();
  });
  const post = (
    body: string | Uint8Array<ArrayBuffer>,
    type = "application/json",
    headers: Record<string, string> = {},
  ) =>
    fetch(`http://${server.address}/v1/traces`, {
      method: "POST",
      headers: { "content-type": type, ...headers },
      body,
    });
  return { store, writer, post, endpoint: `http://${server.address}` };
}

/** One valid span in OTLP JSON, with what the test wants otherwise. */
function jsonBody(span: object = {}): string {
  const valid = {
    traceId: "0AF7651916CD43DD8448EB211C80319C",
    spanId: "b7ad6b7169203331",
    name: "n",
    startTimeUnixNano: "1795356000000000001",
    endTimeUnixNano: 1_795_356_000_000_001_000,
  };
  return JSON.stringify({ resourceSpans: [{ scopeSpans: [{ spans: [{ ...valid, ...span }] }] }] });
}

test("spans of the real exporter arrive with every part", async () => {
  const { store, writer, endpoint } = await receiver();
  const tracing = startTracing({
    service: "lacewing-peer",
    instanceId: "h1",
    endpoint,
    log: createMemoryLog(),
  });
  const parent = startSpan("download", {
    side: "server",
    attributes: {
      "lacewing.traffic": "remote_peer",
      whole: 2 ** 40,
      part: 0.5,
      flag: true,
      list: ["a", "b"],
    },
  });
  const child = startSpan("piece.fetch", { parent, side: "client" });
  noteInSpan(child, "slow piece", { index: 3 });
  endSpan(child, { error: new Error("connection reset") });
  endSpan(parent);
  await tracing.shutdown();
  await writer.stop();
  const [fetched, downloaded] = store.spans;
  expect(downloaded).toMatchObject({
    traceId: parent.spanContext().traceId,
    spanId: parent.spanContext().spanId,
    parentSpanId: undefined,
    service: "lacewing-peer",
    name: "download",
    kind: "server",
    status: "unset",
    scope: "lacewing",
    attributes: {
      "lacewing.traffic": "remote_peer",
      whole: 2 ** 40,
      part: 0.5,
      flag: true,
      list: ["a", "b"],
    },
    resource: { "service.name": "lacewing-peer", "service.instance.id": "h1" },
  });
  expect(fetched).toMatchObject({
    parentSpanId: parent.spanContext().spanId,
    kind: "client",
    status: "error",
    statusMessage: "connection reset",
    events: [{ name: "slow piece", attributes: { index: 3 } }],
  });
  expect(downloaded?.startUnixNano).toBeGreaterThan(1_700_000_000_000_000_000n);
});

describe("OTLP JSON", () => {
  test("is taken with exact nanoseconds, typed values and gzip; NUL and half characters are replaced", async () => {
    const { store, writer, post } = await receiver();
    const body = jsonBody({
      name: "x\0y",
      attributes: [
        { key: "big", value: { intValue: "9223372036854775807" } },
        { key: "list", value: { arrayValue: { values: [{ intValue: 1 }, { doubleValue: 1.5 }] } } },
        { key: "bytes", value: { bytesValue: "AQI=" } },
        { key: "none", value: {} },
        { key: "half\ud800", value: { stringValue: "\ud800" } },
      ],
    });
    const response = await post(gzipSync(body), "application/json; charset=utf-8", {
      "content-encoding": "gzip",
    });
    expect([response.status, await response.json()]).toEqual([200, {}]);
    await writer.stop();
    expect(store.spans).toMatchObject([
      {
        traceId: "0af7651916cd43dd8448eb211c80319c",
        name: "x\uFFFDy",
        service: "unknown_service",
        startUnixNano: 1_795_356_000_000_000_001n,
        attributes: {
          big: "9223372036854775807",
          list: [1, 1.5],
          bytes: "0102",
          none: null,
          "half\uFFFD": "\uFFFD",
        },
      },
    ]);
  });

  test("with one bad span is a partial success that says why", async () => {
    const { post } = await receiver();
    const response = await post(jsonBody({ traceId: "00" }));
    expect([response.status, await response.json()]).toEqual([
      200,
      {
        partialSuccess: {
          rejectedSpans: "1",
          errorMessage: "a trace id must be 16 bytes, not all zero",
        },
      },
    ]);
  });
});

test("protobuf is answered in protobuf", async () => {
  const { post } = await receiver();
  const response = await post(new Uint8Array(), "application/x-protobuf");
  expect(response.headers.get("content-type")).toBe("application/x-protobuf");
  const answer = ExportTraceServiceResponse.decode(new Uint8Array(await response.arrayBuffer()));
  expect(answer.partialSuccess).toBeUndefined();
});

describe("a request that cannot be taken", () => {
  test.each([
    ["protobuf garbage", "garbage", "application/x-protobuf", 400],
    ["broken JSON", "{nope", "application/json", 400],
    ["JSON of another shape", '{"resourceSpans":5}', "application/json", 400],
    ["an unknown type", "x", "text/plain", 415],
    ["a body beyond the limit", "x".repeat(100_001), "application/json", 413],
  ])("%s is answered with a reason", async (_, body, type, status) => {
    const { post } = await receiver();
    const response = await post(body, type);
    expect(response.status).toBe(status);
    expect(await response.text()).toMatch(/"message":".+"/);
  });

  test("unpacks to no more than the limit", async () => {
    const { post } = await receiver();
    const response = await post(gzipSync(Buffer.alloc(10_000_000)), "application/json", {
      "content-encoding": "gzip",
    });
    expect(response.status).toBe(413);
  });

  test("because the store is away and the buffer full comes back later; nothing taken is lost", async () => {
    const store = createMemorySpanStore();
    store.failWith(new PortError("store_unavailable", "away", { retryable: true }));
    const { writer, post } = await receiver(store, 1);
    expect((await post(jsonBody())).status).toBe(200);
    const refused = await post(jsonBody({ spanId: "b7ad6b7169203332" }));
    expect([refused.status, refused.headers.get("retry-after")]).toEqual([503, "5"]);
    store.failWith(undefined);
    await writer.stop();
    expect(store.spans.map((span) => span.spanId)).toEqual(["b7ad6b7169203331"]);
  });
});
