import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { cleanInstantMs, cleanQuantity, cleanText, cleanTraceId } from "./row-text.ts";

describe("texts on their way to Postgres", () => {
  test("NUL and half surrogates are replaced, everything else stays", () => {
    expect(cleanText("a\0b\ud800c", 10)).toBe("a\u{fffd}b\u{fffd}c");
    expect(cleanText("naïve 🦋", 10)).toBe("naïve 🦋");
  });

  test("a pair of surrogates that the limit cuts in two leaves no half behind", () => {
    expect(cleanText("a🦋", 2)).toBe("a\u{fffd}");
  });

  test("any text becomes one that is well formed, short enough, and its own cleaned form", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), fc.nat(20), (text, lengthMax) => {
        const clean = cleanText(text, lengthMax);
        expect(clean.isWellFormed()).toBe(true);
        expect(clean.length).toBeLessThanOrEqual(lengthMax);
        expect(clean).not.toContain("\0");
        expect(cleanText(clean, lengthMax)).toBe(clean);
      }),
    );
  });
});

describe("numbers on their way to Postgres", () => {
  test("a clock that is off by centuries is kept within 1970 to 2100", () => {
    expect(cleanInstantMs(-5)).toBe(0);
    expect(cleanInstantMs(Number.NaN)).toBe(0);
    expect(new Date(cleanInstantMs(8e15)).toISOString()).toBe("2100-01-01T00:00:00.000Z");
    expect(cleanInstantMs(1_700_000_000_123)).toBe(1_700_000_000_123);
  });

  test("quantities are whole and not negative", () => {
    expect(cleanQuantity(-1)).toBe(0);
    expect(cleanQuantity(1.9)).toBe(1);
    expect(cleanQuantity(1e300)).toBe(Number.MAX_SAFE_INTEGER);
    expect(cleanQuantity(70_000, 999)).toBe(999);
  });

  test("what is not a trace id becomes none", () => {
    expect(cleanTraceId("4bf92f3577b34da6a3ce929d0e0e4736")).toBe(
      "4bf92f3577b34da6a3ce929d0e0e4736",
    );
    expect(cleanTraceId("4BF92F35")).toBe("");
  });
});
