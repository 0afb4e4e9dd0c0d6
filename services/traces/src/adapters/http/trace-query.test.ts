import { describe, expect, test } from "vitest";
import { parseDuration, parseTime, traceQueryOfApi, traceQueryOfPage } from "./trace-query.ts";

const RANGE =
  "query.start_time_min=2026-01-01T00:00:00Z&query.start_time_max=2026-01-02T00:00:00.5%2B01:00";
const api = (text: string) => traceQueryOfApi(new URLSearchParams(text));
const page = (text: string) => traceQueryOfPage(new URLSearchParams(text), 1_000_000);

describe("Jaeger's query", () => {
  test("is read in snake_case and in camelCase", () => {
    const snake = api(
      `${RANGE}&query.service_name=p&query.num_traces=3&query.duration_min=1.5s&query.attributes=%7B"a":1%7D`,
    );
    const camel = api(
      "query.startTimeMin=2026-01-01T00:00:00Z&query.startTimeMax=2026-01-01T23:00:00.5Z&query.serviceName=p&query.searchDepth=3&query.durationMin=1500ms&query.attributes=%7B%22a%22:%221%22%7D",
    );
    expect(snake).toEqual(camel);
    expect(snake).toMatchObject({
      service: "p",
      traceCountMax: 3,
      durationMinNano: 1_500_000_000n,
      attributes: { a: "1" },
    });
  });

  test.each([
    ["", "query.startTimeMin is required"],
    ["query.start_time_min=2026-01-01T00:00:00Z", "query.startTimeMax is required"],
    [
      "query.start_time_min=yesterday&query.start_time_max=today",
      "malformed parameter query.start_time_min",
    ],
    [`${RANGE}&query.duration_max=5`, "malformed parameter query.duration_max"],
    [`${RANGE}&query.attributes=[1]`, "malformed parameter query.attributes"],
    [`${RANGE}&query.attributes={`, "malformed parameter query.attributes"],
    [`${RANGE}&query.search_depth=0`, "malformed parameter query.search_depth"],
  ])("%s is refused by name", (text, message) => {
    expect(() => api(text)).toThrow(message);
  });

  test("never asks for more traces than the limit", () => {
    expect(api(`${RANGE}&query.num_traces=99999`).traceCountMax).toBe(500);
  });
});

describe("the search page's query", () => {
  test("looks an hour back from now when nothing is said", () => {
    expect(page("").query).toMatchObject({
      service: undefined,
      startMinUnixNano: 1_000_000_000_000n - 3_600_000_000_000n,
      traceCountMax: 20,
      attributes: {},
    });
  });

  test("takes tags as pairs, quoted pairs and JSON", () => {
    expect(page('tags=a=1 b="x y" c=').query.attributes).toEqual({ a: "1", b: "x y", c: "" });
    expect(page('tags={"a":true}').query.attributes).toEqual({ a: "true" });
    expect(() => page("tags=novalue")).toThrow("malformed parameter tags");
  });
});

test("durations are Go's, and days", () => {
  expect(["1h30m", "1.5s", "200ms", "3us", "2d", "5", "", "1x", "1s!"].map(parseDuration)).toEqual([
    5_400_000_000_000n,
    1_500_000_000n,
    200_000_000n,
    3000n,
    172_800_000_000_000n,
    undefined,
    undefined,
    undefined,
    undefined,
  ]);
});

test("times keep nanoseconds and mind the zone", () => {
  expect(parseTime("1970-01-01T00:00:01.000000001Z")).toBe(1_000_000_001n);
  expect(parseTime("1970-01-01T01:00:00+01:00")).toBe(0n);
  expect(parseTime("2026-13-01T00:00:00Z")).toBeUndefined();
});
