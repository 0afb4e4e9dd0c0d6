import { describe, expect, test } from "vitest";
import { urlHostOf } from "../adapters/url-host.ts";
import { ANY_HOST, hostProblem, parseHostPattern, type HostPolicy } from "./host-patterns.ts";

function policy(lists: { allowed?: readonly string[]; denied?: readonly string[] }): HostPolicy {
  const patterns = (texts: readonly string[]) =>
    texts.map((text) => {
      const pattern = parseHostPattern(text, urlHostOf);
      if (pattern === undefined) throw new TypeError(`${text} is no pattern`);
      return pattern;
    });
  return {
    allowed: lists.allowed === undefined ? undefined : patterns(lists.allowed),
    denied: patterns(lists.denied ?? []),
  };
}

describe("hosts that may be asked", () => {
  test("without lists every host and port", () => {
    expect(hostProblem(ANY_HOST, "anything.example", 1234)).toBeUndefined();
  });

  test("a list lets through what it names, whatever the case, brackets or final dot", () => {
    const some = policy({ allowed: ["Hub.Example", "[::1]:8080"] });
    expect(hostProblem(some, "hub.example", 80)).toBeUndefined();
    expect(hostProblem(some, "HUB.example.", 443)).toBeUndefined();
    expect(hostProblem(some, "[::1]", 8080)).toBeUndefined();
    expect(hostProblem(some, "::1", 8080)).toBeUndefined();
    expect(hostProblem(some, "::1", 8081)).toMatch(/not allowed/);
    expect(hostProblem(some, "evil-hub.example", 80)).toMatch(/not allowed/);
    expect(hostProblem(some, "sub.hub.example", 80)).toMatch(/not allowed/);
  });

  test("a wildcard means names below, at a whole label", () => {
    const some = policy({ allowed: ["*.hub.example:443"] });
    expect(hostProblem(some, "a.b.hub.example", 443)).toBeUndefined();
    expect(hostProblem(some, "hub.example", 443)).toMatch(/not allowed/);
    expect(hostProblem(some, "evilhub.example", 443)).toMatch(/not allowed/);
    expect(hostProblem(some, "a.hub.example", 80)).toMatch(/not allowed/);
  });

  test("a denial counts before a permission", () => {
    const some = policy({ allowed: ["*.example"], denied: ["secret.example"] });
    expect(hostProblem(some, "open.example", 80)).toBeUndefined();
    expect(hostProblem(some, "secret.example.", 80)).toMatch(/denied/);
  });
});

test.each([
  ["BÜCHER.example", "xn--bcher-kva.example"],
  ["xn--BCHER-kva.example.", "xn--bcher-kva.example"],
  ["*.bücher.example", "www.xn--bcher-kva.example"],
  ["hub。example", "hub.example"],
  ["[0:0:0:0:0:0:0:1]", "::1"],
  ["[2001:DB8::0:1]:80", "[2001:db8::1]"],
  ["[::ffff:10.0.0.1]", "10.0.0.1"],
  ["10.0.0.1", "[::ffff:a00:1]"],
  ["0x7f.1", "127.0.0.1"],
  ["2130706433:80", "127.0.0.1"],
])("%s denies what a URL calls %s", (text, host) => {
  expect(hostProblem(policy({ denied: [text] }), host, 80)).toMatch(/denied/);
});

test.each([
  "",
  "*",
  "*.",
  "http://host",
  "host/path",
  "host:0",
  "host:65536",
  "a b",
  "ho*st",
  "a..",
  "*.[::1]",
  "*.10.0.0.1",
  "[::1",
  "[::g]",
  "1.2.3.4.5",
  "h%6fst",
  "user@host",
  "a\\b",
])("%j is no host pattern", (text) => {
  expect(parseHostPattern(text, urlHostOf)).toBeUndefined();
});
