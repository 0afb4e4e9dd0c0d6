import { expect, test } from "vitest";
import { credentialsIn, isBoundToRequest } from "./credentials.ts";
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

const AWS = "AWS4-HMAC-SHA256 Credential=AK/20260101/r/s3/aws4_request,SignedHeaders=";
test.each<[boolean, string, string, HeaderList]>([
  [true, 'Digest username="u", nc=00000001', "", []],
  [true, "digest username=u", "", []],
  [true, `${AWS}host;range;x-amz-date, Signature=0`, "", []],
  [true, `${AWS}host;If-Range, Signature=0`, "", []],
  [true, `${AWS}host;if-none-match, Signature=0`, "", []],
  [true, `${AWS}accept-encoding;host,Signature=0`, "", [["Accept-Encoding", "gzip"]]],
  [true, "GOOG4-RSA-SHA256 Credential=a, SignedHeaders=host;range, Signature=0", "", []],
  [true, "", "?X-Amz-Date=1&X-Amz-SignedHeaders=host%3Brange", []],
  [false, `${AWS}accept-encoding;host,Signature=0`, "", [["Accept-Encoding", "identity"]]],
  [false, `${AWS}host;x-amz-content-sha256;x-amz-date, Signature=0`, "", [["Range", "bytes=0-1"]]],
  [false, "", "?X-Amz-SignedHeaders=host&q=;range", []],
  [false, "Bearer SignedHeaders=range", "", []],
  [false, "Basic YTpi", "", []],
])(
  "that a request can only be made once or as it is (%s) is seen by %s%s",
  (isBound, field, search, more) => {
    const authorization: HeaderList = field === "" ? [] : [["Authorization", field]];
    expect(isBoundToRequest([...authorization, ...more], { search })).toBe(isBound);
  },
);
