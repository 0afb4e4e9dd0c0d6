import { describe, expect, test } from "vitest";
import { createMetricRegistry } from "./metrics.ts";
import { METRIC } from "./semconv.ts";

describe("the metrics page", () => {
  test("names a counter with its unit and total, one line per label set", () => {
    const metrics = createMetricRegistry();
    const bytes = metrics.counter(METRIC.downloadBytes);
    bytes.add(5, { traffic: "remote_peer" });
    bytes.add(7, { traffic: "remote_peer" });
    expect(metrics.render()).toBe(
      "# HELP lacewing_download_io_bytes_total Bytes delivered to clients, by where they came from.\n" +
        "# TYPE lacewing_download_io_bytes_total counter\n" +
        'lacewing_download_io_bytes_total{traffic="remote_peer"} 12\n',
    );
  });

  test("shows a counter without labels before its first event", () => {
    const metrics = createMetricRegistry();
    metrics.counter(METRIC.serveBytes);
    expect(metrics.render()).toContain("lacewing_serve_io_bytes_total 0\n");
  });

  test("asks an observed gauge when it is looked at", () => {
    const metrics = createMetricRegistry();
    let lag = 1;
    metrics.gauge(METRIC.projectionLag).observe(() => lag);
    lag = 2;
    expect(metrics.render()).toContain("lacewing_projection_lag_seconds 2\n");
  });

  test("folds label sets beyond the limit into one series", () => {
    const metrics = createMetricRegistry();
    const counter = metrics.counter(METRIC.downloadBytes);
    for (let id = 0; id < 150; id += 1) counter.add(1, { traffic: `id-${id}` });
    expect(metrics.render()).toContain('{overflow="true"} 50\n');
  });

  test("escapes what a label holds", () => {
    const metrics = createMetricRegistry();
    metrics.counter(METRIC.downloadBytes).add(1, { traffic: 'a"b\\c\nd' });
    expect(metrics.render()).toContain('{traffic="a\\"b\\\\c\\nd"} 1\n');
  });

  test("a counter never goes back", () => {
    const metrics = createMetricRegistry();
    const counter = metrics.counter(METRIC.serveBytes);
    counter.add(-1);
    counter.add(Number.NaN);
    expect(metrics.render()).toContain("lacewing_serve_io_bytes_total 0\n");
  });
});
