import type { DeepPartial } from "@lacewing/contracts/gen/lacewing/otlp/v1/trace.ts";
import {
  type AnyValue,
  ExportTraceServiceRequest,
  type KeyValue,
  type Span,
} from "@lacewing/contracts/gen/lacewing/otlp/v1/trace.ts";
import { createMemoryLog } from "@lacewing/observability/memory-log.ts";
import { createMetricRegistry } from "@lacewing/observability/metrics.ts";
import { METRIC } from "@lacewing/observability/semconv.ts";
import { systemClock } from "@lacewing/runtime/clock.ts";
import { listenOtlp } from "@lacewing/traces/adapters/http/otlp-server.ts";
import { listenQuery } from "@lacewing/traces/adapters/http/query-server.ts";
import { createSpanStore } from "@lacewing/traces/adapters/postgres/span-store.ts";
import { SpanWriter } from "@lacewing/traces/app/span-writer.ts";
import { httpGet } from "./http.ts";
import { readSpans } from "./trace-query.ts";
import { waitFor } from "./wait-for.ts";

/** A minute ago, to the second, so that the texts of times are short. */
export const START_MS = Math.floor(Date.now() / 1000) * 1000 - 60_000;
export const TRACE = "0af7651916cd43dd8448eb211c80319c";
export const OTHER_TRACE = "00000000000000000000000000000abc";

const ANY_PORT = { host: "127.0.0.1", port: 0 };

/** Both halves of the trace store over a real database; it ends with the scope. */
export async function startTraceStore(
  databaseUrl: string,
  options: { readonly bufferSpanCountMax?: number } = {},
) {
  const log = createMemoryLog();
  const metrics = createMetricRegistry();
  const counter = metrics.counter(METRIC.traceSpanCount);
  const store = createSpanStore(databaseUrl, () => {});
  const writer = new SpanWriter({
    store,
    clock: systemClock,
    log,
    random: () => 0.5,
    bufferSpanCountMax: options.bufferSpanCountMax ?? 1000,
    counter,
  });
  const otlp = await listenOtlp({
    address: ANY_PORT,
    writer,
    bodyBytesMax: 2 ** 20,
    counter,
    log,
  });
  const query = await listenQuery({ address: ANY_PORT, store, metrics, clock: systemClock, log });
  return {
    log,
    store,
    writer,
    otlpUrl: `http://${otlp.address}`,
    queryUrl: `http://${query.address}`,
    post: async (spans: readonly DeepPartial<Span>[], resource?: Attributes) =>
      postSpans(`http://${otlp.address}`, spans, resource),
    get: async (path: string) => {
      const { status, headers, body } = await httpGet(`http://${query.address}${path}`);
      return { status, headers, text: body.toString() };
    },
    [Symbol.asyncDispose]: async () => {
      await Promise.all([otlp.close(), query.close()]);
      await writer.stop();
      await store.close();
    },
  };
}

export type TraceStore = Awaited<ReturnType<typeof startTraceStore>>;

type Attributes = Readonly<Record<string, string | number | boolean>>;

/** One export request in protobuf. @returns the answer's status and when to come back, if it says so. */
async function postSpans(
  otlpUrl: string,
  spans: readonly DeepPartial<Span>[],
  resource: Attributes = { "service.name": "lacewing-peer" },
) {
  const request = ExportTraceServiceRequest.fromPartial({
    resourceSpans: [
      {
        resource: { attributes: keyValues(resource) },
        scopeSpans: [{ scope: { name: "lacewing", version: "" }, spans: [...spans] }],
      },
    ],
  });
  const answer = await fetch(`${otlpUrl}/v1/traces`, {
    method: "POST",
    headers: { "content-type": "application/x-protobuf" },
    body: Uint8Array.from(ExportTraceServiceRequest.encode(request).finish()),
  });
  await answer.arrayBuffer();
  return { status: answer.status, retryAfter: answer.headers.get("retry-after") };
}

export function keyValues(attributes: Attributes): KeyValue[] {
  return Object.entries(attributes).map(([key, value]) => ({ key, value: anyValue(value) }));
}

function anyValue(value: string | number | boolean): AnyValue {
  if (typeof value === "string") return { value: { $case: "stringValue", value } };
  if (typeof value === "boolean") return { value: { $case: "boolValue", value } };
  return Number.isInteger(value)
    ? { value: { $case: "intValue", value: String(value) } }
    : { value: { $case: "doubleValue", value } };
}

/** Waits until {@link TRACE} and {@link OTHER_TRACE} hold so many spans together, and nothing more is on its way. */
export async function stored(traces: TraceStore, count: number): Promise<void> {
  await waitFor(`${count} spans`, async () => {
    const found = await Promise.all(
      [TRACE, OTHER_TRACE].map(async (id) => readSpans(traces.queryUrl, id)),
    );
    return found.flat().length === count && traces.writer.bufferedCount === 0;
  });
}

export function idOf(number: number): string {
  return number.toString(16).padStart(16, "0");
}

/** Milliseconds after {@link START_MS}, as OTLP writes a time. */
export function nano(ms: number): string {
  return String(BigInt(START_MS + ms) * 1_000_000n);
}

/** A download of 20 ms; span 1 begins first, span 2 a millisecond later, and so on. */
export function aSpan(number: number, change: Parameters<TraceStore["post"]>[0][number] = {}) {
  return {
    traceId: Buffer.from(TRACE, "hex"),
    spanId: Buffer.from(idOf(number), "hex"),
    name: "download",
    kind: 2 as const,
    startTimeUnixNano: nano(number - 1),
    endTimeUnixNano: nano(number + 19),
    ...change,
  };
}
