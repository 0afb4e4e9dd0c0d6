import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { FIXTURES_DIR, fileNameOf, FORMATS, toPlain } from "../scripts/fixture-files.ts";
import { SAMPLES } from "../scripts/fixture-samples.ts";
import { decodeEventMessage } from "./events/decode.ts";

/**
 * Goal: whatever was once written to a stream can be read by every later version.
 *
 * Method: `fixtures/` holds one encoding of every kind, written once by `scripts/write-fixtures.ts` and never again.
 * Each must decode to what its JSON says; fields that were added since then are allowed, changed ones are not.
 */

interface Fixture {
  readonly name: string;
  readonly bytes: Uint8Array;
  readonly subject: string;
  readonly message: object;
}

function fixturesOf(format: string): readonly Fixture[] {
  const folder = new URL(`${format}/`, FIXTURES_DIR);
  return readdirSync(folder)
    .filter((name) => name.endsWith(".bin"))
    .map((name) => {
      const described: unknown = JSON.parse(
        readFileSync(new URL(name.replace(/bin$/, "json"), folder), "utf8"),
      );
      if (!isDescription(described)) throw new Error(`${format}/${name} has no description`);
      return { name, bytes: readFileSync(new URL(name, folder)), ...described };
    });
}

function isDescription(value: unknown): value is Pick<Fixture, "subject" | "message"> {
  return (
    typeof value === "object" &&
    value !== null &&
    "subject" in value &&
    typeof value.subject === "string" &&
    "message" in value &&
    typeof value.message === "object"
  );
}

/** The fields of `oneof kind` in a message of a proto. */
function kindsInProto(proto: string, message: string): readonly string[] {
  const text = readFileSync(new URL(`../proto/lacewing/${proto}`, import.meta.url), "utf8");
  const oneof = new RegExp(String.raw`message ${message} \{[^}]*oneof kind \{([^}]*)\}`).exec(text);
  return [...(oneof?.[1] ?? "").matchAll(/\w+ (\w+) = \d+;/g)].map((match) => match[1] ?? "");
}

describe.each(Object.entries(FORMATS))("%s", (format, { codec, proto, message }) => {
  const fixtures = fixturesOf(format);

  test("every kind of the proto has a fixture: run `npm run fixtures -w contracts`", () => {
    const kinds = kindsInProto(proto, message);
    expect(kinds.length).toBeGreaterThan(0);
    expect(fixtures.map(({ name }) => name)).toEqual(
      expect.arrayContaining(kinds.map((kind) => `${fileNameOf(kind)}.bin`)),
    );
  });

  test.each(fixtures)("$name decodes to what it says", (fixture) => {
    expect(toPlain(codec.decode(fixture.bytes))).toMatchObject(fixture.message);
  });
});

test.each(fixturesOf("events-v1"))("$name passes the checks at the edge", ({ subject, bytes }) => {
  expect(decodeEventMessage(subject, bytes)).toMatchObject({ ok: true, refused: undefined });
});

test("today's encoder still writes the bytes of the fixtures", () => {
  for (const [kind, { message }] of Object.entries(SAMPLES["events-v1"])) {
    const stored = fixturesOf("events-v1").find(({ name }) => name === `${fileNameOf(kind)}.bin`);
    const written = FORMATS["events-v1"].codec.encode(message).finish();
    expect(Buffer.from(written).toString("hex")).toBe(
      Buffer.from(stored?.bytes ?? []).toString("hex"),
    );
  }
});
