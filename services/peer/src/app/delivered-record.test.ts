import { createHash } from "node:crypto";
import { beforeEach, describe, expect, test } from "vitest";
import { DeliveredRecord } from "./delivered-record.ts";

const PIECE_BYTES = 8;
const LENGTH_BYTES = 20;

/** Content in memory whose pieces are held or not. */
class Content {
  readonly layout = { lengthBytes: LENGTH_BYTES, pieceLengthBytes: PIECE_BYTES };
  readonly bytes = Buffer.from("abcdefghijklmnopqrst");
  readonly heldPieces = new Set<number>();

  digestOf(index: number): Uint8Array | undefined {
    if (!this.heldPieces.has(index)) return undefined;
    const piece = this.bytes.subarray(index * PIECE_BYTES, (index + 1) * PIECE_BYTES);
    return createHash("sha256").update(piece).digest();
  }

  async read(into: Uint8Array, offset: number, length: number): Promise<void> {
    into.set(this.bytes.subarray(offset, offset + length));
  }
}

let content: Content;
let record: DeliveredRecord;

beforeEach(() => {
  content = new Content();
  record = new DeliveredRecord(content);
});

function deliver(start: number, end: number): void {
  record.begin({ start, end })(content.bytes.subarray(start, end));
}

describe("what a client got", () => {
  test("is stored while nothing changes, whatever was held", async () => {
    content.heldPieces.add(1);
    for (const [start, end] of [
      [0, 3],
      [3, 12],
      [12, 20],
    ] as const)
      deliver(start, end);
    expect(await record.isStored(true)).toBe(true);
  });

  test("before its piece was whole is not stored when that was written anew", async () => {
    deliver(0, 6);
    content.bytes.write("X", 5);
    // Nothing says that it was: it is not read back.
    expect(await record.isStored(false)).toBe(true);
    expect(await record.isStored(true)).toBe(false);
  });

  test("of a piece across whose border it was read counts for each piece by itself", async () => {
    content.heldPieces.add(0);
    deliver(4, 12);
    content.bytes.write("X", 13);
    expect(await record.isStored(true)).toBe(true);
    content.bytes.write("X", 9);
    expect(await record.isStored(true)).toBe(false);
  });

  test("of a held piece is not stored when the piece came back with other bytes, or not at all", async () => {
    content.heldPieces.add(0);
    deliver(0, 8);
    content.heldPieces.clear();
    expect(await record.isStored(false)).toBe(false);
    content.heldPieces.add(0);
    expect(await record.isStored(true)).toBe(true);
    content.bytes.write("X", 2);
    expect(await record.isStored(true)).toBe(false);
  });

  test("in part of a piece that changed between two reads stays wrong, even when the first bytes come back", async () => {
    content.heldPieces.add(0);
    deliver(0, 4);
    content.bytes.write("X", 1);
    deliver(4, 8);
    content.bytes.write("b", 1);
    expect(await record.isStored(true)).toBe(false);
  });

  test("while its piece was given up is summed up byte for byte", async () => {
    content.heldPieces.add(0);
    const delivered = record.begin({ start: 0, end: 8 });
    content.heldPieces.clear();
    delivered(Buffer.from("abcdefgX"));
    content.heldPieces.add(0);
    expect(await record.isStored(true)).toBe(false);
  });
});
