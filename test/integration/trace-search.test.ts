import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { z } from "zod";
import { startTestPostgres, type TestPostgres } from "../support/postgres.ts";
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

let postgres: TestPostgres;
let traces: TraceStore;
beforeAll(async () => {
  postgres = await startTestPostgres();
  traces = await startTraceStore(await postgres.createMigratedDatabase());
  await fill(traces);
});
afterAll(async () => {
  await traces[Symbol.asyncDispose]();
  await postgres[Symbol.asyncDispose]();
});

const RANGE =
  `query.startTimeMin=${new Date(START_MS - 1000).toISOString()}` +
  `&query.startTimeMax=${new Date(START_MS + 10_000).toISOString()}`;

describe("a search", () => {
  const BOTH = [OTHER_TRACE, TRACE];
  test.each([
    ["nothing but a time range", "", BOTH],
    ["a service", "query.serviceName=lacewing-peer", [TRACE]],
    ["a service in snake case", "query.service_name=lacewing-scheduler", [OTHER_TRACE]],
    ["an operation", "query.operationName=schedule", [OTHER_TRACE]],
    [
      "service and operation of different spans",
      "query.serviceName=lacewing-peer&query.operationName=schedule",
      [],
    ],
    ["an attribute", attributes({ "lacewing.traffic": "remote_peer" }), [TRACE]],
    ["another value of it", attributes({ "lacewing.traffic": "local_peer" }), []],
    ["a number as text", attributes({ "lacewing.piece.count": "12" }), [TRACE]],
    ["a number", attributes({ "lacewing.piece.count": 12 }), [TRACE]],
    ["a truth", attributes({ "lacewing.degraded": true }), [OTHER_TRACE]],
    ["an attribute of the process", attributes({ "service.instance.id": "s-1" }), [OTHER_TRACE]],
    ["a failure", attributes({ error: true }), [OTHER_TRACE]],
    [
      "two attributes of which one differs",
      attributes({ "lacewing.traffic": "remote_peer", x: 1 }),
      [],
    ],
    ["a least duration", "query.durationMin=1s", [OTHER_TRACE]],
    ["a greatest duration", "query.durationMax=1s", [TRACE]],
    [
      "a duration that both bounds meet",
      "query.durationMin=2s&query.durationMax=2s",
      [OTHER_TRACE],
    ],
    ["the newest only", "query.searchDepth=1", [OTHER_TRACE]],
  ])("for %s finds the traces that meet it, newest first", async (_name, conditions, expected) => {
    const { status, text } = await traces.get(`/api/v3/traces?${RANGE}&${conditions}`);
    expect(status).toBe(expected.length === 0 ? 404 : 200);
    expect(expected.length === 0 ? [] : traceIdsOf(text)).toEqual(expected);
  });

  test("finds the whole trace of a span that meets it", async () => {
    const { text } = await traces.get(`/api/v3/traces?${RANGE}&query.operationName=piece.fetch`);
    expect(spanIdsOf(text)).toEqual([idOf(1), idOf(3)]);
  });

  test("looks only at spans that started in its time range", async () => {
    const between = (from: number, to: number) =>
      `/api/v3/traces?query.startTimeMin=${timeAt(from)}&query.startTimeMax=${timeAt(to)}`;
    expect(traceIdsOf((await traces.get(between(0, 0))).text)).toEqual([TRACE]);
    expect(traceIdsOf((await traces.get(between(500, 500))).text)).toEqual([OTHER_TRACE]);
    expect((await traces.get(between(1, 499))).status).toBe(404);
  });

  test.each([
    ["without an end of its time range", `query.startTimeMin=${timeAt(0)}`, "startTimeMax"],
    ["without a start of its time range", `query.startTimeMax=${timeAt(0)}`, "startTimeMin"],
    [
      "with a time that is none",
      `query.startTimeMin=soon&query.startTimeMax=${timeAt(0)}`,
      "startTimeMin",
    ],
    ["with a duration that is none", `${RANGE}&query.durationMin=long`, "durationMin"],
    ["with attributes that are no object", `${RANGE}&query.attributes=5`, "attributes"],
    ["for no trace at all", `${RANGE}&query.searchDepth=0`, "searchDepth"],
  ])("%s is told which parameter is wrong", async (_name, conditions, parameter) => {
    const { status, text } = await traces.get(`/api/v3/traces?${conditions}`);
    expect(status).toBe(400);
    expect(text).toContain(`query.${parameter}`);
  });
});

/** A fast download with a fetch in it; half a second later, in another trace, a slow decision that failed. */
async function fill(traces: TraceStore): Promise<void> {
  await traces.post([
    aSpan(1, {
      attributes: keyValues({ "lacewing.traffic": "remote_peer", "lacewing.piece.count": 12 }),
    }),
    aSpan(3, { name: "piece.fetch", startTimeUnixNano: nano(0) }),
  ]);
  await traces.post(
    [
      aSpan(2, {
        traceId: Buffer.from(OTHER_TRACE, "hex"),
        name: "schedule",
        startTimeUnixNano: nano(500),
        endTimeUnixNano: nano(2500),
        attributes: keyValues({ "lacewing.degraded": true }),
        status: { code: 2, message: "broken" },
      }),
    ],
    { "service.name": "lacewing-scheduler", "service.instance.id": "s-1" },
  );
  await stored(traces, 3);
}

function timeAt(ms: number): string {
  return new Date(START_MS + ms).toISOString();
}

function attributes(wanted: Readonly<Record<string, unknown>>): string {
  return `query.attributes=${encodeURIComponent(JSON.stringify(wanted))}`;
}

const SPANS = z.object({
  result: z.object({
    resourceSpans: z.array(
      z.object({
        scopeSpans: z.array(
          z.object({ spans: z.array(z.object({ traceId: z.string(), spanId: z.string() })) }),
        ),
      }),
    ),
  }),
});

function spansOf(text: string) {
  return SPANS.parse(JSON.parse(text)).result.resourceSpans.flatMap(({ scopeSpans }) =>
    scopeSpans.flatMap(({ spans }) => spans),
  );
}

function traceIdsOf(text: string): readonly string[] {
  return [...new Set(spansOf(text).map(({ traceId }) => traceId))];
}

function spanIdsOf(text: string): readonly string[] {
  return spansOf(text).map(({ spanId }) => spanId);
}
