import { expect, test } from "vitest";
import { ruleOf } from "../../core/rules.ts";
import { HOT_ANSWER_COUNT_MAX, HotAnswers } from "./hot-answers.ts";
import { parseRequestTarget } from "./request-target.ts";

const RULE = ruleOf({ regex: ".*", access: "public" });
const WRITTEN = { status: 200, headers: ["A", "b"], again: { begin: () => undefined } };

function asked(url: string, fields: readonly string[] = [], change: Partial<Asked> = {}): Asked {
  return {
    url,
    method: "GET",
    httpVersion: "1.1",
    rawHeaders: ["Host", "o", ...fields],
    ...change,
  };
}
type Asked = Parameters<HotAnswers["of"]>[0];

function remember(hot: HotAnswers, request: Asked): void {
  const target = parseRequestTarget(request.url ?? "");
  if (target.kind !== "origin") throw new TypeError(`no origin: ${request.url}`);
  hot.memoryOf(request, target, RULE)(WRITTEN);
}

const URL = "http://o/x";

test.each([
  [[]],
  [["User-Agent", "curl/8", "Accept", "*/*"]],
  [["accept-encoding", "gzip", "Accept-Language", "de", "Accept-Charset", "utf-8"]],
  [["Connection", "Keep-Alive", "Proxy-Connection", "keep-alive"]],
])("a request that says %j is answered from memory", (fields) => {
  const hot = new HotAnswers();
  remember(hot, asked(URL));
  expect(hot.of(asked(URL, fields))).toBeDefined();
});

test.each<[string, readonly string[], Partial<Asked>]>([
  ...[
    "Range",
    "If-Range",
    "If-None-Match",
    "If-Match",
    "If-Modified-Since",
    "If-Unmodified-Since",
    "Authorization",
    "Proxy-Authorization",
    "Cookie",
    "Cache-Control",
    "Pragma",
    "traceparent",
    "Via",
    "Expect",
    "TE",
    "Upgrade",
    "Content-Length",
    "Transfer-Encoding",
    "Max-Forwards",
    "Origin",
    "Sec-Fetch-Site",
    "X-Anything",
  ].map((name): [string, readonly string[], Partial<Asked>] => [name, [name, "1"], {}]),
  ["Connection: close", ["Connection", "close"], {}],
  ["Connection: keep-alive, x", ["Connection", "keep-alive, x"], {}],
  ["HEAD", [], { method: "HEAD" }],
  ["POST", [], { method: "POST" }],
  ["HTTP/1.0", [], { httpVersion: "1.0" }],
  ["another URL", [], { url: `${URL}?` }],
])("a request with %s is neither answered from memory nor remembered", (_what, fields, change) => {
  const hot = new HotAnswers();
  const other = asked(URL, fields, change);
  remember(hot, asked(URL));
  expect(hot.of(other)).toBeUndefined();
  const fresh = new HotAnswers();
  remember(fresh, other);
  expect(fresh.of(asked(URL))).toBeUndefined();
});

test("neither credentials nor endless URLs are kept", () => {
  const hot = new HotAnswers();
  for (const url of [
    "http://me:secret@o/x",
    "http://me:s%zz@o/x",
    `http://o/${"x".repeat(3000)}`,
  ]) {
    remember(hot, asked(url));
    expect(hot.of(asked(url))).toBeUndefined();
  }
});

test("what was not asked for longest is forgotten", () => {
  const hot = new HotAnswers();
  for (let index = 0; index < HOT_ANSWER_COUNT_MAX; index++) remember(hot, asked(`${URL}${index}`));
  expect(hot.of(asked(`${URL}0`))).toBeDefined();
  remember(hot, asked(`${URL}new`));
  expect(hot.of(asked(`${URL}1`))).toBeUndefined();
  for (const kept of ["0", "2", "new"]) expect(hot.of(asked(`${URL}${kept}`))).toBeDefined();
});
