import { createHash } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { bytesOf, fileContent, openContent, seededContent, sha256Of } from "./content.ts";
import { makeTempDir } from "./temp-dir.ts";

const SIZE_BYTES = 3 * 2 ** 20 + 17;

test("any range of a seeded content is the same as that part of the whole", async () => {
  const content = seededContent("range", SIZE_BYTES);
  const whole = await bytesOf(content);
  await using reader = await openContent(content);
  for (const [offset, length] of [
    [0, 1],
    [15, 2],
    [16, 16],
    [1_000_003, 1_500_000],
    [SIZE_BYTES - 5, 5],
  ] as const) {
    expect(await reader.read(offset, length)).toEqual(whole.subarray(offset, offset + length));
  }
});

test("the same seed gives the same bytes and another seed others", async () => {
  const oids = await Promise.all(
    ["a", "a", "b"].map(async (seed) => sha256Of(seededContent(seed, 1000))),
  );
  expect(oids[0]).toBe(oids[1]);
  expect(oids[0]).not.toBe(oids[2]);
});

test("the oid of a file is the SHA-256 of its bytes", async () => {
  await using dir = await makeTempDir("content");
  const path = dir.join("file");
  await writeFile(path, "large file");
  const expected = createHash("sha256").update("large file").digest("hex");
  expect(await sha256Of(await fileContent(path))).toBe(expected);
});
