import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import { z } from "zod";
import {
  byteSize,
  count,
  durationMs,
  nearestKey,
  parseByteSize,
  readSettings,
  readSettingsFile,
  SettingsError,
  socketAddress,
} from "./settings.ts";

/** What reading says: the settings, or the message of the error. */
function outcomeOf<T>(read: () => T): T | string {
  try {
    return read();
  } catch (error) {
    if (error instanceof SettingsError) return error.message;
    throw error;
  }
}

describe("settings from the environment", () => {
  const schema = z.object({
    WAIT_MS: durationMs(500),
    SLOTS: count(16, 1),
    ADDRESS: socketAddress("127.0.0.1:65001"),
    QUOTA: byteSize(2 ** 30),
    KIND: z.enum(["normal", "seed"]).default("normal"),
    TOKEN: z.string(),
  });

  test("take their defaults when they are unset or empty", () => {
    expect(readSettings(schema, { TOKEN: "t", SLOTS: "", WAIT_MS: undefined })).toEqual({
      WAIT_MS: 500,
      SLOTS: 16,
      ADDRESS: { host: "127.0.0.1", port: 65001 },
      QUOTA: 2 ** 30,
      KIND: "normal",
      TOKEN: "t",
    });
  });

  test("are read as the units they are in", () => {
    const env = { WAIT_MS: "0", SLOTS: "2", ADDRESS: "[::1]:0", QUOTA: "1.5GB", TOKEN: "t" };
    expect(readSettings(schema, env)).toMatchObject({
      WAIT_MS: 0,
      SLOTS: 2,
      ADDRESS: { host: "::1", port: 0 },
      QUOTA: 1.5e9,
    });
  });

  test("that are wrong are all named at once", () => {
    const env = { WAIT_MS: "soon", SLOTS: "0", ADDRESS: "here", QUOTA: "big", KIND: "sed" };
    const message = outcomeOf(() => readSettings(schema, env));
    expect(message).toContain("settings in the environment: 6 problems");
    for (const key of ["WAIT_MS", "SLOTS", "ADDRESS", "QUOTA", "KIND", "TOKEN"])
      expect(message).toContain(`\n  ${key}: `);
  });

  test("that have no default are said to be missing", () => {
    expect(outcomeOf(() => readSettings(schema, {}))).toBe(
      "settings in the environment: 1 problem\n  TOKEN: is missing",
    );
  });

  test("that are wrong do not put their value into the message: it may be a secret", () => {
    const secret = z.object({ URL: z.string().regex(/^postgres:/, "is no postgres: URL") });
    const message = outcomeOf(() => readSettings(secret, { URL: "http://user:hunter2@db" }));
    expect(message).toContain("URL: is no postgres: URL");
    expect(message).not.toContain("hunter2");
  });

  test("of other programs are not looked at", () => {
    expect(outcomeOf(() => readSettings(schema, { TOKEN: "t", PATH: "/bin" }))).not.toHaveProperty(
      "PATH",
    );
  });

  test("without a number in them are never read as one", () => {
    for (const text of [" ", "0x10", "1e3", "1.5", "-1", "Infinity", "NaN", "1_000", "12 ms"])
      expect(outcomeOf(() => readSettings(schema, { TOKEN: "t", WAIT_MS: text }))).toContain(
        "WAIT_MS: ",
      );
  });
});

describe("a settings file", () => {
  const directory = mkdtempSync(join(tmpdir(), "lacewing-settings-"));
  afterAll(() => rmSync(directory, { recursive: true }));
  const rule = z.strictObject({ regex: z.string(), useTLS: z.boolean().default(true) });
  const schema = z.strictObject({ quota: byteSize(undefined), rules: z.array(rule).default([]) });

  const read = (text: string) => {
    const path = join(directory, "peer.yaml");
    writeFileSync(path, text);
    return outcomeOf(() => readSettingsFile(schema, path));
  };

  test("is YAML or JSON, and may be empty", () => {
    expect(read("quota: 64MiB\nrules:\n  - regex: blobs/\n")).toEqual({
      quota: 64 * 2 ** 20,
      rules: [{ regex: "blobs/", useTLS: true }],
    });
    expect(read('{"quota": 4096}')).toEqual({ quota: 4096, rules: [] });
    expect(read("")).toEqual({ rules: [] });
  });

  test("with a misspelt key is refused with the key that was meant", () => {
    expect(read("qouta: 1GiB")).toContain('unknown key "qouta"; did you mean "quota"?');
    expect(read("rules:\n  - regex: a\n    useTls: false")).toContain(
      'rules.0: unknown key "useTls"; did you mean "useTLS"?',
    );
  });

  test("with a key unlike any is refused with the keys there are", () => {
    expect(read("mirror: x")).toContain('unknown key "mirror"; known: quota, rules');
  });

  test("names itself and everything that is wrong in it", () => {
    const message = read("quota: huge\nrules:\n  - useTLS: 3\n");
    expect(message).toContain("peer.yaml: 3 problems");
    expect(message).toContain("quota: not a size");
    expect(message).toContain("rules.0.regex: ");
    expect(message).toContain("rules.0.useTLS: ");
  });

  test("that is no YAML or not there is a wrong setting, not a crash", () => {
    expect(read("a: [")).toContain("peer.yaml");
    expect(outcomeOf(() => readSettingsFile(schema, join(directory, "none.yaml")))).toContain(
      "cannot read",
    );
  });
});

describe("a size", () => {
  test.each([
    ["0", 0],
    ["4096", 4096],
    ["1k", 1024],
    ["64KiB", 65_536],
    ["512M", 512 * 2 ** 20],
    ["20 GiB", 20 * 2 ** 30],
    ["1.5GB", 1.5e9],
    ["2tb", 2e12],
    ["7 b", 7],
  ])("%j is %d bytes", (text, bytes) => {
    expect(parseByteSize(text)).toBe(bytes);
  });

  test.each([
    "",
    " ",
    "GiB",
    "-1",
    "1e9",
    "1,5GB",
    "1.GB",
    ".5GB",
    "5 MiB/s",
    "1 PiB",
    "0x10",
    "∞",
    "1GiB 2",
  ])("%j is none", (text) => {
    expect(parseByteSize(text)).toBeUndefined();
  });

  test("beyond what a number counts exactly, or negative, is refused", () => {
    const schema = z.object({ Q: byteSize(1) });
    for (const text of ["9999999TiB", "99999999999999999999"])
      expect(outcomeOf(() => readSettings(schema, { Q: text }))).toContain("Q: not a size");
    expect(schema.safeParse({ Q: -1 }).success).toBe(false);
    expect(schema.safeParse({ Q: 1.5 }).success).toBe(false);
  });

  test("is never read as NaN", () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        expect(parseByteSize(text)).not.toBeNaN();
      }),
    );
  });
});

describe("an address", () => {
  const parse = (text: string) =>
    outcomeOf(() => readSettings(z.object({ A: socketAddress("a:1") }), { A: text }));

  test.each([
    ["0.0.0.0:80", { host: "0.0.0.0", port: 80 }],
    ["[::1]:65001", { host: "::1", port: 65001 }],
    ["node-1.test:0", { host: "node-1.test", port: 0 }],
  ])("%s is host and port", (text, address) => {
    expect(parse(text)).toEqual({ A: address });
  });

  test.each([
    "65001",
    ":65001",
    "host",
    "host:",
    "host:65536",
    "host:-1",
    "::1:80",
    "[::1]",
    "a b:1",
    "http://a:1",
  ])("%s is refused and shown", (text) => {
    expect(parse(text)).toContain(`A: "${text}" is not host:port`);
  });
});

describe("the nearest key", () => {
  test.each([
    ["usetls", "useTLS"],
    ["filterdQueryParams", "filteredQueryParams"],
    ["redirct", "redirect"],
    ["somethingElse", undefined],
  ])("to %s is %s", (key, expected) => {
    expect(nearestKey(key, ["useTLS", "redirect", "filteredQueryParams"])).toBe(expected);
  });

  test("is the key itself where it is known", () => {
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.string({ minLength: 1 }), {
          minLength: 1,
          selector: (k) => k.toLowerCase(),
        }),
        (known) => {
          expect(nearestKey(known[0] ?? "", known)).toBe(known[0]);
        },
      ),
    );
  });
});
