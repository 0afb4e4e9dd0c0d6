import { createHash } from "node:crypto";
import type { IncomingMessage } from "node:http";
import type { Log } from "@lacewing/observability/log.ts";
import { METRICS_CONTENT_TYPE, type MetricRegistry } from "@lacewing/observability/metrics.ts";
import { ATTRIBUTE } from "@lacewing/observability/semconv.ts";
import type { Clock } from "@lacewing/runtime/clock.ts";
import { PortError } from "@lacewing/runtime/errors.ts";
import type { SocketAddress } from "@lacewing/runtime/settings.ts";
import type { SpanStore } from "../../app/span-store.ts";
import { STYLE } from "../../core/style.ts";
import { jaegerUiTraceOf, otlpJsonOf } from "../../core/jaeger.ts";
import { searchPage } from "../../core/search-page.ts";
import { parseTraceId, SPAN_KINDS, type SpanKind } from "../../core/span.ts";
import { noTracePage, tracePage } from "../../core/trace-page.ts";
import { summaryOf } from "../../core/trace-summary.ts";
import { jsonAnswer, listen, RequestError, type Answer, type ListeningServer } from "./http.ts";
import { traceQueryOfApi, traceQueryOfPage } from "./trace-query.ts";

/** When somebody who found Postgres away should come back. */
const RETRY_AFTER_S = 2;
/** Attributes that tell one download from another in a list. */
const HIGHLIGHTS = [ATTRIBUTE.traffic, ATTRIBUTE.url, ATTRIBUTE.taskId, ATTRIBUTE.outcome];

export interface QueryServerOptions {
  readonly address: SocketAddress;
  readonly store: SpanStore;
  readonly metrics: MetricRegistry;
  readonly clock: Clock;
  readonly log: Log;
}

/** Jaeger's query API, the two pages, `/healthz` and `/metrics`. */
export function listenQuery(options: QueryServerOptions): Promise<ListeningServer> {
  return listen(
    options.address,
    (request) => handle(request, options),
    (error) => errorAnswer(error, options.log),
    options.log,
  );
}

async function handle(request: IncomingMessage, options: QueryServerOptions): Promise<Answer> {
  if (request.method !== "GET" && request.method !== "HEAD") {
    throw new RequestError(405, "only GET is answered");
  }
  const url = URL.parse(request.url ?? "", "http://localhost");
  if (url === null) throw new RequestError(400, "malformed request path");
  const { store } = options;
  switch (url.pathname) {
    case "/":
      return { status: 302, headers: { location: "/search" } };
    case "/search":
      return searchAnswer(url.searchParams, options);
    case "/healthz":
      await store.ping();
      return jsonAnswer(200, { status: "ok" });
    case "/metrics":
      return {
        status: 200,
        headers: { "content-type": METRICS_CONTENT_TYPE },
        body: options.metrics.render(),
      };
    case "/api/v3/services":
      return jsonAnswer(200, { services: await store.services() });
    case "/api/v3/operations":
      return operationsAnswer(url.searchParams, store);
    case "/api/v3/traces": {
      const traces = await store.find(traceQueryOfApi(url.searchParams));
      if (traces.length === 0) throw new RequestError(404, "No traces found");
      return jsonAnswer(200, { result: otlpJsonOf(traces.flatMap((trace) => trace.spans)) });
    }
    default:
      return oneTraceAnswer(url.pathname, store);
  }
}

async function operationsAnswer(parameters: URLSearchParams, store: SpanStore): Promise<Answer> {
  const service = parameters.get("service") ?? "";
  const kindText = (parameters.get("spanKind") ?? parameters.get("span_kind") ?? "").toLowerCase();
  if (service === "") throw new RequestError(400, "malformed parameter service: must be given");
  const kind = SPAN_KINDS.find((known: SpanKind) => known === kindText);
  if (kindText !== "" && kind === undefined) {
    throw new RequestError(
      400,
      `malformed parameter spanKind: must be one of ${SPAN_KINDS.join(", ")}`,
    );
  }
  return jsonAnswer(200, { operations: await store.operations(service, kind) });
}

/** `/api/v3/traces/{id}`, `/api/traces/{id}`, `/trace/{id}`. */
async function oneTraceAnswer(path: string, store: SpanStore): Promise<Answer> {
  const match = /^(\/api\/v3\/traces|\/api\/traces|\/trace)\/([^/]*)\/?$/.exec(path);
  const [, form, idText] = match ?? [];
  if (form === undefined || idText === undefined) throw new RequestError(404, "no such path");
  const traceId = parseTraceId(idText);
  if (traceId === undefined) {
    throw new RequestError(400, "malformed trace id: must be 1 to 32 hex digits, not all zero");
  }
  const trace = await store.trace(traceId);
  if (form === "/trace") {
    return trace === undefined
      ? pageAnswer(404, noTracePage(traceId))
      : pageAnswer(200, tracePage(traceId, trace.spans, trace.isCut));
  }
  if (form === "/api/v3/traces") {
    if (trace === undefined) throw new RequestError(404, "No traces found");
    return jsonAnswer(200, { result: otlpJsonOf(trace.spans) });
  }
  const common = { total: 0, limit: 0, offset: 0 };
  return trace === undefined
    ? jsonAnswer(404, { data: null, ...common, errors: [{ code: 404, msg: "trace not found" }] })
    : jsonAnswer(200, { data: [jaegerUiTraceOf(traceId, trace.spans)], ...common, errors: null });
}

async function searchAnswer(
  parameters: URLSearchParams,
  { store, clock }: QueryServerOptions,
): Promise<Answer> {
  const asked = askedOf(parameters, clock.now());
  const service = parameters.get("service") ?? "";
  const [services, operations, traces] = await Promise.all([
    store.services(),
    service === "" ? [] : store.operations(service, undefined),
    "problem" in asked ? [] : store.find(asked.query),
  ]);
  const text = (name: string) => parameters.get(name) ?? "";
  const form = {
    service,
    operation: text("operation"),
    lookback: "problem" in asked ? text("lookback") : asked.lookback,
    minDuration: text("minDuration"),
    maxDuration: text("maxDuration"),
    tags: text("tags"),
    limit: "problem" in asked ? text("limit") : asked.limit,
    services,
    operations: [...new Set(operations.map((operation) => operation.name))],
  };
  const summaries = traces.flatMap((trace) => summaryOf(trace.spans, HIGHLIGHTS) ?? []);
  const problem = "problem" in asked ? asked.problem : undefined;
  return pageAnswer(problem === undefined ? 200 : 400, searchPage(form, summaries, problem));
}

/** A person who mistyped a field gets the form back with what is wrong. */
function askedOf(parameters: URLSearchParams, nowMs: number) {
  try {
    return traceQueryOfPage(parameters, nowMs);
  } catch (error) {
    if (error instanceof RequestError) return { problem: error.message };
    throw error;
  }
}

const STYLE_HASH = createHash("sha256").update(STYLE).digest("base64");

function pageAnswer(status: number, body: string): Answer {
  return {
    status,
    headers: {
      "content-type": "text/html; charset=utf-8",
      // Nothing but our own style: what a span holds can run and load nothing.
      "content-security-policy": `default-src 'none'; style-src 'sha256-${STYLE_HASH}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'`,
      "referrer-policy": "no-referrer",
      "cache-control": "no-store",
    },
    body,
  };
}

/** Jaeger's shape of an error (its api_v3 `GRPCGatewayError`). */
function errorAnswer(error: unknown, log: Log): Answer {
  const shape = (status: number, message: string) =>
    jsonAnswer(status, { error: { httpCode: status, message } });
  if (error instanceof RequestError) return shape(error.status, error.message);
  if (error instanceof PortError && error.retryable) {
    log.debug("query failed", { error });
    const answer = shape(503, "the span store does not answer");
    return { ...answer, headers: { ...answer.headers, "retry-after": String(RETRY_AFTER_S) } };
  }
  log.error("query failed", { error });
  return shape(500, "internal error");
}
