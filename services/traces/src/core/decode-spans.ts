import type {
  AnyValue,
  ExportTraceServiceRequest,
  KeyValue,
  Span,
} from "@lacewing/contracts/gen/lacewing/otlp/v1/trace.ts";
import {
  SPAN_KINDS,
  SPAN_STATUSES,
  type Attributes,
  type AttributeValue,
  type SpanRecord,
} from "./span.ts";

/** Attributes kept of one span, event, link or resource (the SDKs' own default is 128). */
const ATTRIBUTE_COUNT_MAX = 256;
/** Characters kept of one text; longer ones are cut. */
const TEXT_LENGTH_MAX = 16_384;
/** Characters kept of a span's, event's or service's name; an index entry must stay below 2.7 kB. */
const NAME_LENGTH_MAX = 256;
const EVENT_COUNT_MAX = 256;
const LINK_COUNT_MAX = 128;
/** Lists in lists deeper than this are cut. */
const VALUE_DEPTH_MAX = 8;
/** Postgres holds nanoseconds in a bigint: until the year 2262. */
const UNIX_NANO_MAX = 2n ** 63n - 1n;

export interface DecodedSpans {
  readonly spans: readonly SpanRecord[];
  readonly rejectedCount: number;
  /** Why the first rejected one was rejected. */
  readonly rejectedReason: string | undefined;
}

/** Turns a request into records. A span without valid ids or times is rejected by itself; the others are kept. */
export function spansOf(request: ExportTraceServiceRequest): DecodedSpans {
  const spans: SpanRecord[] = [];
  let rejectedCount = 0;
  let rejectedReason: string | undefined;
  for (const group of request.resourceSpans) {
    const resource = attributesOf(group.resource?.attributes ?? []);
    for (const { scope, spans: sent } of group.scopeSpans) {
      for (const span of sent) {
        const record = recordOf(span, resource, nameOf(scope?.name ?? ""));
        if (typeof record === "string") {
          rejectedCount += 1;
          rejectedReason ??= record;
        } else spans.push(record);
      }
    }
  }
  return { spans, rejectedCount, rejectedReason };
}

/** The record, or why there is none. */
function recordOf(span: Span, resource: Attributes, scope: string): SpanRecord | string {
  const traceId = hexOf(span.traceId, 16);
  const spanId = hexOf(span.spanId, 8);
  const start = BigInt(span.startTimeUnixNano);
  const end = BigInt(span.endTimeUnixNano);
  if (traceId === undefined) return "a trace id must be 16 bytes, not all zero";
  if (spanId === undefined) return "a span id must be 8 bytes, not all zero";
  if (start <= 0n || start > UNIX_NANO_MAX || end > UNIX_NANO_MAX) {
    return `start ${start} and end ${end} must be nanoseconds from 1970 to 2262`;
  }
  const service = resource["service.name"];
  return {
    traceId,
    spanId,
    parentSpanId: hexOf(span.parentSpanId, 8),
    // The name that OpenTelemetry gives to a process that says none.
    service: typeof service === "string" && service !== "" ? nameOf(service) : "unknown_service",
    name: nameOf(span.name),
    kind: SPAN_KINDS[span.kind] ?? "unspecified",
    startUnixNano: start,
    // A clock that was set back while the span ran.
    endUnixNano: end < start ? start : end,
    status: SPAN_STATUSES[span.status?.code ?? 0] ?? "unset",
    statusMessage: textOf(span.status?.message ?? ""),
    scope,
    attributes: attributesOf(span.attributes),
    resource,
    events: span.events.slice(0, EVENT_COUNT_MAX).map((event) => ({
      name: nameOf(event.name),
      unixNano: event.timeUnixNano,
      attributes: attributesOf(event.attributes),
    })),
    links: span.links.slice(0, LINK_COUNT_MAX).flatMap((link) => {
      const linkedTraceId = hexOf(link.traceId, 16);
      const linkedSpanId = hexOf(link.spanId, 8);
      if (linkedTraceId === undefined || linkedSpanId === undefined) return [];
      const attributes = attributesOf(link.attributes);
      return [{ traceId: linkedTraceId, spanId: linkedSpanId, attributes }];
    }),
  };
}

function attributesOf(entries: readonly KeyValue[], depth = 0): Attributes {
  return Object.fromEntries(
    entries
      .slice(0, ATTRIBUTE_COUNT_MAX)
      .map(({ key, value }) => [nameOf(key), valueOf(value, depth)]),
  );
}

function valueOf(value: AnyValue | undefined, depth: number): AttributeValue {
  const given = value?.value;
  if (given === undefined) return null;
  switch (given.$case) {
    case "stringValue":
      return textOf(given.value);
    case "boolValue":
      return given.value;
    case "intValue":
      return Number.isSafeInteger(Number(given.value)) ? Number(given.value) : given.value;
    case "doubleValue":
      return Number.isFinite(given.value) ? given.value : String(given.value);
    case "bytesValue":
      return hexText(given.value).slice(0, TEXT_LENGTH_MAX);
    case "arrayValue":
      if (depth >= VALUE_DEPTH_MAX) return "[too deep]";
      return given.value.values
        .slice(0, ATTRIBUTE_COUNT_MAX)
        .map((item) => valueOf(item, depth + 1));
    case "kvlistValue":
      if (depth >= VALUE_DEPTH_MAX) return "[too deep]";
      return attributesOf(given.value.values, depth + 1);
  }
}

function hexOf(bytes: Uint8Array, byteCount: number): string | undefined {
  if (bytes.length !== byteCount || bytes.every((byte) => byte === 0)) return undefined;
  return hexText(bytes);
}

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));

function hexText(bytes: Uint8Array): string {
  return Array.from(bytes.subarray(0, TEXT_LENGTH_MAX / 2), (byte) => HEX[byte]).join("");
}

function nameOf(text: string): string {
  return textOf(text.slice(0, NAME_LENGTH_MAX));
}

/** Text that Postgres can hold: no NUL, no half of a surrogate pair; cut at the limit. */
function textOf(text: string): string {
  return text.slice(0, TEXT_LENGTH_MAX).replaceAll("\0", "\uFFFD").toWellFormed();
}
