import {
  context,
  INVALID_SPAN_CONTEXT,
  isSpanContextValid,
  ROOT_CONTEXT,
  SpanKind,
  SpanStatusCode,
  trace,
  TraceFlags,
  type Attributes,
  type Context,
  type Span,
} from "@opentelemetry/api";
import type { MsgHdrs } from "@nats-io/transport-node";
import { messageForLog } from "./redaction.ts";
import { ATTRIBUTE, type SpanName } from "./semconv.ts";

export type { Attributes, Context, Span } from "@opentelemetry/api";

/** The one header, in NATS, HTTP and gRPC alike: W3C Trace Context level 1 (https://www.w3.org/TR/trace-context-1/). */
export const TRACEPARENT = "traceparent";

/** Which side of a call a span describes. */
export type SpanSide = "internal" | "server" | "client" | "producer" | "consumer";

export interface SpanOptions {
  /**
   * What the span is part of. Give it wherever work crossed a queue or a buffer: the active context is lost there. Absent: the
   * active context; `ROOT_CONTEXT` (as from {@link contextFromTraceparent} without a parent) starts a trace.
   */
  readonly parent?: Span | Context | undefined;
  readonly attributes?: Attributes;
  /** Default `internal`. */
  readonly side?: SpanSide;
}

/** Starts a span; somebody must end it with {@link endSpan}. Without a started SDK it is a span that records nothing. */
export function startSpan(name: SpanName, options: SpanOptions = {}): Span {
  return trace.getTracer("lacewing").startSpan(
    name,
    {
      kind: KINDS[options.side ?? "internal"],
      ...(options.attributes === undefined ? {} : { attributes: options.attributes }),
    },
    contextOf(options.parent),
  );
}

/** In the place of a span that nobody wants made. */
export const NO_SPAN: Span = trace.wrapSpanContext(INVALID_SPAN_CONTEXT);

/** How a span ends. */
export interface SpanEnd {
  /** Present when the operation failed: anything that was thrown. */
  readonly error?: unknown;
  readonly attributes?: Attributes;
  /** The operation ended this many milliseconds ago; somebody waited to see whether it would go on. */
  readonly agoMs?: number;
}

/** Ends a span; an error gives it the error status, a message without URL queries, and `error.type`. */
export function endSpan(span: Span, end: SpanEnd = {}): void {
  if (end.attributes !== undefined) span.setAttributes(end.attributes);
  if (end.error !== undefined) {
    const { error } = end;
    span.setAttribute(ATTRIBUTE.errorType, errorType(error));
    span.setStatus({
      code: SpanStatusCode.ERROR,
      message: messageForLog(error),
    });
  }
  span.end(end.agoMs === undefined ? undefined : Date.now() - end.agoMs);
}

/** Runs `body` with its span active (so that logs carry its ids) and ends the span with what came of it. */
export async function withSpan<T>(
  name: SpanName,
  options: SpanOptions,
  body: (span: Span) => Promise<T>,
): Promise<T> {
  const span = startSpan(name, options);
  try {
    const result = await runInSpan(span, () => body(span));
    endSpan(span);
    return result;
  } catch (error) {
    endSpan(span, { error });
    throw error;
  }
}

/** Runs `body` with `span` active. */
export function runInSpan<T>(span: Span, body: () => T): T {
  return context.with(trace.setSpan(context.active(), span), body);
}

/** The trace id as logs and SQL hold it: 32 lower-case hex digits; `undefined` without a started SDK. */
export function traceIdOf(span: Span): string | undefined {
  const ids = span.spanContext();
  return isSpanContextValid(ids) ? ids.traceId : undefined;
}

/** Notes a moment in a span. The one place that makes span events: their API is about to be replaced by log records. */
export function noteInSpan(span: Span, event: string, attributes: Attributes = {}): void {
  span.addEvent(event, attributes);
}

/** The span as a `traceparent` header; `undefined` when it has no valid ids. */
export function traceparentOf(span: Span): string | undefined {
  const ids = span.spanContext();
  if (!isSpanContextValid(ids)) return undefined;
  const isSampled = (ids.traceFlags & TraceFlags.SAMPLED) !== 0;
  return `00-${ids.traceId}-${ids.spanId}-${isSampled ? "01" : "00"}`;
}

/** Version `ff` and ids of zeros are forbidden; later versions may append fields after another dash. */
const TRACEPARENT_GRAMMAR =
  /^(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/;

/**
 * The remote parent that a `traceparent` header names. A missing or malformed one gives a context without parent: the next
 * span starts a trace of its own. Never throws.
 */
export function contextFromTraceparent(traceparent: string | undefined): Context {
  const match = TRACEPARENT_GRAMMAR.exec(traceparent ?? "");
  const [, version, traceId, spanId, flags, extension] = match ?? [];
  if (traceId === undefined || spanId === undefined || flags === undefined) return ROOT_CONTEXT;
  if (version === "00" && extension !== undefined) return ROOT_CONTEXT;
  const traceFlags = Number.parseInt(flags, 16) & TraceFlags.SAMPLED;
  return trace.setSpanContext(ROOT_CONTEXT, { traceId, spanId, traceFlags, isRemote: true });
}

/** Adds the span to the headers of a NATS message (`headers()` of `@nats-io/transport-node`). */
export function injectHeaders(span: Span, headers: MsgHdrs): void {
  const traceparent = traceparentOf(span);
  if (traceparent !== undefined) headers.set(TRACEPARENT, traceparent);
}

/** The remote parent that a NATS message names; a message without headers has none. */
export function contextFromHeaders(headers: MsgHdrs | undefined): Context {
  return contextFromTraceparent(headers?.get(TRACEPARENT));
}

/** The `traceparent` of an HTTP request as Node parsed it; `undefined` when missing or given twice. */
export function traceparentFromHttp(
  headers: Readonly<Record<string, string | string[] | undefined>>,
): string | undefined {
  const value = headers[TRACEPARENT];
  return typeof value === "string" ? value : undefined;
}

/** The `traceparent` of a gRPC call's metadata; `undefined` when missing or given twice. */
export function traceparentFromMetadata(metadata: {
  get(key: string): readonly (string | Uint8Array)[];
}): string | undefined {
  const [value, second] = metadata.get(TRACEPARENT);
  return typeof value === "string" && second === undefined ? value : undefined;
}

const KINDS = {
  internal: SpanKind.INTERNAL,
  server: SpanKind.SERVER,
  client: SpanKind.CLIENT,
  producer: SpanKind.PRODUCER,
  consumer: SpanKind.CONSUMER,
} as const satisfies Record<SpanSide, SpanKind>;

function contextOf(parent: Span | Context | undefined): Context {
  if (parent === undefined) return context.active();
  return "spanContext" in parent ? trace.setSpan(context.active(), parent) : parent;
}

function errorType(error: unknown): string {
  if (!(error instanceof Error)) return typeof error;
  return "code" in error && typeof error.code === "string" ? error.code : error.name;
}
