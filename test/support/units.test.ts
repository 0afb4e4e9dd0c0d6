import { describe, expect, test } from "vitest";
import { formatCount, formatRate, formatSize, parseRate, parseSize, parseSizes } from "./units.ts";

describe("sizes", () => {
  test("M and G are binary, as Git LFS users write them; MB is decimal", () => {
    expect(parseSizes("64M,1G,1MB,20480")).toEqual([67_108_864, 1_073_741_824, 1_000_000, 20_480]);
  });

  test.each(["", "0", "abc", "12 apples", "-1M"])("%j is no size", (text) => {
    expect(() => parseSize(text)).toThrow(RangeError);
  });

  test("sizes are shown in the unit that keeps them short", () => {
    expect([17, 20_480, 67_108_864, 1_610_612_736].map((bytes) => formatSize(bytes))).toEqual([
      "17 B",
      "20 KiB",
      "64 MiB",
      "1.5 GiB",
    ]);
  });

  test("byte counts are grouped by thousands", () => {
    expect(formatCount(268_435_456)).toBe("268 435 456");
  });
});

describe("rates", () => {
  test("a rate is bytes per second, decimal, with or without /s; bits are divided by eight", () => {
    expect(["12.5MB/s", "12.5MB", "100Mbit/s", "1Gbit/s"].map((text) => parseRate(text))).toEqual([
      12_500_000, 12_500_000, 12_500_000, 125_000_000,
    ]);
  });

  test("unlimited is no cap", () => {
    expect(parseRate("unlimited")).toBeUndefined();
  });

  test.each(["", "0", "fast", "0MB/s"])("%j is no rate", (text) => {
    expect(() => parseRate(text)).toThrow(RangeError);
  });

  test("the document's link reads as it was written", () => {
    expect(formatRate(12_500_000)).toBe("12.5 MB/s");
  });
});
