import { describe, expect, test } from "vitest";
import { durationText, html, Html, timeText } from "./html.ts";
import { jaegerUiTraceOf, otlpJsonOf } from "./jaeger.ts";
import { searchPage } from "./search-page.ts";
import { parseTraceId, type SpanRecord } from "./span.ts";
import { STYLE } from "./style.ts";
import { tracePage } from "./trace-page.ts";
import { summaryOf } from "./trace-summary.ts";

const ATTACK = `"'><script>alert(1)</script><img src=x onerror=alert(1)>`;

/** A span in which every text is an attack. */
const hostile: SpanRecord = {
  traceId: "a".repeat(32),
  spanId: "b".repeat(16),
  parentSpanId: "c".repeat(16),
  service: ATTACK,
  name: ATTACK,
  kind: "server",
  startUnixNano: 1_795_356_000_123_000_000n,
  endUnixNano: 1_795_356_000_223_000_000n,
  status: "error",
  statusMessage: ATTACK,
  scope: ATTACK,
  attributes: { [ATTACK]: ATTACK, list: [ATTACK], "lacewing.url": `javascript:${ATTACK}` },
  resource: { "service.name": ATTACK, "service.instance.id": ATTACK, [ATTACK]: ATTACK },
  events: [{ name: ATTACK, unixNano: "1795356000124000000", attributes: { [ATTACK]: ATTACK } }],
  links: [{ traceId: "d".repeat(32), spanId: "e".repeat(16), attributes: { [ATTACK]: ATTACK } }],
};

/** What a browser would take as markup beyond our own. */
const MARKUP_OF_ATTACK = /<script|<img|"'>|href="javascript/i;

describe("a page", () => {
  test("of a trace shows hostile names and values as text only", () => {
    const page = tracePage(hostile.traceId, [hostile], true);
    expect(page).not.toMatch(MARKUP_OF_ATTACK);
    expect(page).toContain("&quot;&#39;&gt;&lt;script&gt;alert(1)&lt;/script&gt;");
  });

  test("of a search shows hostile names, values and questions as text only", () => {
    const summary = summaryOf([hostile], ["lacewing.url", ATTACK]);
    const form = {
      service: ATTACK,
      operation: ATTACK,
      lookback: ATTACK,
      minDuration: ATTACK,
      maxDuration: ATTACK,
      tags: ATTACK,
      limit: ATTACK,
      services: [ATTACK],
      operations: [ATTACK],
    };
    expect(searchPage(form, summary === undefined ? [] : [summary], ATTACK)).not.toMatch(
      MARKUP_OF_ATTACK,
    );
  });

  test("holds its style byte for byte, because the policy allows it by hash, and no other", () => {
    const page = tracePage(hostile.traceId, [hostile], false);
    expect(page).toContain(`<style>${STYLE}</style>`);
    expect(page).not.toMatch(/ style=|<link|<script|url\(/);
  });
});

test("a template escapes what is put in, except html, also a falsy value", () => {
  expect(html`<b>${"<i>"}</b>${[html`<u>${0}</u>`]}${new Html("<hr>")}`.text).toBe(
    "<b>&lt;i&gt;</b><u>0</u><hr>",
  );
});

test("lengths and moments are written for people", () => {
  expect(
    [0n, 999n, 12_345n, 4_560_000n, 1_230_000_000n, 125_000_000_000n].map(durationText),
  ).toEqual(["0 ns", "999 ns", "12.3 µs", "4.56 ms", "1.23 s", "2 m 5 s"]);
  expect(timeText(1_795_356_000_123_000_000n)).toBe("2026-11-22 14:00:00.123");
});

test("a trace id is taken without leading zeros and in capitals, and only as hex", () => {
  expect(parseTraceId("ABC1")).toBe("abc1".padStart(32, "0"));
  expect(["", "0", "xyz", "a".repeat(33), "a b"].map(parseTraceId)).toEqual(
    Array(5).fill(undefined),
  );
});

describe("Jaeger's shapes", () => {
  const spans: SpanRecord[] = [
    {
      ...hostile,
      service: "lacewing-peer",
      name: "serve",
      scope: "lacewing",
      statusMessage: "gone",
      attributes: { text: "t", whole: 7, part: 1.5, flag: true, none: null, list: [1, "a"] },
      resource: { "service.name": "lacewing-peer", "service.instance.id": "h1" },
      events: [{ name: "slow", unixNano: "1795356000124000000", attributes: {} }],
      links: [],
    },
  ];

  test("OTLP JSON has hex ids, times as strings and typed values", () => {
    expect(otlpJsonOf(spans)).toMatchObject({
      resourceSpans: [
        {
          resource: {
            attributes: [{ key: "service.name", value: { stringValue: "lacewing-peer" } }, {}],
          },
          scopeSpans: [
            {
              scope: { name: "lacewing" },
              spans: [
                {
                  traceId: "a".repeat(32),
                  parentSpanId: "c".repeat(16),
                  kind: 2,
                  startTimeUnixNano: "1795356000123000000",
                  status: { code: 2, message: "gone" },
                  attributes: [
                    { key: "text", value: { stringValue: "t" } },
                    { key: "whole", value: { intValue: "7" } },
                    { key: "part", value: { doubleValue: 1.5 } },
                    { key: "flag", value: { boolValue: true } },
                    { key: "none", value: {} },
                    {
                      key: "list",
                      value: { arrayValue: { values: [{ intValue: "1" }, { stringValue: "a" }] } },
                    },
                  ],
                },
              ],
            },
          ],
        },
      ],
    });
  });

  test("UI JSON has microseconds, references, typed tags and processes by id", () => {
    expect(jaegerUiTraceOf("a".repeat(32), spans)).toMatchObject({
      traceID: "a".repeat(32),
      processes: {
        p1: { serviceName: "lacewing-peer", tags: [{ key: "service.instance.id", value: "h1" }] },
      },
      spans: [
        {
          operationName: "serve",
          references: [{ refType: "CHILD_OF", spanID: "c".repeat(16) }],
          startTime: 1_795_356_000_123_000,
          duration: 100_000,
          processID: "p1",
          logs: [{ timestamp: 1_795_356_000_124_000, fields: [{ key: "event", value: "slow" }] }],
        },
      ],
    });
    const [span] = jaegerUiTraceOf("a".repeat(32), spans).spans;
    expect(span?.tags).toContainEqual({ key: "span.kind", type: "string", value: "server" });
    expect(span?.tags).toContainEqual({ key: "error", type: "bool", value: true });
    expect(span?.tags).toContainEqual({ key: "whole", type: "int64", value: 7 });
  });
});
