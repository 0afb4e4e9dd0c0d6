import { createHash } from "node:crypto";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  digestOfHex,
  hexOfDigest,
  parseBootId,
  parseDigest,
  parseHostId,
  parseLeaseId,
  parseRequestId,
  parseTaskId,
  taskIdOf,
} from "./ids.ts";

const sha256Hex = (text: string): string => createHash("sha256").update(text).digest("hex");
const HEX = "0123456789abcdef".repeat(4);

/** Texts that would be something else in a subject, a path, a log line or a query. */
const HOSTILE_NAMES = [
  "",
  " ",
  "a.b",
  "a*",
  ">",
  "a b",
  "a\n",
  "a\0b",
  "../x",
  "a/b",
  "ä",
  "x".repeat(65),
];

describe("names of hosts, boots, requests and leases", () => {
  const parsers = [parseHostId, parseBootId, parseRequestId, parseLeaseId];

  test.each(HOSTILE_NAMES)("%j is no name", (text) => {
    expect(parsers.map((parse) => parse(text))).toEqual(parsers.map(() => undefined));
  });

  test("a name is 1 to 64 letters, digits, - and _, kept as it is", () => {
    fc.assert(
      fc.property(fc.stringMatching(/^[A-Za-z0-9_-]{1,64}$/), (text) => {
        for (const parse of parsers) expect(parse(text)).toBe(text);
      }),
    );
  });
});

describe("a task id", () => {
  test("is 64 lower-case hex digits", () => {
    expect(parseTaskId(HEX)).toBe(HEX);
    for (const text of [
      "",
      HEX.toUpperCase(),
      HEX.slice(1),
      `${HEX}0`,
      `${HEX}\n`,
      `${HEX.slice(1)}g`,
    ])
      expect(parseTaskId(text)).toBeUndefined();
  });

  test("stays the same for ever: every host and every stored row depends on it", () => {
    expect(taskIdOf("lfs.test", [`sha256:${HEX}`], sha256Hex)).toBe(
      "da31411b3e383523674cea41058c4d856a6eb1f6e02fbad7ffc25b4455483787",
    );
  });

  test("counts a field's length, so that two field lists never give the same id", () => {
    const fields = fc.array(fc.string({ maxLength: 6 }), { maxLength: 4 });
    fc.assert(
      fc.property(fields, fields, fc.string(), fc.string(), (keyA, keyB, domainA, domainB) => {
        const same = JSON.stringify([domainA, keyA]) === JSON.stringify([domainB, keyB]);
        expect(taskIdOf(domainA, keyA, sha256Hex) === taskIdOf(domainB, keyB, sha256Hex)).toBe(
          same,
        );
      }),
    );
    expect(taskIdOf("a", ["bc"], sha256Hex)).not.toBe(taskIdOf("ab", ["c"], sha256Hex));
    expect(taskIdOf("a", ["1:b"], sha256Hex)).not.toBe(taskIdOf("a", ["1", "b"], sha256Hex));
  });

  test("of the same content in two sharing domains is two ids", () => {
    expect(taskIdOf("a.test", [HEX], sha256Hex)).not.toBe(taskIdOf("b.test", [HEX], sha256Hex));
  });
});

describe("a digest", () => {
  test("is read in either case and written in lower case", () => {
    expect(parseDigest(`SHA256:${HEX.toUpperCase()}`)).toBe(`sha256:${HEX}`);
  });

  test.each([
    "",
    "sha256:",
    `sha512:${HEX}`,
    HEX,
    `sha256:${HEX}0`,
    `sha256:${HEX} `,
    `sha256-${HEX}`,
  ])("%j is none", (text) => {
    expect(parseDigest(text)).toBeUndefined();
  });

  test("round-trips through its hex digits", () => {
    const digest = digestOfHex(HEX);
    expect(digest === undefined ? undefined : hexOfDigest(digest)).toBe(HEX);
    expect(digestOfHex("abc")).toBeUndefined();
  });
});
