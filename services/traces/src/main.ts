import { createLog } from "@lacewing/observability/log.ts";
import { createMetricRegistry } from "@lacewing/observability/metrics.ts";
import { METRIC, SERVICE } from "@lacewing/observability/semconv.ts";
import { systemClock } from "@lacewing/runtime/clock.ts";
import { runService, type RunningService } from "@lacewing/runtime/lifecycle.ts";
import { readSettings } from "@lacewing/runtime/settings.ts";
import { listenOtlp } from "./adapters/http/otlp-server.ts";
import { listenQuery } from "./adapters/http/query-server.ts";
import { createSpanStore } from "./adapters/postgres/span-store.ts";
import { keepRetention } from "./app/retention.ts";
import { SpanWriter } from "./app/span-writer.ts";
import { SETTINGS } from "./config.ts";

await runService(start);

/** The trace store: OTLP in, Postgres, Jaeger's query API and two pages out. It makes no spans of its own. */
async function start(): Promise<RunningService> {
  const settings = readSettings(SETTINGS, process.env);
  const log = createLog({ service: SERVICE.traces, level: settings.LACEWING_LOG_LEVEL });
  const metrics = createMetricRegistry();
  const counter = metrics.counter(METRIC.traceSpanCount);
  const clock = systemClock;
  const store = createSpanStore(settings.LACEWING_DATABASE_URL, (error) =>
    log.debug("idle connection lost", { error }),
  );
  const writer = new SpanWriter({
    store,
    clock,
    log,
    random: Math.random,
    bufferSpanCountMax: settings.LACEWING_TRACES_BUFFER_SPAN_COUNT_MAX,
    counter,
  });
  metrics.gauge(METRIC.traceBufferedSpanCount).observe(() => writer.bufferedCount);
  const stopping = new AbortController();
  const otlp = await listenOtlp({
    address: settings.LACEWING_TRACES_OTLP_ADDRESS,
    writer,
    bodyBytesMax: settings.LACEWING_TRACES_BODY_BYTES_MAX,
    counter,
    log,
  });
  const query = await listenQuery({
    address: settings.LACEWING_TRACES_QUERY_ADDRESS,
    store,
    metrics,
    clock,
    log,
  });
  const retention = keepRetention(
    {
      store,
      clock,
      log,
      retentionDays: settings.LACEWING_TRACES_RETENTION_DAYS,
      spanCountMax: settings.LACEWING_TRACES_SPAN_COUNT_MAX,
    },
    stopping.signal,
  );
  log.info("trace store started", { otlp: otlp.address, query: query.address });
  return {
    addresses: { otlp: otlp.address, query: query.address },
    stop: async () => {
      stopping.abort();
      await Promise.all([otlp.close(), query.close(), retention]);
      await writer.stop();
      await store.close();
      log.info("trace store stopped");
      log.close();
    },
  };
}
