import { describe, expect, test } from "vitest";
import { headerOf, type HeaderList } from "../../core/http-headers.ts";
import { sandboxed } from "./request-checks.ts";

const ASKED = new URL("https://git.example/group/repo?a=1");
const PREFIXED = `/url/${ASKED.href}`;
const handedOn = (headers: HeaderList, target = PREFIXED) => sandboxed(headers, target, ASKED);

describe("an answer by the URL prefix", () => {
  test("is sandboxed, whatever the origin said", () => {
    const headers = handedOn([["content-security-policy", "default-src *"]]);
    expect(headers).toEqual([
      ["Content-Security-Policy", "sandbox"],
      ["X-Content-Type-Options", "nosniff"],
    ]);
  });

  test("sets no cookie, which would go to every other origin asked by the prefix", () => {
    expect(headerOf(handedOn([["Set-Cookie", "session=1"]]), "set-cookie")).toBeUndefined();
  });

  test.each([
    ["/group/repo.git", "/url/https://git.example/group/repo.git"],
    ["other?b", "/url/https://git.example/group/other?b"],
    ["//cdn.example/x", "/url/https://cdn.example/x"],
    ["https://cdn.example/x", "https://cdn.example/x"],
    ["ssh://git.example/x", "ssh://git.example/x"],
  ])("that redirects to %s leads to %s", (location, expected) => {
    expect(headerOf(handedOn([["Location", location]]), "location")).toBe(expected);
  });
});

test("an answer to a forward proxy's client is handed on as it is", () => {
  const headers: HeaderList = [
    ["Set-Cookie", "a=b"],
    ["Location", "/x"],
  ];
  expect(handedOn(headers, ASKED.href)).toEqual(headers);
});
