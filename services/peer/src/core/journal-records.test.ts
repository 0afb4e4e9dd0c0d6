import { crc32 } from "node:zlib";
import { Bitmap } from "@lacewing/contracts/bitmap.ts";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  applyRecord,
  encodeRecord,
  JOURNAL_HEAD_BYTES,
  journalHead,
  type JournalRecord,
  type JournalState,
  readJournal,
} from "./journal-records.ts";

const created: JournalRecord = {
  kind: "created",
  incarnation: 7,
  description: new Uint8Array([1, 2, 3]),
};

const digests = fc.uint8Array({ minLength: 32, maxLength: 32 });
const laterRecords = fc.array(
  fc.oneof(
    fc
      .tuple(fc.nat(99), digests)
      .map(([pieceIndex, sha256]): JournalRecord => ({ kind: "piece", pieceIndex, sha256 })),
    fc.constant<JournalRecord>({ kind: "verified" }),
    fc
      .tuple(fc.nat(2 ** 30), fc.array(fc.nat(99)))
      .map(([incarnation, pieceIndexes]): JournalRecord => ({
        kind: "given_up",
        incarnation,
        pieceIndexes,
      })),
  ),
  { maxLength: 12 },
);

function journalOf(records: readonly JournalRecord[]): Uint8Array {
  return new Uint8Array(
    Buffer.concat([journalHead(), ...records.map((record) => encodeRecord(record, crc32))]),
  );
}

describe("a piece journal", () => {
  test("reads back as it was written", () => {
    fc.assert(
      fc.property(laterRecords, (later) => {
        const bytes = journalOf([created, ...later]);
        const reading = readJournal(bytes, crc32);
        expect(reading).toEqual({
          records: [created, ...later],
          soundBytes: bytes.length,
          damage: undefined,
        });
      }),
    );
  });

  test("cut off anywhere gives the records before the cut, and no others", () => {
    fc.assert(
      fc.property(laterRecords, fc.nat(5000), (later, cut) => {
        const bytes = journalOf([created, ...later]);
        const rest = bytes.length - JOURNAL_HEAD_BYTES;
        const torn = bytes.subarray(0, JOURNAL_HEAD_BYTES + (cut % rest));
        const reading = readJournal(torn, crc32);
        expect([created, ...later].slice(0, reading.records.length)).toEqual(reading.records);
        expect(reading.soundBytes).toBeLessThanOrEqual(torn.length);
        expect(reading.damage === undefined).toBe(reading.soundBytes === torn.length);
      }),
    );
  });

  test("with one damaged byte gives at most the records before it", () => {
    fc.assert(
      fc.property(
        laterRecords,
        fc.nat(5000),
        fc.integer({ min: 1, max: 255 }),
        (later, at, flip) => {
          const bytes = journalOf([created, ...later]);
          const damagedAt = JOURNAL_HEAD_BYTES + (at % (bytes.length - JOURNAL_HEAD_BYTES));
          bytes[damagedAt] = (bytes[damagedAt] ?? 0) ^ flip;
          const reading = readJournal(bytes, crc32);
          expect(reading.damage).toBeDefined();
          expect(reading.soundBytes).toBeLessThanOrEqual(damagedAt);
          expect([created, ...later].slice(0, reading.records.length)).toEqual(reading.records);
        },
      ),
    );
  });

  test("that is none, or does not begin with the creation of its task, gives nothing", () => {
    expect(readJournal(new Uint8Array(), crc32)).toMatchObject({ soundBytes: 0, damage: "head" });
    expect(readJournal(new Uint8Array(100), crc32)).toMatchObject({
      soundBytes: 0,
      damage: "head",
    });
    const headless = readJournal(journalOf([{ kind: "verified" }]), crc32);
    expect(headless).toMatchObject({ records: [], damage: "body" });
  });
});

describe("the state that a journal amounts to", () => {
  const empty = (): JournalState => ({
    incarnation: 0,
    isVerified: false,
    held: new Bitmap(2),
    digests: new Uint8Array(64),
  });
  const piece = (pieceIndex: number): JournalRecord => ({
    kind: "piece",
    pieceIndex,
    sha256: new Uint8Array(32).fill(pieceIndex + 1),
  });

  test("a given-up piece is not held, the content not verified, the incarnation the new one", () => {
    const state = empty();
    const records: JournalRecord[] = [created, piece(0), piece(1), { kind: "verified" }];
    for (const record of records) expect(applyRecord(state, record)).toBe(true);
    expect(state).toMatchObject({ incarnation: 7, isVerified: true });
    applyRecord(state, { kind: "given_up", incarnation: 9, pieceIndexes: [1] });
    expect([...state.held]).toEqual([0]);
    expect(state).toMatchObject({ incarnation: 9, isVerified: false });
  });

  test("a piece beyond the task's end and a verified task with missing pieces do not fit", () => {
    expect(applyRecord(empty(), piece(2))).toBe(false);
    expect(applyRecord(empty(), { kind: "verified" })).toBe(false);
  });
});
