import { createHmac, timingSafeEqual } from "node:crypto";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { LeaseTokenClaims } from "./gen/lacewing/assignments/v1/lease_token.ts";
import {
  CLOCK_SKEW_MS_MAX,
  type Hmac,
  LEASE_TOKEN_LENGTH_MAX,
  signLeaseToken,
  verifyLeaseToken,
} from "./lease-token.ts";

const NOW_MS = 1_800_000_000_000;

const hmacOf =
  (secret: string): Hmac =>
  (bytes) =>
    createHmac("sha256", secret).update(bytes).digest();
const hmac = hmacOf("the cluster's secret");
const verifier = { hmac, equal: (a: Uint8Array, b: Uint8Array) => timingSafeEqual(a, b) };
const verify = (token: string, nowMs = NOW_MS) => verifyLeaseToken(token, nowMs, verifier);

const claims: LeaseTokenClaims = {
  leaseId: "7-3-41",
  taskId: "ab".repeat(32),
  childHostId: "child",
  parentHostId: "parent",
  pieces: [{ start: 0, count: 4 }],
  expiresAtMs: NOW_MS + 10_000,
  degraded: false,
  ahead: false,
};

describe("a lease token", () => {
  test("gives its claims back to whoever knows the secret", () => {
    expect(verify(signLeaseToken(claims, hmac))).toEqual(claims);
  });

  test("gives back any claims", () => {
    const names = fc.string({ maxLength: 64, unit: "binary-ascii" });
    const arbitraryClaims = fc.record({
      leaseId: names,
      taskId: names,
      childHostId: names,
      parentHostId: names,
      pieces: fc.array(fc.record({ start: fc.nat(2 ** 31 - 1), count: fc.nat(2 ** 31 - 1) }), {
        maxLength: 20,
      }),
      expiresAtMs: fc.integer({ min: NOW_MS, max: Number.MAX_SAFE_INTEGER }),
      degraded: fc.boolean(),
      ahead: fc.boolean(),
    });
    fc.assert(
      fc.property(arbitraryClaims, (value) => {
        expect(verify(signLeaseToken(value, hmac))).toEqual(value);
      }),
    );
  });

  test("fits a header value and a URL: base64url and one dot", () => {
    expect(signLeaseToken(claims, hmac)).toMatch(/^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$/);
  });

  test("is refused as expired only when clocks cannot explain it", () => {
    const token = signLeaseToken(claims, hmac);
    expect(verify(token, claims.expiresAtMs + CLOCK_SKEW_MS_MAX)).toEqual(claims);
    expect(verify(token, claims.expiresAtMs + CLOCK_SKEW_MS_MAX + 1)).toBe("expired");
  });
});

describe("a forged lease token", () => {
  test("of another secret is refused", () => {
    expect(verify(signLeaseToken(claims, hmacOf("another secret")))).toBe("forged");
  });

  test("with claims of one and the signature of another is refused", () => {
    const [body] = signLeaseToken({ ...claims, parentHostId: "other" }, hmac).split(".");
    const [, mac] = signLeaseToken(claims, hmac).split(".");
    expect(verify(`${body}.${mac}`)).toBe("forged");
  });

  test("with a signature of another length is refused, before lengths can upset the comparison", () => {
    const [body, mac] = signLeaseToken(claims, hmac).split(".");
    expect(verify(`${body}.${mac?.slice(0, -4)}`)).toBe("forged");
    expect(verify(`${body}.${mac}AAAA`)).toBe("forged");
  });

  test("with any one character changed gives nobody new claims", () => {
    const token = signLeaseToken(claims, hmac);
    const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.".split("");
    fc.assert(
      fc.property(fc.nat(token.length - 1), fc.constantFrom(...alphabet), (at, character) => {
        const changed = token.slice(0, at) + character + token.slice(at + 1);
        const result = verify(changed);
        // The last character of each half has bits that base64url does not use: same bytes, same claims.
        expect([claims, "forged", "malformed"]).toContainEqual(result);
      }),
      { numRuns: 500 },
    );
  });

  test("made with the same secret for another purpose is refused", () => {
    const body = signLeaseToken(claims, hmac).split(".")[0] ?? "";
    const bare = Buffer.from(hmac(Buffer.from(body, "base64url"))).toString("base64url");
    expect(verify(`${body}.${bare}`)).toBe("forged");
  });
});

describe("a malformed lease token", () => {
  test.each(["", ".", "a", "a.", ".a", "a.b.c", "a b.c", "a=.b=", "ä.b", "A.A", "\u0000.\u0000"])(
    "%j is refused",
    (token) => {
      expect(verify(token)).toBe("malformed");
    },
  );

  test("longer than the limit is refused before anything is computed from it", () => {
    expect(verify(`${"A".repeat(LEASE_TOKEN_LENGTH_MAX)}.A`)).toBe("malformed");
  });

  test("rightly signed over bytes that are no claims is refused, not thrown", () => {
    const bytes = Uint8Array.of(0x0a, 0xff);
    const signed = Buffer.concat([Buffer.from("lacewing-lease-v1\0"), bytes]);
    const mac = Buffer.from(hmac(signed)).toString("base64url");
    expect(verify(`${Buffer.from(bytes).toString("base64url")}.${mac}`)).toBe("malformed");
  });

  test("never throws, whatever it is", () => {
    const halves = fc.base64String().map((text) => text.replaceAll("=", ""));
    const texts = fc.oneof(
      fc.string({ unit: "binary" }),
      fc.tuple(halves, halves).map((h) => h.join(".")),
    );
    fc.assert(
      fc.property(texts, (text) => {
        expect(["forged", "malformed"]).toContain(verify(text));
      }),
      { numRuns: 1000 },
    );
  });
});
