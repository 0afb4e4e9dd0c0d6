import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type InventoryEntry, inventoryDigest } from "./inventory.ts";

const entries: fc.Arbitrary<InventoryEntry[]> = fc.uniqueArray(
  fc.record({
    taskId: fc.stringMatching(/^[0-9a-f]{64}$/),
    incarnation: fc.nat(5),
    heldPieceCount: fc.nat(256),
  }),
  { selector: ({ taskId }) => taskId, maxLength: 12 },
);

describe("the digest of an inventory", () => {
  test("does not depend on the order of the tasks", () => {
    fc.assert(
      fc.property(entries, fc.func(fc.integer()), (list, rank) => {
        const shuffled = list.toSorted((a, b) => rank(a.taskId) - rank(b.taskId));
        expect(inventoryDigest(shuffled)).toBe(inventoryDigest(list));
      }),
    );
  });

  test("changes with any entry's piece count or incarnation, and with an entry more", () => {
    fc.assert(
      fc.property(entries, fc.nat(), (list, pick) => {
        const at = list[pick % Math.max(1, list.length)];
        if (at === undefined) return;
        const without = list.filter((entry) => entry !== at);
        const base = inventoryDigest([...without, { ...at, heldPieceCount: 1 }]);
        expect(inventoryDigest([...without, { ...at, heldPieceCount: 2 }])).not.toBe(base);
        expect(
          inventoryDigest([
            ...without,
            { ...at, heldPieceCount: 1, incarnation: at.incarnation + 1 },
          ]),
        ).not.toBe(base);
        expect(inventoryDigest(without)).not.toBe(base);
      }),
    );
  });

  test("of nothing, and of tasks without a piece, is 16 zeros", () => {
    expect(inventoryDigest([])).toBe("0000000000000000");
    expect(inventoryDigest([{ taskId: "a", incarnation: 3, heldPieceCount: 0 }])).toBe(
      "0000000000000000",
    );
  });

  test("is the same as by whole numbers of 64 bits", () => {
    fc.assert(
      fc.property(entries, (list) => {
        const whole = list
          .filter(({ heldPieceCount }) => heldPieceCount > 0)
          .map((entry) => `${entry.taskId}:${entry.incarnation}:${entry.heldPieceCount}`)
          .reduce((digest, text) => digest ^ wholeFnv1a64(text), 0n);
        expect(inventoryDigest(list)).toBe(whole.toString(16).padStart(16, "0"));
      }),
    );
  });

  test("of several tasks is the XOR of their hashes", () => {
    const held = [
      { taskId: "a", incarnation: 1, heldPieceCount: 1 },
      { taskId: "b", incarnation: 2, heldPieceCount: 3 },
    ];
    expect(inventoryDigest(held)).toBe("0fb7071619450d3a");
  });

  test("is the published FNV-1a (64 bit): hosts and schedulers of different versions must agree", () => {
    // FNV-1a of "a:1:1".
    expect(inventoryDigest([{ taskId: "a", incarnation: 1, heldPieceCount: 1 }])).toBe(
      "5530015d66c34428",
    );
  });
});

function wholeFnv1a64(text: string): bigint {
  let hash = 0xcbf29ce484222325n;
  for (const byte of Buffer.from(text)) {
    hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n);
  }
  return hash;
}
