import { describe, expect, test } from "vitest";
import { browserProblem } from "./request-checks.ts";

const HOST = ["Host", "127.0.0.1:65001"] as const;

describe("a request by the URL prefix", () => {
  test.each(["127.0.0.1:65001", "127.8.0.1", "[::1]:65001", "localhost:65001", "lfs.localhost"])(
    "of a program at %s is answered",
    (host) => {
      expect(browserProblem([["Host", host]], true)).toBeUndefined();
    },
  );

  test.each([
    ["a page of another site", [HOST, ["Sec-Fetch-Site", "cross-site"]]],
    ["a page that was fetched through the prefix", [HOST, ["Sec-Fetch-Site", "same-origin"]]],
    ["a navigation", [HOST, ["Sec-Fetch-Site", "none"], ["Sec-Fetch-Mode", "navigate"]]],
    ["a script", [HOST, ["Origin", "http://127.0.0.1:65001"]]],
    ["a name bound to this address by somebody else", [["Host", "rebound.example:65001"]]],
  ] as const)("of %s is refused", (_what, headers) => {
    expect(browserProblem(headers, true)?.status).toBe(403);
  });

  test("may name the machine when the port is there for other machines", () => {
    expect(browserProblem([["Host", "proxy.example:65001"]], false)).toBeUndefined();
  });
});
