/**
 * Traces in the shapes that Jaeger's query service gives, so that tools written for it read ours: OTLP JSON for `/api/v3`
 * (jaeger cmd/jaeger/internal/extension/jaegerquery, api_v3) and the older UI JSON for `/api/traces/{id}` (internal/uimodel).
 */
import {
  SPAN_KINDS,
  SPAN_STATUSES,
  type Attributes,
  type AttributeValue,
  type SpanRecord,
} from "./span.ts";
import { processOf } from "./span-tree.ts";

/** OTLP JSON of `TracesData`: ids in hex, 64-bit numbers as strings, enums as numbers. */
export function otlpJsonOf(spans: readonly SpanRecord[]) {
  const byResource = Map.groupBy(spans, (span) => JSON.stringify([span.service, span.resource]));
  return {
    resourceSpans: [...byResource.values()].map((members) => ({
      resource: { attributes: keyValuesOf(members[0]?.resource ?? {}) },
      scopeSpans: [...Map.groupBy(members, (span) => span.scope)].map(([name, scoped]) => ({
        scope: { name },
        spans: scoped.map(otlpSpanOf),
      })),
    })),
  };
}

function otlpSpanOf(span: SpanRecord) {
  const code = SPAN_STATUSES.indexOf(span.status);
  return {
    traceId: span.traceId,
    spanId: span.spanId,
    ...(span.parentSpanId === undefined ? {} : { parentSpanId: span.parentSpanId }),
    name: span.name,
    kind: SPAN_KINDS.indexOf(span.kind),
    startTimeUnixNano: String(span.startUnixNano),
    endTimeUnixNano: String(span.endUnixNano),
    attributes: keyValuesOf(span.attributes),
    ...(span.events.length === 0
      ? {}
      : {
          events: span.events.map((event) => ({
            timeUnixNano: event.unixNano,
            name: event.name,
            attributes: keyValuesOf(event.attributes),
          })),
        }),
    ...(span.links.length === 0
      ? {}
      : {
          links: span.links.map((link) => ({
            traceId: link.traceId,
            spanId: link.spanId,
            attributes: keyValuesOf(link.attributes),
          })),
        }),
    status: {
      ...(span.statusMessage === "" ? {} : { message: span.statusMessage }),
      ...(code === 0 ? {} : { code }),
    },
  };
}

function keyValuesOf(attributes: Attributes): object[] {
  return Object.entries(attributes).map(([key, value]) => ({ key, value: anyValueOf(value) }));
}

function anyValueOf(value: AttributeValue): object {
  if (value === null) return {};
  if (typeof value === "string") return { stringValue: value };
  if (typeof value === "boolean") return { boolValue: value };
  if (typeof value === "number") {
    return Number.isSafeInteger(value) ? { intValue: String(value) } : { doubleValue: value };
  }
  return isList(value)
    ? { arrayValue: { values: value.map(anyValueOf) } }
    : { kvlistValue: { values: keyValuesOf(value) } };
}

/** Jaeger's UI JSON: microseconds, tags with types, processes by reference. */
export function jaegerUiTraceOf(traceId: string, spans: readonly SpanRecord[]) {
  const processIds = new Map<string, string>();
  const processes: Record<string, object> = {};
  for (const span of spans) {
    const key = processOf(span);
    if (processIds.has(key)) continue;
    const id = `p${processIds.size + 1}`;
    processIds.set(key, id);
    const { "service.name": _, ...others } = span.resource;
    processes[id] = { serviceName: span.service, tags: tagsOf(others) };
  }
  return {
    traceID: traceId,
    spans: spans.map((span) => uiSpanOf(span, processIds.get(processOf(span)) ?? "p1")),
    processes,
    warnings: null,
  };
}

function uiSpanOf(span: SpanRecord, processId: string) {
  const parent =
    span.parentSpanId === undefined
      ? []
      : [{ refType: "CHILD_OF", traceID: span.traceId, spanID: span.parentSpanId }];
  const links = span.links.map((link) => ({
    refType: "FOLLOWS_FROM",
    traceID: link.traceId,
    spanID: link.spanId,
  }));
  return {
    traceID: span.traceId,
    spanID: span.spanId,
    operationName: span.name,
    references: [...parent, ...links],
    flags: 1,
    startTime: Number(span.startUnixNano / 1000n),
    duration: Number((span.endUnixNano - span.startUnixNano) / 1000n),
    tags: [
      ...tagsOf(span.attributes),
      ...(span.kind === "unspecified" ? [] : tagsOf({ "span.kind": span.kind })),
      ...(span.status === "unset" ? [] : tagsOf({ "otel.status_code": span.status.toUpperCase() })),
      ...(span.status === "error" ? tagsOf({ error: true }) : []),
      ...(span.statusMessage === ""
        ? []
        : tagsOf({ "otel.status_description": span.statusMessage })),
      ...(span.scope === "" ? [] : tagsOf({ "otel.scope.name": span.scope })),
    ],
    logs: span.events.map((event) => ({
      timestamp: Number(BigInt(event.unixNano) / 1000n),
      fields: [...tagsOf({ event: event.name }), ...tagsOf(event.attributes)],
    })),
    processID: processId,
    warnings: null,
  };
}

function tagsOf(attributes: Attributes): object[] {
  return Object.entries(attributes).map(([key, value]) => {
    if (typeof value === "boolean") return { key, type: "bool", value };
    if (typeof value === "number") {
      return { key, type: Number.isSafeInteger(value) ? "int64" : "float64", value };
    }
    return {
      key,
      type: "string",
      value: typeof value === "string" ? value : JSON.stringify(value),
    };
  });
}

/** `Array.isArray` does not narrow a readonly array. */
function isList(value: AttributeValue): value is readonly AttributeValue[] {
  return Array.isArray(value);
}
