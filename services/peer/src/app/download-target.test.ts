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
