/** A value of an attribute. Whole numbers beyond 2^53 and bytes (in hex) are strings. */
export type AttributeValue =
  | string
  | number
  | boolean
  | null
  | readonly AttributeValue[]
  | { readonly [key: string]: AttributeValue };

export type Attributes = Readonly<Record<string, AttributeValue>>;

/** In the order of OTLP's numbers. */
export const SPAN_KINDS = [
  "unspecified",
  "internal",
  "server",
  "client",
  "producer",
  "consumer",
] as const;
export type SpanKind = (typeof SPAN_KINDS)[number];

/** In the order of OTLP's numbers. */
export const SPAN_STATUSES = ["unset", "ok", "error"] as const;
export type SpanStatus = (typeof SPAN_STATUSES)[number];

export interface SpanEvent {
  readonly name: string;
  /** Nanoseconds since 1970-01-01 UTC, decimal digits: JSON has no such numbers. */
  readonly unixNano: string;
  readonly attributes: Attributes;
}

export interface SpanLink {
  readonly traceId: string;
  readonly spanId: string;
  readonly attributes: Attributes;
}

/** One operation of one process, as the store keeps it. */
export interface SpanRecord {
  /** 32 lower-case hex digits. */
  readonly traceId: string;
  /** 16 lower-case hex digits. */
  readonly spanId: string;
  /** Absent in a root span. The parent itself may be missing. */
  readonly parentSpanId: string | undefined;
  readonly service: string;
  readonly name: string;
  readonly kind: SpanKind;
  /** Nanoseconds since 1970-01-01 UTC by the clock of the process. */
  readonly startUnixNano: bigint;
  /** Not before the start. */
  readonly endUnixNano: bigint;
  readonly status: SpanStatus;
  readonly statusMessage: string;
  /** The library that made the span. */
  readonly scope: string;
  readonly attributes: Attributes;
  /** The process: `service.name`, `service.instance.id`, … */
  readonly resource: Attributes;
  readonly events: readonly SpanEvent[];
  readonly links: readonly SpanLink[];
}

/** What to look for. All conditions hold for one span of the trace. */
export interface TraceQuery {
  readonly service: string | undefined;
  readonly operation: string | undefined;
  /** Nanoseconds since 1970-01-01 UTC, inclusive. */
  readonly startMinUnixNano: bigint;
  readonly startMaxUnixNano: bigint;
  readonly durationMinNano: bigint | undefined;
  readonly durationMaxNano: bigint | undefined;
  /** Exact values, as text; of the span or of its process. */
  readonly attributes: Readonly<Record<string, string>>;
  /** Traces at most, newest first. */
  readonly traceCountMax: number;
}

/**
 * A trace id as a person or Jaeger writes it (1 to 32 hex digits, leading zeros may be missing) in the stored form;
 * `undefined` when it is none.
 */
export function parseTraceId(text: string): string | undefined {
  if (!/^[0-9a-f]{1,32}$/i.test(text)) return undefined;
  const traceId = text.toLowerCase().padStart(32, "0");
  return /^0+$/.test(traceId) ? undefined : traceId;
}
