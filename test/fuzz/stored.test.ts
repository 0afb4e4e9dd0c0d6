import { createHash } from "node:crypto";
import { writeFileSync } from "node:fs";
import { crc32 } from "node:zlib";
import fc from "fast-check";
import { expect, test } from "vitest";
import { Bitmap } from "@lacewing/contracts/bitmap.ts";
import { hexOfBase64 } from "@lacewing/peer/core/base64.ts";
import { foldLines, formatLine } from "@lacewing/peer/core/fact-log.ts";
import {
  applyRecord,
  encodeRecord,
  JOURNAL_HEAD_BYTES,
  journalHead,
  type JournalRecord,
  readJournal,
} from "@lacewing/peer/core/journal-records.ts";
import { decodeDescription } from "@lacewing/peer/adapters/piece-store/description-json.ts";
import { loadPeerFileSettings } from "@lacewing/peer/rules-config.ts";
import { SettingsError } from "@lacewing/runtime/settings.ts";
import { damaged, damagedText, FUZZ_TIMEOUT_MS, fuzz, textOf } from "../support/fuzz.ts";
import { makeTempDir } from "../support/temp-dir.ts";

/** Goal: whatever a disk gives back, what is believed of it was written, and the rest is known not to be. */

const created: fc.Arbitrary<JournalRecord> = fc.record({
  kind: fc.constant("created" as const),
  incarnation: fc.nat(),
  description: fc.uint8Array({ maxLength: 40 }),
});
const later: fc.Arbitrary<JournalRecord> = fc.oneof(
  fc.record({
    kind: fc.constant("piece" as const),
    pieceIndex: fc.nat(40),
    sha256: fc.uint8Array({ minLength: 32, maxLength: 32 }),
  }),
  fc.record({ kind: fc.constant("verified" as const) }),
  fc.record({
    kind: fc.constant("given_up" as const),
    incarnation: fc.nat(),
    pieceIndexes: fc.array(fc.nat(40), { maxLength: 5 }),
  }),
);
const records = fc
  .tuple(created, fc.array(later, { maxLength: 8 }))
  .map(([first, rest]) => [first, ...rest]);
const journalOf = (list: readonly JournalRecord[]) =>
  Buffer.concat([journalHead(), ...list.map((record) => encodeRecord(record, crc32))]);
const written = records.chain((list) =>
  fc.tuple(fc.constant(list), damaged(fc.constant(journalOf(list)))),
);
const plain = (list: readonly JournalRecord[]) => JSON.stringify(list);

test(
  "a journal is read back as it was written; one that was cut is a beginning of it",
  { timeout: FUZZ_TIMEOUT_MS },
  () => {
    fuzz(
      fc.property(records, fc.nat(), (list, cut) => {
        const bytes = journalOf(list);
        const whole = readJournal(bytes, crc32);
        expect(whole).toMatchObject({ soundBytes: bytes.length, damage: undefined });
        expect(plain(whole.records)).toBe(plain(list));
        const part = readJournal(bytes.subarray(0, cut % (bytes.length + 1)), crc32);
        expect(plain(part.records)).toBe(plain(list.slice(0, part.records.length)));
      }),
    );
  },
);

test(
  "of a damaged journal nothing is believed that was not written, and what is sound can be read again",
  { timeout: FUZZ_TIMEOUT_MS },
  () => {
    fuzz(
      fc.property(written, ([list, bytes]) => {
        const { records: read, soundBytes, damage } = readJournal(bytes, crc32);
        expect(soundBytes).toBeLessThanOrEqual(bytes.length);
        const known = list.map((record) => JSON.stringify(record));
        for (const record of read) expect(known).toContain(JSON.stringify(record));
        expect(damage === "head" ? soundBytes === 0 : soundBytes >= JOURNAL_HEAD_BYTES).toBe(true);
        const again = readJournal(bytes.subarray(0, soundBytes), crc32);
        expect(again.damage).toBe(soundBytes === 0 ? "head" : undefined);
        expect(plain(again.records)).toBe(plain(read));
        const state = {
          incarnation: 0,
          isVerified: false,
          held: new Bitmap(20),
          digests: new Uint8Array(20 * 32),
        };
        for (const record of read) if (!applyRecord(state, record)) break;
        expect(!state.isVerified || state.held.isFull).toBe(true);
      }),
    );
  },
);

test(
  "a fact log that was torn or damaged tells facts that were written, or fewer",
  { timeout: FUZZ_TIMEOUT_MS },
  () => {
    const checksum = (text: string) => createHash("sha256").update(text).digest("hex").slice(0, 8);
    const line = fc.record({
      kind: fc.constantFrom("begin" as const, "end" as const),
      id: fc.constantFrom("a", "b", "c"),
      fact: fc.stringMatching(/^[A-Za-z0-9]{1,6}$/),
    });
    fuzz(
      fc.property(
        fc
          .array(line, { maxLength: 6 })
          .chain((lines) =>
            fc.tuple(
              fc.constant(lines),
              damagedText(fc.constant(lines.map((each) => formatLine(each, checksum)).join(""))),
            ),
          ),
        ([lines, log]) => {
          const facts = new Set(lines.map(({ fact }) => fact));
          const { ended, begun } = foldLines(log, checksum);
          for (const fact of [...ended.values(), ...begun.values()])
            expect(facts.has(fact)).toBe(true);
        },
      ),
    );
  },
);

test(
  "a set of pieces is what its bits say, whatever bytes it is made of",
  { timeout: FUZZ_TIMEOUT_MS },
  () => {
    fuzz(
      fc.property(
        fc.nat(70),
        fc.uint8Array({ maxLength: 12 }),
        fc.uint8Array({ maxLength: 12 }),
        (size, bytes, more) => {
          const isSet = (of: Uint8Array) => (index: number) =>
            ((of[index >> 3] ?? 0) & (1 << (index & 7))) !== 0;
          const indexes = Array.from({ length: size }, (_, index) => index);
          const bitmap = new Bitmap(size, bytes);
          expect([...bitmap]).toEqual(indexes.filter(isSet(bytes)));
          expect(bitmap.count).toBe([...bitmap].length);
          expect([...new Bitmap(size, bitmap.toBytes())]).toEqual([...bitmap]);
          const added = bitmap.orBytes(more);
          expect(added).toEqual(
            indexes.filter((index) => isSet(more)(index) && !isSet(bytes)(index)),
          );
          expect(bitmap.count).toBe(
            indexes.filter((index) => isSet(more)(index) || isSet(bytes)(index)).length,
          );
        },
      ),
    );
  },
);

test(
  "base64 is what it decodes to, and nothing else is base64",
  { timeout: FUZZ_TIMEOUT_MS },
  () => {
    fuzz(
      fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
        expect(hexOfBase64(Buffer.from(bytes).toString("base64"))).toBe(
          Buffer.from(bytes).toString("hex"),
        );
      }),
    );
    fuzz(
      fc.property(fc.oneof(fc.string(), textOf("A", "/", "+", "=", "==", "-", "AAAA")), (text) => {
        const hex = hexOfBase64(text);
        if (hex === undefined) return;
        expect(text).toMatch(/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/);
        expect(hex).toBe(Buffer.from(text, "base64").toString("hex"));
      }),
    );
  },
);

test(
  "a stored description is understood or not, and never an accident",
  { timeout: FUZZ_TIMEOUT_MS },
  () => {
    const valid = JSON.stringify({
      taskId: "ab".repeat(32),
      url: "http://h/",
      sharingDomain: "h",
      lengthBytes: 5,
      pieceLengthBytes: 2 ** 20,
      etag: "",
      lastModified: "",
      contentType: "",
      createdAtMs: 1,
    });
    expect(decodeDescription(valid)).toBeDefined();
    fuzz(
      fc.property(fc.oneof(damagedText(fc.constant(valid)), fc.json()), (text) => {
        const description = decodeDescription(text);
        expect(description === undefined || description.lengthBytes >= 0).toBe(true);
      }),
    );
  },
);

test(
  "any settings file is a set of rules, or is refused with what is wrong with it",
  { timeout: FUZZ_TIMEOUT_MS },
  async () => {
    await using dir = await makeTempDir("fuzz");
    const path = dir.join("settings.yaml");
    const yaml = textOf(
      "proxy:",
      "\n",
      "  ",
      "rules:",
      "- ",
      "regex: ",
      "(",
      "a",
      "access: public",
      "accessTtlMs: ",
      "{",
      "}",
      "[",
      "]",
      "&a ",
      "*a",
      "? ",
      "|",
      "'",
      "store:",
      "quota: 1GiB",
      "!!js ",
      "<<: ",
    );
    fuzz(
      fc.property(fc.oneof(yaml, fc.json(), fc.string()), (text) => {
        writeFileSync(path, text);
        let refusal: unknown;
        try {
          loadPeerFileSettings(path);
        } catch (error) {
          refusal = error;
        }
        expect(refusal === undefined || refusal instanceof SettingsError).toBe(true);
      }),
    );
  },
);
