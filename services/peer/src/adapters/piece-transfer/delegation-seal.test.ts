import { Secret } from "@lacewing/observability/secret.ts";
import fc from "fast-check";
import { expect, test } from "vitest";
import { seal, unseal } from "./delegation-seal.ts";

const SECRET = new Secret("a secret of tests that is long enough");

test("what was sealed for a host opens there, and two seals of one text have nothing in common", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 2000 }), (plain) => {
      const sealed = seal(SECRET, "seed-1", plain);
      expect(unseal(SECRET, "seed-1", sealed)).toEqual(Buffer.from(plain));
      const again = seal(SECRET, "seed-1", plain);
      expect(Buffer.compare(sealed.subarray(1, 13), again.subarray(1, 13))).not.toBe(0);
    }),
  );
});

test("it opens for no other host, under no other secret, and not when a bit of it differs", () => {
  const plain = Buffer.from("https://user:pw@host/?signature=secret");
  fc.assert(
    fc.property(fc.nat(), fc.integer({ min: 0, max: 7 }), (at, bit) => {
      const sealed = Buffer.from(seal(SECRET, "seed-1", plain));
      expect(sealed.includes("secret")).toBe(false);
      expect(unseal(SECRET, "seed-2", sealed)).toBeUndefined();
      expect(unseal(new Secret("another secret"), "seed-1", sealed)).toBeUndefined();
      const index = at % sealed.length;
      sealed[index] = (sealed[index] ?? 0) ^ (1 << bit);
      expect(unseal(SECRET, "seed-1", sealed)).toBeUndefined();
    }),
  );
});

test("anything else is refused, whatever it is", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
      expect(unseal(SECRET, "seed-1", bytes)).toBeUndefined();
      expect(unseal(SECRET, "seed-1", Uint8Array.of(1, ...bytes))).toBeUndefined();
    }),
  );
});
