import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createMemoryLog } from "@lacewing/observability/memory-log.ts";
import { startTracing } from "@lacewing/observability/sdk/start-tracing.ts";
import { endSpan, noteInSpan, startSpan } from "@lacewing/observability/trace.ts";
import { startTestPostgres, type TestPostgres } from "../support/postgres.ts";
import { readSpans } from "../support/trace-query.ts";
import {
  aSpan,
  idOf,
  keyValues,
  nano,
  OTHER_TRACE,
  START_MS,
  startTraceStore,
  stored,
  TRACE,
  type TraceStore,
} from "../support/trace-store-world.ts";
import { waitFor } from "../support/wait-for.ts";

let postgres: TestPostgres;
beforeAll(async () => {
  postgres = await startTestPostgres();
});
afterAll(async () => {
  await postgres[Symbol.asyncDispose]();
});

const UNKNOWN = "ffffffffffffffffffffffffffffffff";
test("spans of the real exporter come back with ids, parents and attributes", async () => {
  await using traces = await startStore();
  const tracing = startTracing({
    service: "lacewing-peer",
    instanceId: "host-1",
    endpoint: traces.otlpUrl,
    log: createMemoryLog(),
  });
  const download = startSpan("download", {
    side: "server",
    attributes: { "lacewing.traffic": "remote_peer", "lacewing.degraded": false },
  });
  const fetched = startSpan("piece.fetch", { parent: download, side: "client" });
  noteInSpan(fetched, "slow piece", { index: 3 });
  endSpan(fetched, { error: new Error("connection reset") });
  endSpan(download);
  await tracing.shutdown();

  const { traceId, spanId } = download.spanContext();
  const spans = await waitFor("both spans", async () => {
    const found = await readSpans(traces.queryUrl, traceId);
    return found.length === 2 && found;
  });
  // Both may have begun in the same millisecond: no order among them is promised then.
  expect(spans.toSorted((a, b) => a.name.localeCompare(b.name))).toEqual([
    expect.objectContaining({
      service: "lacewing-peer",
      traceId,
      spanId,
      parentSpanId: "",
      name: "download",
      attributes: { "lacewing.traffic": "remote_peer", "lacewing.degraded": "false" },
    }),
    expect.objectContaining({ parentSpanId: spanId, name: "piece.fetch" }),
  ]);
});

describe("the lists to choose from", () => {
  test("hold every service once, and a service's operations by kind", async () => {
    await using traces = await startStore();
    await traces.post([aSpan(1), aSpan(2), aSpan(3, { name: "piece.fetch", kind: 3 })]);
    await traces.post([aSpan(4, { name: "schedule" })], { "service.name": "lacewing-scheduler" });
    await stored(traces, 4);
    expect(await json(traces, "/api/v3/services")).toEqual({
      services: ["lacewing-peer", "lacewing-scheduler"],
    });
    const operations = "/api/v3/operations?service=lacewing-peer";
    expect(await json(traces, operations)).toEqual({
      operations: [
        { name: "download", spanKind: "server" },
        { name: "piece.fetch", spanKind: "client" },
      ],
    });
    expect(await json(traces, `${operations}&spanKind=CLIENT`)).toEqual({
      operations: [{ name: "piece.fetch", spanKind: "client" }],
    });
    expect(await json(traces, "/api/v3/operations?service=nobody")).toEqual({ operations: [] });
    expect((await traces.get("/api/v3/operations")).status).toBe(400);
    expect((await traces.get(`${operations}&spanKind=sideways`)).status).toBe(400);
  });

  test("are empty while nothing is stored", async () => {
    await using traces = await startStore();
    expect(await json(traces, "/api/v3/services")).toEqual({ services: [] });
  });
});

describe("one trace", () => {
  test("comes back as OTLP and as Jaeger's page reads it, by whatever form of its id", async () => {
    await using traces = await startStore();
    const traceId = Buffer.from(OTHER_TRACE, "hex");
    await traces.post([
      aSpan(1, {
        traceId,
        attributes: keyValues({ whole: 12, part: 0.5, flag: true }),
        events: [
          { timeUnixNano: nano(3), name: "slow piece", attributes: keyValues({ index: 3 }) },
        ],
        links: [{ traceId: Buffer.from(TRACE, "hex"), spanId: Buffer.from(idOf(9), "hex") }],
        status: { code: 2, message: "broken" },
      }),
      aSpan(2, {
        traceId,
        parentSpanId: Buffer.from(idOf(1), "hex"),
        name: "piece.fetch",
        kind: 3,
      }),
    ]);
    await stored(traces, 2);
    const ids = [OTHER_TRACE, "abc", OTHER_TRACE.toUpperCase()];
    const answers = await Promise.all(ids.map(async (id) => traces.get(`/api/v3/traces/${id}`)));
    expect(new Set(answers.map(({ text }) => text)).size).toBe(1);
    expect(await json(traces, `/api/v3/traces/${OTHER_TRACE}`)).toMatchObject({
      result: {
        resourceSpans: [
          {
            resource: {
              attributes: keyValueJson("service.name", { stringValue: "lacewing-peer" }),
            },
            scopeSpans: [
              {
                scope: { name: "lacewing" },
                spans: [
                  {
                    traceId: OTHER_TRACE,
                    spanId: idOf(1),
                    name: "download",
                    kind: 2,
                    startTimeUnixNano: nano(0),
                    endTimeUnixNano: nano(20),
                    attributes: ATTRIBUTES,
                    events: [
                      {
                        timeUnixNano: nano(3),
                        name: "slow piece",
                        attributes: keyValueJson("index", { intValue: "3" }),
                      },
                    ],
                    links: [{ traceId: TRACE, spanId: idOf(9), attributes: [] }],
                    status: { message: "broken", code: 2 },
                  },
                  { spanId: idOf(2), parentSpanId: idOf(1), kind: 3, status: {} },
                ],
              },
            ],
          },
        ],
      },
    });
    expect(await json(traces, "/api/traces/abc")).toMatchObject({
      data: [
        {
          traceID: OTHER_TRACE,
          spans: [
            { spanID: idOf(1), startTime: START_MS * 1000, duration: 20_000, processID: "p1" },
            {
              operationName: "piece.fetch",
              references: [{ refType: "CHILD_OF", traceID: OTHER_TRACE, spanID: idOf(1) }],
            },
          ],
          processes: { p1: { serviceName: "lacewing-peer" } },
        },
      ],
      errors: null,
    });
  });

  test("that is unknown is 404, and an id that is none is 400, in every form", async () => {
    await using traces = await startStore();
    for (const path of ["/api/v3/traces/", "/api/traces/", "/trace/"]) {
      expect((await traces.get(path + UNKNOWN)).status).toBe(404);
      expect((await traces.get(`${path}xyz`)).status).toBe(400);
    }
    expect(await json(traces, `/api/traces/${UNKNOWN}`)).toMatchObject({
      data: null,
      errors: [{ code: 404, msg: "trace not found" }],
    });
  });

  test("whose spans are sent again, also at the same time, has each once, as it came first", async () => {
    await using traces = await startStore();
    const spans = [aSpan(1), aSpan(2)];
    await traces.post(spans);
    await stored(traces, 2);
    await Promise.all([traces.post(spans), traces.post(spans)]);
    await traces.post([aSpan(1, { name: "another" }), aSpan(3)]);
    await stored(traces, 3);
    const found = await readSpans(traces.queryUrl, TRACE);
    expect(found.map(({ spanId, name }) => [spanId, name])).toEqual([
      [idOf(1), "download"],
      [idOf(2), "download"],
      [idOf(3), "download"],
    ]);
    expect(traces.log.entries).toEqual([]);
  });
});

describe("a page", () => {
  test("lists what a search finds, and keeps what was typed", async () => {
    await using traces = await startStore();
    await traces.post([aSpan(1, { attributes: keyValues({ "lacewing.traffic": "remote_peer" }) })]);
    await stored(traces, 1);
    expect(await traces.get("/")).toMatchObject({ status: 302, headers: { location: "/search" } });
    const search = "/search?service=lacewing-peer&tags=lacewing.traffic%3D";
    const found = await traces.get(`${search}remote_peer`);
    expect(found.status).toBe(200);
    expect(found.text).toContain(`href="/trace/${TRACE}"`);
    expect(found.text).toContain('value="lacewing.traffic=remote_peer"');
    expect(found.text).toContain('<option value="lacewing-peer" selected>');
    expect((await traces.get(`${search}local_peer`)).text).toContain("No traces found");
    const mistyped = await traces.get("/search?minDuration=long");
    expect(mistyped.status).toBe(400);
    expect(mistyped.text).toContain("malformed parameter minDuration");
  });

  test("of a trace shows its spans, and nothing in them is taken for markup", async () => {
    await using traces = await startStore();
    await traces.post([
      aSpan(1),
      aSpan(2, { name: "<script>x</script>", parentSpanId: Buffer.from(idOf(1), "hex") }),
    ]);
    await stored(traces, 2);
    const { status, headers, text } = await traces.get(`/trace/${TRACE}`);
    expect(status).toBe(200);
    expect(headers["content-security-policy"]).toContain("default-src 'none'");
    expect(text).toContain("lacewing-peer: download");
    expect(text).toContain("&lt;script&gt;x");
    expect(text).not.toContain("<script");
  });
});

test("while Postgres is stopped queries say come back and spans wait; all of them are there afterwards", async () => {
  await using traces = await startStore({ bufferSpanCountMax: 3 });
  await traces.post([aSpan(1)]);
  await stored(traces, 1);
  await postgres.stop();
  try {
    for (const path of [`/api/v3/traces/${TRACE}`, "/search", "/healthz"]) {
      const { status, headers } = await traces.get(path);
      expect({ path, status, wait: headers["retry-after"] }).toEqual({
        path,
        status: 503,
        wait: "2",
      });
    }
    expect(await traces.post([aSpan(2), aSpan(3)])).toMatchObject({ status: 200 });
    expect(await traces.post([aSpan(4), aSpan(5)])).toEqual({ status: 503, retryAfter: "5" });
    expect(await traces.post([aSpan(4)])).toMatchObject({ status: 200 });
    expect(traces.writer.bufferedCount).toBe(3);
  } finally {
    await postgres.start();
  }
  await stored(traces, 4);
  expect((await traces.get("/healthz")).status).toBe(200);
  const told = traces.log.entries.filter(({ level }) => level !== "debug");
  expect(told.map(({ event }) => event)).toEqual([
    "span store unavailable",
    "span store recovered",
  ]);
});

test("old spans go, then the oldest of what is too much, no more than asked at once", async () => {
  await using traces = await startStore();
  await traces.post([1, 2, 3, 4, 5, 6].map((number) => aSpan(number)));
  await stored(traces, 6);
  const prune = async (startedBeforeMs: number, keptCountMax: number, deletedCountMax: number) =>
    traces.store.prune({
      startedBeforeUnixNano: BigInt(nano(startedBeforeMs)),
      keptCountMax,
      deletedCountMax,
    });
  const kept = async () => (await readSpans(traces.queryUrl, TRACE)).map(({ spanId }) => spanId);
  expect(await prune(0, 6, 100)).toBe(0);
  expect(await prune(2, 6, 100)).toBe(2);
  expect(await kept()).toEqual([3, 4, 5, 6].map(idOf));
  expect(await prune(0, 2, 1)).toBe(1);
  expect(await kept()).toEqual([4, 5, 6].map(idOf));
  expect(await prune(0, 2, 100)).toBe(1);
  expect(await kept()).toEqual([5, 6].map(idOf));
});

async function startStore(options: { readonly bufferSpanCountMax?: number } = {}) {
  return startTraceStore(await postgres.createMigratedDatabase(), options);
}

/** In the order in which the database keeps them: by length, then by letter. */
const ATTRIBUTES = [
  ...keyValueJson("flag", { boolValue: true }),
  ...keyValueJson("part", { doubleValue: 0.5 }),
  ...keyValueJson("whole", { intValue: "12" }),
];

function keyValueJson(key: string, value: object) {
  return [{ key, value }];
}

async function json(traces: TraceStore, path: string): Promise<unknown> {
  return JSON.parse((await traces.get(path)).text);
}
