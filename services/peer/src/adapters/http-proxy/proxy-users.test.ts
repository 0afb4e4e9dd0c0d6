import { createHash } from "node:crypto";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SettingsError } from "@lacewing/runtime/settings.ts";
import { expect, test } from "vitest";
import { parseProxyUsers, readProxyUsers } from "./proxy-users.ts";

const SECRET = "correct-horse-battery";
const basic = (pair: string) => `Basic ${Buffer.from(pair).toString("base64")}`;

test("a name with its secret is known, in plain or by its digest, whatever the case of the scheme", () => {
  const digest = createHash("sha256").update("a:secret:with:colons").digest("hex");
  const users = parseProxyUsers(`# people\nann:${SECRET}\n\nbob:sha256:${digest}\r\n`, "users");
  expect(users.count).toBe(2);
  expect(users.isKnown(basic(`ann:${SECRET}`))).toBe(true);
  expect(users.isKnown(basic(`ann:${SECRET}`).replace("Basic", "bAsIc"))).toBe(true);
  expect(users.isKnown(basic("bob:a:secret:with:colons"))).toBe(true);
});

test.each([
  undefined,
  "",
  "Basic",
  "Basic !!!",
  basic(`ann:${SECRET}x`),
  basic(`ann:${SECRET.slice(0, -1)}`),
  basic(`Ann:${SECRET}`),
  basic(`bob:${SECRET}`),
  basic(`ann`),
  basic(`:${SECRET}`),
  `Bearer ${SECRET}`,
  `${basic(`ann:${SECRET}`)}, ${basic(`ann:${SECRET}`)}`,
  basic(`ann:${"x".repeat(5000)}`),
])("%j is nobody", (header) => {
  expect(parseProxyUsers(`ann:${SECRET}`, "users").isKnown(header)).toBe(false);
});

test.each([
  ["", /names no user/],
  ["# only a comment", /names no user/],
  ["ann", /line 1: not name:secret/],
  [`:${SECRET}`, /line 1: not name:secret/],
  [`ann:${SECRET}\nann:${SECRET}2`, /line 2: a name that was there before/],
  ["ann:tooshort", /line 1: the secret has 8 characters, at least 16/],
  ["ann:sha256:abc", /line 1: sha256: needs 64/],
])("the file %j is refused", (text, why) => {
  expect(() => parseProxyUsers(text, "users")).toThrow(why);
  expect(() => parseProxyUsers(text, "users")).toThrow(SettingsError);
  // What is wrong with a line is said without the line: it holds a secret.
  expect(() => parseProxyUsers(text, "users")).not.toThrow(/tooshort|correct-horse/);
});

test("a file that others can read is refused, a missing one too", () => {
  const folder = mkdtempSync(join(tmpdir(), "lw-users-"));
  const path = join(folder, "users");
  try {
    writeFileSync(path, `ann:${SECRET}\n`, { mode: 0o600 });
    expect(readProxyUsers(path, "k").isKnown(basic(`ann:${SECRET}`))).toBe(true);
    chmodSync(path, 0o640);
    expect(() => readProxyUsers(path, "k")).toThrow(/chmod 600/);
    expect(() => readProxyUsers(join(folder, "none"), "k")).toThrow(/cannot read/);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
