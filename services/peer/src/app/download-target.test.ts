import type { Sha256Hex } from "@lacewing/contracts/ids.ts";
import { expect, test } from "vitest";
import { ruleOf } from "../core/rules.ts";
import { targetOf } from "./download-target.ts";

const sha256: Sha256Hex = (text) => `${text}`;

test.each([
  ["near.example", "https://near.example/a?b"],
  ["near.example:8443", "https://near.example:8443/a?b"],
  ["near.example:443", "https://near.example/a?b"],
])("a redirect to %s takes the place of host and port", (redirect, expected) => {
  const rule = ruleOf({ regex: ".*", redirect });
  const request = { url: new URL("https://far.example:8080/a?b"), headers: [] };
  const { url } = targetOf(request, rule, sha256);
  expect(url.href).toBe(expected);
  expect(targetOf({ ...request, url }, rule, sha256).url.href).toBe(expected);
});

test("what a URL says is known from another's request for it, and the credentials are each one's own", () => {
  const rule = ruleOf({ regex: ".*" });
  const url = new URL(`http://origin.test/lfs/${"a".repeat(64)}?X-Amz-Signature=abc&part=1`);
  const asked = (credential: string) => ({
    url,
    headers: [["Authorization", credential]] as const,
  });
  const known = targetOf(asked("mine"), rule, sha256);
  const own = targetOf(asked("theirs"), rule, sha256);
  expect(targetOf(asked("theirs"), rule, sha256, known)).toEqual(own);
  expect(own.accessKey).not.toBe(known.accessKey);
});

test("content is named by what the origin is asked for: a path that was written in another way is another one", () => {
  const rule = ruleOf({ regex: ".*" });
  const named = (path?: string) =>
    targetOf(
      { url: new URL(`http://h.test${path ?? "/a/b?c='d'"}`), path, headers: [] },
      rule,
      sha256,
    );
  expect(named("/a/b?c=%27d%27").canonicalUrl).toBe(named().canonicalUrl);
  expect(named("/a/./b?c=%27d%27")).toMatchObject({
    path: "/a/./b?c=%27d%27",
    shownUrl: "http://h.test/a/b",
    canonicalUrl: "http://h.test/a/./b?c=%27d%27",
  });
  const oid = "a".repeat(64);
  expect(named(`/lfs/${oid}/../x`).anchor).toBeUndefined();
  expect(named(`/x/../lfs/${oid}`).anchor).toBe(`sha256:${oid}`);
  expect(named("/a?X-Amz-Signature='1'").accessKey).not.toBe(
    named("/a?X-Amz-Signature='2'").accessKey,
  );
});
