import { afterEach, beforeEach, describe, expect, test } from "vitest";
// @boundaries-ignore tests share builders that no service ships
import { bytesOf, seededContent } from "../../../../test/support/content.ts";
// @boundaries-ignore tests share builders that no service ships
import { anchoredPath, PeerWorld } from "../../../../test/support/peer-world.ts";
import { headerOf, type HeaderList } from "../core/http-headers.ts";

/**
 * Goal: parts and conditions are answered the same, and right, whether the content is held, held in part, or not here at all, and
 * whether its URL names it or not.
 *
 * Method: one table of requests and what RFC 9110 says to each, for each of these.
 */
const MIB = 2 ** 20;
const LENGTH = MIB + 5000;
const ETAG = '"the-one"';
const CHANGED = "Sun, 06 Nov 1994 08:49:37 GMT";
const EARLIER = "Sat, 05 Nov 1994 08:49:37 GMT";

type Expected =
  | { readonly status: 200 | 304 | 412 | 416 }
  /** Spans of the content, one or several. */
  | { readonly status: 206; readonly spans: readonly (readonly [start: number, end: number])[] };
const whole = { status: 200 } as const;
const part = (...spans: (readonly [number, number])[]) => ({ status: 206, spans }) as const;

const REQUESTS: readonly (readonly [headers: HeaderList, expected: Expected])[] = [
  [[], whole],
  [[["Range", "bytes=0-0"]], part([0, 1])],
  [[["Range", `bytes=${MIB - 5}-${MIB + 4}`]], part([MIB - 5, MIB + 5])],
  [[["Range", `bytes=${MIB}-`]], part([MIB, LENGTH])],
  [[["Range", "bytes=-10"]], part([LENGTH - 10, LENGTH])],
  [[["Range", `bytes=${LENGTH - 3}-${LENGTH + 99}`]], part([LENGTH - 3, LENGTH])],
  [[["Range", `bytes=-${LENGTH * 2}`]], part([0, LENGTH])],
  [
    [["Range", `bytes=5-9,${MIB}-${MIB + 2},-4`]],
    part([5, 10], [MIB, MIB + 3], [LENGTH - 4, LENGTH]),
  ],
  [[["Range", `bytes=5-9,${LENGTH}-`]], part([5, 10])],
  [[["Range", "bytes=5-9,8-12"]], part([5, 13])],
  [[["Range", `bytes=${LENGTH}-`]], { status: 416 }],
  [[["Range", "bytes=-0"]], { status: 416 }],
  [[["Range", "bytes=9-5"]], whole],
  [[["Range", "lines=1-2"]], whole],
  [
    [
      ["Range", "bytes=1-2"],
      ["Range", "bytes=3-4"],
    ],
    whole,
  ],
  [
    [
      ["Range", "bytes=5-9"],
      ["If-Range", ETAG],
    ],
    part([5, 10]),
  ],
  [
    [
      ["Range", "bytes=5-9"],
      ["If-Range", '"another"'],
    ],
    whole,
  ],
  [
    [
      ["Range", "bytes=5-9"],
      ["If-Range", `W/${ETAG}`],
    ],
    whole,
  ],
  [
    [
      ["Range", "bytes=5-9"],
      ["If-Range", CHANGED],
    ],
    part([5, 10]),
  ],
  [
    [
      ["Range", "bytes=5-9"],
      ["If-Range", EARLIER],
    ],
    whole,
  ],
  [[["If-None-Match", ETAG]], { status: 304 }],
  [[["If-None-Match", `"a", W/${ETAG}`]], { status: 304 }],
  [[["If-None-Match", "*"]], { status: 304 }],
  [[["If-None-Match", '"another"']], whole],
  [
    [
      ["If-None-Match", '"another"'],
      ["If-Modified-Since", CHANGED],
    ],
    whole,
  ],
  [[["If-Modified-Since", CHANGED]], { status: 304 }],
  [[["If-Modified-Since", EARLIER]], whole],
  [[["If-Modified-Since", "yesterday"]], whole],
  [[["If-Match", ETAG]], whole],
  [[["If-Match", '"another"']], { status: 412 }],
  [[["If-Match", `W/${ETAG}`]], { status: 412 }],
  [[["If-Unmodified-Since", CHANGED]], whole],
  [[["If-Unmodified-Since", EARLIER]], { status: 412 }],
  [
    [
      ["If-Match", ETAG],
      ["If-Unmodified-Since", EARLIER],
    ],
    whole,
  ],
  [
    [
      ["Range", "bytes=5-9"],
      ["If-None-Match", ETAG],
    ],
    { status: 304 },
  ],
  [
    [
      ["Range", "bytes=5-9"],
      ["If-Match", '"another"'],
    ],
    { status: 412 },
  ],
  [
    [
      ["Range", `bytes=${LENGTH}-`],
      ["If-Match", '"another"'],
    ],
    { status: 412 },
  ],
];

const STATES = ["not held", "held in part", "held"] as const;

let world: PeerWorld;
let content: Buffer;
beforeEach(async () => {
  world = new PeerWorld({ isHurried: true });
  content = await bytesOf(seededContent("conformance", LENGTH));
  world.onRequest((request) => world.grantOrigin(request));
});
afterEach(async () => world.close());

async function offered(path: string, state: (typeof STATES)[number]): Promise<string> {
  const headers: HeaderList = [
    ["Content-Type", "application/x-test"],
    ["Last-Modified", CHANGED],
  ];
  world.origin.add(path, content, { etag: ETAG, headers });
  const url = `http://origin.test${path}`;
  if (state === "held in part") await world.get(url, [["Range", `bytes=${MIB}-${MIB + 9}`]]);
  if (state === "held") await world.get(url);
  return url;
}

/** The parts of a body, as its own Content-Range or those of its parts say where they belong. */
function partsOf(headers: HeaderList, body: Buffer): (readonly [range: string, bytes: string])[] {
  const type = headerOf(headers, "content-type") ?? "";
  const boundary = /^multipart\/byteranges; boundary=(.+)$/.exec(type)?.[1];
  const text = body.toString("latin1");
  if (boundary === undefined) return [[headerOf(headers, "content-range") ?? "", text]];
  const parts = text.split(`--${boundary}`).slice(1, -1);
  return parts.map((each) => {
    const [, head = "", bytes = ""] = /^\r\n([^]*?\r\n)\r\n([^]*)\r\n$/.exec(each) ?? [];
    expect(head).toContain("Content-Type: application/x-test\r\n");
    return [/^Content-Range: (.*)\r$/m.exec(head)?.[1] ?? "", bytes] as const;
  });
}

for (const state of STATES) {
  for (const kind of ["named by its URL", "known by its validator"] as const) {
    describe(`content that is ${state} and ${kind}`, () => {
      const path = () => (kind === "named by its URL" ? anchoredPath(content) : "/file");

      test.each(REQUESTS)("answers %j with %j", async (requestHeaders, expected) => {
        const url = await offered(path(), state);
        const { answer, bytes, error } = await world.get(url, requestHeaders);
        expect([answer.status, error]).toEqual([expected.status, undefined]);
        expect(bytes.length).toBe(answer.bodyLength);
        const spans = expected.status === 206 ? expected.spans : [];
        const wanted = spans.map(([start, end]) => [
          `bytes ${start}-${end - 1}/${LENGTH}`,
          content.toString("latin1", start, end),
        ]);
        const got = expected.status === 206 ? partsOf(answer.headers, bytes) : [];
        expect(got).toEqual(wanted);
        expect(
          expected.status === 200
            ? bytes.equals(content)
            : bytes.length < LENGTH || spans.length === 1,
        ).toBe(true);
        const isError = expected.status === 412 || expected.status === 416;
        expect(headerOf(answer.headers, "etag")).toBe(isError ? undefined : ETAG);
        const unsatisfied = expected.status === 416 ? `bytes */${LENGTH}` : undefined;
        const told =
          expected.status === 416 ? headerOf(answer.headers, "content-range") : undefined;
        expect(told).toBe(unsatisfied);
      });
    });
  }
}
