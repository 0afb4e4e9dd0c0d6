import { expect, test } from "vitest";
import { credentialsIn } from "./credentials.ts";
import type { HeaderList } from "./http-headers.ts";

const SHOWN: HeaderList = [
  ["Authorization", "Basic YTpi"],
  ["Cookie", "session=1"],
];

test("how a client wants its answer is no credential", () => {
  const wishes: HeaderList = [
    ["Range", "bytes=0-9"],
    ["If-Range", '"1"'],
    ["User-Agent", "curl"],
    ["Accept-Encoding", "gzip"],
    ["Via", "1.1 a"],
    ["traceparent", "00-1-1-01"],
  ];
  expect(credentialsIn([...wishes, ...SHOWN])).toEqual(credentialsIn(SHOWN));
});

test("the order and case of names do not matter", () => {
  expect(credentialsIn([["COOKIE", "session=1"], ...SHOWN.slice(0, 1)])).toEqual(
    credentialsIn(SHOWN),
  );
});

test.each(["Private-Token", "X-Api-Key", "Referer", "JOB-TOKEN", "Origin", "x-anything"])(
  "%s may be one",
  (name) => {
    expect(credentialsIn([...SHOWN, [name, "a"]])).not.toEqual(credentialsIn(SHOWN));
    expect(credentialsIn([[name, "a"]])).not.toEqual(credentialsIn([[name, "b"]]));
  },
);
