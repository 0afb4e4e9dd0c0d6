import { createHash } from "node:crypto";
import { taskIdOf } from "@lacewing/contracts/ids.ts";
import { expect, test } from "vitest";
import { KNOWN_URL_COUNT_MAX, KnownUrls } from "./known-urls.ts";

const sha256 = (text: string) => createHash("sha256").update(text).digest("hex");
const task = (name: string) => taskIdOf("d", [name], sha256);

test("the newest task of a URL is known, until too many others came after it", () => {
  const known = new KnownUrls(sha256);
  known.remember("http://o/a", task("1"));
  known.remember("http://o/b", task("2"));
  known.remember("http://o/a", task("3"));
  expect([known.get("http://o/a"), known.get("http://o/b")]).toEqual([task("3"), task("2")]);
  for (let index = 1; index < KNOWN_URL_COUNT_MAX; index++) {
    known.remember(`http://o/${index}`, task("4"));
  }
  expect([known.has("http://o/a"), known.has("http://o/b")]).toEqual([true, false]);
});

test("long URLs take no more memory than short ones", () => {
  const known = new KnownUrls(sha256);
  const before = process.memoryUsage().heapUsed;
  const count = 4_000;
  for (let index = 0; index < count; index++) {
    known.remember(Buffer.alloc(16 * 1024, `${index}-`).toString("latin1"), task("1"));
  }
  expect(process.memoryUsage().heapUsed - before).toBeLessThan(32 * 2 ** 20);
  expect(known.has(Buffer.alloc(16 * 1024, "7-").toString("latin1"))).toBe(true);
});
