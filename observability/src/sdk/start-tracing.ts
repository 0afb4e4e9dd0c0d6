import { context, diag, DiagLogLevel, trace } from "@opentelemetry/api";
import { AsyncLocalStorageContextManager } from "@opentelemetry/context-async-hooks";
import { ExportResultCode } from "@opentelemetry/core";
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-proto";
import { resourceFromAttributes } from "@opentelemetry/resources";
import {
  BatchSpanProcessor,
  ParentBasedSampler,
  TraceIdRatioBasedSampler,
  TracerProvider,
  type ReadableSpan,
  type SpanExporter,
  type SpanProcessor,
} from "@opentelemetry/sdk-trace";
import { arch, hostname } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import type { Log } from "../log.ts";
import { ATTRIBUTE, type ServiceName } from "../semconv.ts";

/** Spans in memory before more are dropped: the SDK's default of 2048 loses 87 % of a burst of 20 000. About 32 MB when full. */
const QUEUE_SPAN_COUNT_MAX = 16_384;
/** Spans in one request: about 200 KB of protobuf. */
const BATCH_SPAN_COUNT_MAX = 2048;
/** The wait for a batch to fill: a burst of small downloads is over by then, and the person who looks at one has not found its id yet. */
const EXPORT_DELAY_MS = 2000;
/** One request with the exporter's own retries. */
const EXPORT_TIMEOUT_MS = 10_000;
/** A stop waits this long for the last spans: less than a supervisor's patience. */
const SHUTDOWN_TIMEOUT_MS = 3000;

export interface TracingOptions {
  readonly service: ServiceName;
  readonly serviceVersion?: string;
  /** `service.instance.id`: the host id, or what else tells instances of this service apart. */
  readonly instanceId: string;
  /** Base URL of an OTLP/HTTP receiver, `OTEL_EXPORTER_OTLP_ENDPOINT`; `/v1/traces` is added. Absent: ids, but no export. */
  readonly endpoint?: string | undefined;
  /** Share of traces that begin here and are recorded, 0 to 1; a caller's decision in `traceparent` is followed. Default 1. */
  readonly sampleRatio?: number;
  readonly log: Log;
}

export interface Tracing {
  /** Own spans lost so far: the queue was full, or the receiver did not take them. */
  droppedSpanCount(): number;
  /** Sends what is queued, waiting at most 3 s, and ends tracing. Never rejects. */
  shutdown(): Promise<void>;
}

/**
 * Starts tracing for this process, without loader hooks: every span of ours is made by hand through `trace.ts`. Ids are valid
 * with and without a receiver, because logs and SQL hold them. A receiver that is down costs spans, never the service, and is
 * logged once when it fails and once when it is back.
 */
export function startTracing(options: TracingOptions): Tracing {
  // The SDK's own complaints come with every batch; the state change is what a person needs.
  diag.setLogger(diagTo(options.log), {
    logLevel: DiagLogLevel.WARN,
    suppressOverrideMessage: true,
  });
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
  const processor =
    options.endpoint === undefined ? undefined : exportingProcessor(options.endpoint, options.log);
  const provider = new TracerProvider({
    resource: resourceFromAttributes({
      [ATTRIBUTE.serviceName]: options.service,
      [ATTRIBUTE.serviceInstanceId]: options.instanceId,
      [ATTRIBUTE.hostName]: hostname(),
      [ATTRIBUTE.hostArch]: arch(),
      [ATTRIBUTE.processPid]: process.pid,
      ...(options.serviceVersion === undefined
        ? {}
        : { [ATTRIBUTE.serviceVersion]: options.serviceVersion }),
    }),
    sampler: new ParentBasedSampler({
      root: new TraceIdRatioBasedSampler(options.sampleRatio ?? 1),
    }),
    spanProcessors: processor === undefined ? [] : [processor],
  });
  trace.setGlobalTracerProvider(provider);
  return {
    droppedSpanCount: () => processor?.droppedSpanCount() ?? 0,
    shutdown: () => shutDown(provider, options.log),
  };
}

async function shutDown(provider: TracerProvider, log: Log): Promise<void> {
  const flushed = provider.shutdown().then(
    () => "flushed" as const,
    () => "failed" as const,
  );
  const outcome = await Promise.race([
    flushed,
    sleep(SHUTDOWN_TIMEOUT_MS, "late" as const, { ref: true }),
  ]);
  if (outcome !== "flushed") log.warn("trace flush incomplete", { outcome });
  trace.disable();
  context.disable();
  diag.disable();
}

function exportingProcessor(endpoint: string, log: Log): CountingSpanProcessor {
  const url = `${endpoint.replace(/\/+$/, "")}/v1/traces`;
  const exporter = new WatchedExporter(
    new OTLPTraceExporter({ url, timeoutMillis: EXPORT_TIMEOUT_MS }),
    url,
    log,
  );
  return new CountingSpanProcessor(exporter);
}

/** A batch processor that knows what it dropped; the SDK's own count is neither public nor kept. */
class CountingSpanProcessor implements SpanProcessor {
  readonly #exporter: WatchedExporter;
  readonly #batches: BatchSpanProcessor;
  #queuedCount = 0;
  #droppedCount = 0;

  constructor(exporter: WatchedExporter) {
    this.#exporter = exporter;
    this.#batches = new BatchSpanProcessor({
      exporter: {
        export: (spans, done) => {
          this.#queuedCount -= spans.length;
          exporter.export(spans, done);
        },
        shutdown: () => exporter.shutdown(),
        forceFlush: () => exporter.forceFlush(),
      },
      maxQueueSize: QUEUE_SPAN_COUNT_MAX,
      maxExportBatchSize: BATCH_SPAN_COUNT_MAX,
      scheduledDelayMillis: EXPORT_DELAY_MS,
      exportTimeoutMillis: EXPORT_TIMEOUT_MS + 1000,
    });
  }

  droppedSpanCount(): number {
    return this.#droppedCount + this.#exporter.lostSpanCount;
  }

  onStart(): void {}

  onEnd(span: ReadableSpan): void {
    if ((span.spanContext().traceFlags & 1) === 0) return;
    if (this.#queuedCount >= QUEUE_SPAN_COUNT_MAX) {
      this.#droppedCount += 1;
      return;
    }
    this.#queuedCount += 1;
    this.#batches.onEnd(span);
  }

  forceFlush(): Promise<void> {
    return this.#batches.forceFlush();
  }

  shutdown(): Promise<void> {
    return this.#batches.shutdown();
  }
}

/** Tells once that the receiver fails and once that it is back; never hands the failure to the SDK's global handler. */
class WatchedExporter implements SpanExporter {
  readonly #exporter: OTLPTraceExporter;
  readonly #url: string;
  readonly #log: Log;
  #isFailing = false;
  lostSpanCount = 0;

  constructor(exporter: OTLPTraceExporter, url: string, log: Log) {
    this.#exporter = exporter;
    this.#url = url;
    this.#log = log;
  }

  export(
    spans: ReadableSpan[],
    done: (result: { code: ExportResultCode; error?: Error }) => void,
  ): void {
    this.#exporter.export(spans, (result) => {
      if (result.code === ExportResultCode.SUCCESS) this.#succeeded();
      else this.#failed(spans.length, result.error);
      done({ code: ExportResultCode.SUCCESS });
    });
  }

  async forceFlush(): Promise<void> {
    await this.#exporter.forceFlush();
  }

  async shutdown(): Promise<void> {
    await this.#exporter.shutdown();
  }

  #succeeded(): void {
    if (!this.#isFailing) return;
    this.#isFailing = false;
    this.#log.info("trace export recovered", {
      url: this.#url,
      lostSpanCount: this.lostSpanCount,
    });
  }

  #failed(spanCount: number, error: Error | undefined): void {
    this.lostSpanCount += spanCount;
    if (this.#isFailing) return;
    this.#isFailing = true;
    this.#log.warn("trace export failing", { url: this.#url, error });
  }
}

function diagTo(log: Log): Parameters<typeof diag.setLogger>[0] {
  const tell = (message: string) => log.debug("trace sdk", { message });
  return { error: tell, warn: tell, info: tell, debug: tell, verbose: tell };
}
