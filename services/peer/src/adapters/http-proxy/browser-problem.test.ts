import { hostname } from "node:os";
import { describe, expect, test } from "vitest";
import { browserProblem, portNames } from "./request-checks.ts";

const LOOPBACK = portNames("127.0.0.1", ["proxy.example"]);
const PUBLIC = portNames("0.0.0.0", ["Proxy.example"]);
const HOST = ["Host", "127.0.0.1:65001"] as const;

describe("a request by the URL prefix", () => {
  test.each(["127.0.0.1:65001", "127.8.0.1", "[::1]:65001", "localhost:65001", "lfs.localhost"])(
    "of a program at %s is answered",
    (host) => {
      expect(browserProblem([["Host", host]], LOOPBACK)).toBeUndefined();
    },
  );

  test.each([
    ["a page of another site", [HOST, ["Sec-Fetch-Site", "cross-site"]]],
    ["a page that was fetched through the prefix", [HOST, ["Sec-Fetch-Site", "same-origin"]]],
    ["a navigation", [HOST, ["Sec-Fetch-Site", "none"], ["Sec-Fetch-Mode", "navigate"]]],
    ["a script", [HOST, ["Origin", "http://127.0.0.1:65001"]]],
    ["a name bound to this address by somebody else", [["Host", "rebound.example:65001"]]],
  ] as const)("of %s is refused", (_what, headers) => {
    expect(browserProblem(headers, LOOPBACK)?.status).toBe(403);
  });

  test.each([
    "127.0.0.1:65001",
    "localhost:65001",
    "10.1.2.3:65001",
    "[fd00::1]:65001",
    "proxy.example:65001",
    "PROXY.example.",
    hostname(),
  ])("at %s is answered when the port is there for other machines", (host) => {
    expect(browserProblem([["Host", host]], PUBLIC)).toBeUndefined();
  });

  test.each(["rebound.example:65001", "x.proxy.example", "10.1.2.3.rebound.example", "10.1.2", ""])(
    "at %s, which may be anybody's name for it, is refused there too",
    (host) => {
      expect(browserProblem([["Host", host]], PUBLIC)?.status).toBe(403);
    },
  );

  test("at another machine's address is refused on loopback", () => {
    expect(browserProblem([["Host", "10.1.2.3"]], LOOPBACK)?.status).toBe(403);
  });
});
