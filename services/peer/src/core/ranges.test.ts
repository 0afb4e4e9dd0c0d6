import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parseContentRange } from "./content-range.ts";
import { headerOf, type HeaderList } from "./http-headers.ts";
import { parseHttpDate } from "./http-date.ts";
import {
  parseRange,
  planResponse,
  RANGE_COUNT_MAX,
  wantedSpan,
  type Representation,
} from "./ranges.ts";

const spansOf = (field: string, lengthBytes: number) => {
  const selection = parseRange(field, lengthBytes);
  return selection.kind === "spans"
    ? selection.spans.map(({ start, end }) => [start, end])
    : selection.kind;
};

describe("a Range field", () => {
  test.each([
    ["bytes=0-0", [[0, 1]]],
    ["bytes=10-19", [[10, 20]]],
    ["bytes=90-", [[90, 100]]],
    ["bytes=90-1000", [[90, 100]]],
    ["bytes=-5", [[95, 100]]],
    ["bytes=-1000", [[0, 100]]],
    [
      "Bytes = 1-2 , , 5-6",
      [
        [1, 3],
        [5, 7],
      ],
    ],
    [
      "bytes=50-59,0-9",
      [
        [50, 60],
        [0, 10],
      ],
    ],
    ["bytes=0-9,200-300", [[0, 10]]],
    ["bytes=0-99999999999999999999", [[0, 100]]],
  ])("%s selects %j of 100 bytes", (field, spans) => {
    expect(spansOf(field, 100)).toEqual(spans);
  });

  test.each([
    "bytes=5-4",
    "bytes=a-b",
    "bytes=-",
    "bytes=1",
    "items=0-1",
    "0-1",
    "bytes=0x1-2",
    "bytes=",
  ])("%s is ignored", (field) => {
    expect(spansOf(field, 100)).toBe("whole");
  });

  test.each(["bytes=100-", "bytes=-0", "bytes=100-200,300-"])("%s is unsatisfiable", (field) => {
    expect(spansOf(field, 100)).toBe("unsatisfiable");
  });

  test("of ranges that overlap or touch is joined where the first of them stood", () => {
    expect(spansOf("bytes=50-59,0-9,55-70,10-19", 100)).toEqual([
      [50, 71],
      [0, 20],
    ]);
    expect(spansOf("bytes=0-9,20-29,5-25", 100)).toEqual([[0, 30]]);
  });

  test("with more ranges than anybody needs is ignored", () => {
    const many = (count: number) =>
      `bytes=${Array.from({ length: count }, (_, index) => `${index * 2}-${index * 2}`).join(",")}`;
    expect(spansOf(many(RANGE_COUNT_MAX), 1000)).toHaveLength(RANGE_COUNT_MAX);
    expect(spansOf(many(RANGE_COUNT_MAX + 1), 1000)).toBe("whole");
  });

  test("of empty content is unsatisfiable, except for a suffix, which is the whole", () => {
    expect(spansOf("bytes=0-", 0)).toBe("unsatisfiable");
    expect(spansOf("bytes=-5", 0)).toBe("whole");
  });
});

const spec = fc.oneof(
  fc
    .tuple(fc.nat(60), fc.nat(60))
    .map(([a, b]) => ({ text: `${a}-${a + b}`, has: (i: number) => i >= a && i <= a + b })),
  fc.nat(60).map((a) => ({ text: `${a}-`, has: (i: number) => i >= a })),
  fc.nat(60).map((n) => ({ text: `-${n}`, has: (i: number, length: number) => i >= length - n })),
);

/**
 * Goal: what is selected is exactly the union of what was asked, whatever the order and overlap, and no byte twice.
 *
 * Method: every byte of a short content is asked of the ranges one by one.
 */
test("the spans of any valid Range are apart and hold exactly the bytes that some range names", () => {
  fc.assert(
    fc.property(
      fc.array(spec, { minLength: 1, maxLength: 8 }),
      fc.integer({ min: 1, max: 50 }),
      (specs, length) => {
        const selection = parseRange(`bytes=${specs.map(({ text }) => text).join(",")}`, length);
        const spans = selection.kind === "spans" ? selection.spans : [];
        for (let index = 0; index < length; index++) {
          const holders = spans.filter(({ start, end }) => index >= start && index < end).length;
          expect(holders).toBe(specs.some(({ has }) => has(index, length)) ? 1 : 0);
        }
        for (const { start, end } of spans) {
          expect(start >= 0 && end <= length && start < end).toBe(true);
          expect(spans.some((other) => other.end === start)).toBe(false);
        }
      },
    ),
    { numRuns: 500 },
  );
});

test("no text makes the parsers fail", () => {
  fc.assert(
    fc.property(fc.string(), fc.nat(), (text, length) => {
      for (const field of [text, `bytes=${text}`, `bytes ${text}`]) {
        expect(["whole", "unsatisfiable", "spans"]).toContain(parseRange(field, length).kind);
        expect(() => [parseContentRange(field), parseHttpDate(field)]).not.toThrow();
      }
    }),
  );
});

const CONTENT: Representation = {
  lengthBytes: 100,
  etag: '"v1"',
  lastModified: "Sun, 06 Nov 1994 08:49:37 GMT",
  contentType: "text/plain",
  extraHeaders: [["Cache-Control", "max-age=60"]],
};
const plan = (
  requestHeaders: HeaderList,
  representation: Representation = CONTENT,
  method: "GET" | "HEAD" = "GET",
) => planResponse({ method, requestHeaders, representation, boundary: "BOUND" });

/** The body as a client sees it; content bytes are shown as dots. */
const bodyOf = (planned: ReturnType<typeof plan>) =>
  planned.parts.map(({ prefix, span }) => prefix + ".".repeat(span.end - span.start)).join("") +
  planned.suffix;

describe("an answer", () => {
  test("to a plain GET is the whole content with its validators", () => {
    const whole = plan([]);
    expect(whole.status).toBe(200);
    expect(whole.bodyLength).toBe(100);
    expect(wantedSpan(whole)).toEqual({ start: 0, end: 100 });
    expect(Object.fromEntries(whole.headers)).toEqual({
      "Content-Type": "text/plain",
      "Content-Length": "100",
      "Accept-Ranges": "bytes",
      ETag: '"v1"',
      "Last-Modified": CONTENT.lastModified,
      "Cache-Control": "max-age=60",
    });
  });

  test("to HEAD says the length, has no body and ignores Range", () => {
    const head = plan([["Range", "bytes=0-1"]], CONTENT, "HEAD");
    expect(head).toMatchObject({ status: 200, bodyLength: 0, parts: [] });
    expect(headerOf(head.headers, "content-length")).toBe("100");
  });

  test("with empty content has no parts", () => {
    expect(plan([], { ...CONTENT, lengthBytes: 0 })).toMatchObject({ status: 200, parts: [] });
  });

  test("to one range is 206 with Content-Range", () => {
    const part = plan([["Range", "bytes=-10"]]);
    expect(part).toMatchObject({ status: 206, bodyLength: 10 });
    expect(headerOf(part.headers, "content-range")).toBe("bytes 90-99/100");
    expect(wantedSpan(part)).toEqual({ start: 90, end: 100 });
  });

  test("to several ranges is multipart, as long as it says, and wants the hull", () => {
    const parts = plan([["Range", "bytes=50-51,0-2"]]);
    expect(headerOf(parts.headers, "content-type")).toBe("multipart/byteranges; boundary=BOUND");
    expect(bodyOf(parts)).toBe(
      "--BOUND\r\nContent-Type: text/plain\r\nContent-Range: bytes 50-51/100\r\n\r\n.." +
        "\r\n--BOUND\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-2/100\r\n\r\n..." +
        "\r\n--BOUND--\r\n",
    );
    expect(parts.bodyLength).toBe(bodyOf(parts).length);
    expect(headerOf(parts.headers, "content-length")).toBe(String(parts.bodyLength));
    expect(wantedSpan(parts)).toEqual({ start: 0, end: 52 });
  });

  test("to a range beyond the end is 416 and says the length", () => {
    const refused = plan([["Range", "bytes=100-"]]);
    expect(refused).toMatchObject({ status: 416, bodyLength: 0, parts: [] });
    expect(headerOf(refused.headers, "content-range")).toBe("bytes */100");
  });
});

test("for any Range the announced length is the length of the body", () => {
  fc.assert(
    fc.property(fc.array(spec, { maxLength: 6 }), fc.nat(60), (specs, lengthBytes) => {
      const field = `bytes=${specs.map(({ text }) => text).join(",")}`;
      const planned = plan([["Range", field]], { ...CONTENT, lengthBytes });
      expect(bodyOf(planned).length).toBe(planned.bodyLength);
      const announced = planned.status === 416 ? "0" : String(bodyOf(planned).length);
      expect(headerOf(planned.headers, "content-length")).toBe(announced);
    }),
  );
});

describe("preconditions", () => {
  const earlier = "Sat, 05 Nov 1994 08:49:37 GMT";
  const later = "Mon, 07 Nov 1994 08:49:37 GMT";
  test.each<[string, HeaderList, number]>([
    ["If-None-Match of the same tag", [["If-None-Match", '"x", "v1"']], 304],
    ["If-None-Match compares weakly", [["If-None-Match", 'W/"v1"']], 304],
    ["If-None-Match of anything", [["If-None-Match", "*"]], 304],
    ["If-None-Match of another tag", [["If-None-Match", '"v2"']], 200],
    ["If-Modified-Since of the same time", [["If-Modified-Since", CONTENT.lastModified]], 304],
    ["If-Modified-Since of an earlier time", [["If-Modified-Since", earlier]], 200],
    ["a malformed date", [["If-Modified-Since", "yesterday"]], 200],
    [
      "If-None-Match before If-Modified-Since",
      [
        ["If-Modified-Since", later],
        ["If-None-Match", '"v2"'],
      ],
      200,
    ],
    ["If-Match of the same tag", [["If-Match", '"v1"']], 200],
    ["If-Match compares strongly", [["If-Match", 'W/"v1"']], 412],
    ["If-Match of another tag", [["If-Match", '"v2"']], 412],
    ["If-Match of anything", [["If-Match", "*"]], 200],
    ["If-Unmodified-Since of an earlier time", [["If-Unmodified-Since", earlier]], 412],
    ["If-Unmodified-Since of a later time", [["If-Unmodified-Since", later]], 200],
    [
      "If-Match before If-Unmodified-Since",
      [
        ["If-Unmodified-Since", earlier],
        ["If-Match", '"v1"'],
      ],
      200,
    ],
    [
      "If-Match before If-None-Match",
      [
        ["If-None-Match", '"v1"'],
        ["If-Match", '"v2"'],
      ],
      412,
    ],
    [
      "a precondition before the range",
      [
        ["Range", "bytes=200-"],
        ["If-None-Match", '"v1"'],
      ],
      304,
    ],
    [
      "If-Range of the same tag",
      [
        ["Range", "bytes=0-0"],
        ["If-Range", '"v1"'],
      ],
      206,
    ],
    [
      "If-Range of another tag",
      [
        ["Range", "bytes=0-0"],
        ["If-Range", '"v2"'],
      ],
      200,
    ],
    [
      "If-Range compares strongly",
      [
        ["Range", "bytes=0-0"],
        ["If-Range", 'W/"v1"'],
      ],
      200,
    ],
    [
      "If-Range of exactly the date",
      [
        ["Range", "bytes=0-0"],
        ["If-Range", CONTENT.lastModified],
      ],
      206,
    ],
    [
      "If-Range of a later date",
      [
        ["Range", "bytes=0-0"],
        ["If-Range", later],
      ],
      200,
    ],
    [
      "If-Range that fails hides an unsatisfiable range",
      [
        ["Range", "bytes=200-"],
        ["If-Range", '"v2"'],
      ],
      200,
    ],
    [
      "two Range fields",
      [
        ["Range", "bytes=0-0"],
        ["Range", "bytes=1-1"],
      ],
      200,
    ],
  ])("%s", (_name, headers, status) => {
    expect(plan(headers).status).toBe(status);
  });

  test("content without validators fails If-Match, and no other condition stops it", () => {
    const unknown = { ...CONTENT, etag: "", lastModified: "" };
    expect(plan([["If-Match", '"v1"']], unknown).status).toBe(412);
    expect(plan([["If-None-Match", '"v1"']], unknown).status).toBe(200);
    expect(plan([["If-Modified-Since", later]], unknown).status).toBe(200);
    expect(
      plan(
        [
          ["Range", "bytes=0-0"],
          ["If-Range", ""],
        ],
        unknown,
      ).status,
    ).toBe(200);
  });

  test("a 304 repeats the validators and what caches need, and no length", () => {
    const headers = plan([["If-None-Match", '"v1"']]).headers;
    expect(headerOf(headers, "etag")).toBe('"v1"');
    expect(headerOf(headers, "cache-control")).toBe("max-age=60");
    expect(headerOf(headers, "content-length")).toBeUndefined();
  });
});

test.each([
  "Sun, 06 Nov 1994 08:49:37 GMT",
  "Sunday, 06-Nov-94 08:49:37 GMT",
  "Sun Nov  6 08:49:37 1994",
])("%s is 784111777 seconds after 1970", (text) => {
  expect(parseHttpDate(text)).toBe(784_111_777);
});

/** One fact per leap-year rule and century; seconds by `date -u +%s`. */
test.each([
  ["Thu, 01 Jan 1970 00:00:00 GMT", 0],
  ["Tue, 29 Feb 2000 12:00:00 GMT", 951_825_600],
  ["Thu, 29 Feb 2024 23:59:59 GMT", 1_709_251_199],
  ["Mon, 01 Mar 2100 00:00:00 GMT", 4_107_542_400],
  ["Wed, 31 Dec 1969 23:59:59 GMT", -1],
  ["Thu, 32 Jan 1970 00:00:00 GMT", undefined],
  ["Thu, 01 Foo 1970 00:00:00 GMT", undefined],
])("%s is %s seconds after 1970", (text, seconds) => {
  expect(parseHttpDate(text)).toBe(seconds);
});
