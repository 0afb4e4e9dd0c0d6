import { expect, test } from "vitest";
import { parseConnectTarget, parseRequestTarget } from "./request-target.ts";

const read = (target: string) => {
  const parsed = parseRequestTarget(target);
  return parsed.kind === "origin" ? [parsed.url.href, parsed.path] : parsed.kind;
};

test.each([
  ["http://h.example/a?b", ["http://h.example/a?b", "/a?b"]],
  ["HTTP://H.Example:80", ["http://h.example/", "/"]],
  ["http://h.example?q=1", ["http://h.example/?q=1", "/?q=1"]],
  ["https://h.example/a", ["https://h.example/a", "/a"]],
  ["/url/https://h.example:8443/a/../b", ["https://h.example:8443/b", "/a/../b"]],
  ["/url/https:/h.example/a", ["https://h.example/a", "/a"]],
  ["/url/http:////h.example/a", ["http://h.example/a", "/a"]],
  [
    "/url/https://h.example/a%2Fb%20c?d=%2F#e",
    ["https://h.example/a%2Fb%20c?d=%2F", "/a%2Fb%20c?d=%2F"],
  ],
  // Bytes of UTF-8 as Node reads them.
  [
    "http://h.example/\u00c3\u00a9?\u00c3\u00a9",
    ["http://h.example/%C3%A9?%C3%A9", "/\u00c3\u00a9?\u00c3\u00a9"],
  ],
  ["http://b\u00c3\u00bccher.example/a", ["http://xn--bcher-kva.example/a", "/a"]],
  ["/url/https://me:pw@h.example/a", ["https://h.example/a", "/a"]],
  ["/url/http://[::1]:80/a", ["http://[::1]/a", "/a"]],
])("%s asks an origin", (target, expected) => {
  expect(read(target)).toEqual(expected);
});

test.each([
  ["/healthz", "health"],
  ["/healthz?verbose", "health"],
  ["/", "unknown"],
  ["/v2/", "unknown"],
  ["*", "unknown"],
  ["/url/h.example/a", "malformed"],
  ["/url/ftp://h.example/a", "malformed"],
  ["/url/https://", "malformed"],
  ["/url/", "malformed"],
  ["http://", "malformed"],
  ["http://[/", "malformed"],
  ["file:///etc/passwd", "malformed"],
  ["h.example/a", "malformed"],
  ["http:///h.example/a", "malformed"],
  ["http://?h.example", "malformed"],
  ["http://a.example\\@b.example/", "malformed"],
  ["http://a.example/a\\..\\b", "malformed"],
  ["/url/http://a.example\\b.example/", "malformed"],
])("%s is %s", (target, kind) => {
  expect(read(target)).toBe(kind);
});

test("a target without path and query means the server as a whole", () => {
  const wholes = ["http://h.example", "http://h.example/", "http://h.example?q"].map((target) => {
    const parsed = parseRequestTarget(target);
    return parsed.kind === "origin" && parsed.isWholeServer;
  });
  expect(wholes).toEqual([true, false, false]);
});

test.each([
  ["h.example:443", { host: "h.example", port: 443 }],
  ["[::1]:8443", { host: "::1", port: 8443 }],
  ["H.Example:443", { host: "h.example", port: 443 }],
  ["127.1:443", { host: "127.0.0.1", port: 443 }],
  ["0x7f.0.0.1:443", { host: "127.0.0.1", port: 443 }],
  ["2130706433:443", { host: "127.0.0.1", port: 443 }],
  ["%3127.0.0.1:443", { host: "127.0.0.1", port: 443 }],
  ["[0:0:0:0:0:0:0:1]:443", { host: "::1", port: 443 }],
  ["[::1::2]:443", undefined],
  ["1.2.3.4.5:443", undefined],
  ["a\\b:443", undefined],
  ["h.example", undefined],
  ["h.example:0", undefined],
  ["h.example:65536", undefined],
  ["user@h.example:443", undefined],
  ["h.example:443/path", undefined],
  ["::1:443", undefined],
])("CONNECT %s goes to %j", (authority, expected) => {
  expect(parseConnectTarget(authority)).toEqual(expected);
});
