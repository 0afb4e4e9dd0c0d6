import { describe, expect, test } from "vitest";
import { isPartOfAll } from "./part-wish.ts";

const MIB = 2 ** 20;
const GIB = 2 ** 30;

function part(start: number, lengthBytes: number) {
  return { start, end: start + lengthBytes };
}

describe("part of a whole download is", () => {
  test.each([
    ["the whole", 3 * MIB, [part(0, 3 * MIB)]],
    ["each of 16 parallel parts", 160 * MIB, [part(30 * MIB, 10 * MIB)]],
    ["seven chunks of 10 MiB of very large content", 100 * GIB, [part(5 * GIB, 70 * MIB)]],
    ["chunks that lie apart", 64 * MIB, [part(0, MIB), part(20 * MIB, MIB)]],
    ["the last hundredth", GIB, [part(GIB - 10 * MIB, 10 * MIB)]],
  ])("%s", (_what, lengthBytes, parts) => {
    expect(isPartOfAll(lengthBytes, parts)).toBe(true);
  });
});

describe("no part of a whole download is", () => {
  test.each([
    ["a byte", 100_000, [part(0, 1)]],
    ["the first chunk of very large content", 100 * GIB, [part(0, 10 * MIB)]],
    ["an index at the end", GIB, [part(GIB - 64 * 1024, 64 * 1024)]],
    ["the last byte", GIB, [part(GIB - 1, 1)]],
  ])("%s", (_what, lengthBytes, parts) => {
    expect(isPartOfAll(lengthBytes, parts)).toBe(false);
  });
});
