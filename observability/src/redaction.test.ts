import { inspect } from "node:util";
import { describe, expect, test } from "vitest";
import { errorForLog, redacted, textForLog, urlForLog } from "./redaction.ts";
import { Secret } from "./secret.ts";

describe("a secret", () => {
  test("is only seen by revealing it", () => {
    const secret = new Secret("hunter2");
    const shown = [String(secret), JSON.stringify({ secret }), inspect({ secret })];
    expect(shown.join()).not.toContain("hunter2");
    expect(secret.reveal()).toBe("hunter2");
  });
});

describe("a URL in a log", () => {
  test.each([
    ["https://user:pw@lfs.test/o/1?X-Amz-Signature=abc#top", "https://lfs.test/o/1"],
    [new URL("http://lfs.test:81/a?token=1"), "http://lfs.test:81/a"],
    ["/objects/1?token=abc", "/objects/1"],
    ["//user:pw@lfs.test/a?x", "//lfs.test/a"],
    ["http://bad host/a?token=abc", "http://bad host/a"],
  ])("%s is shown as %s", (url, shown) => {
    expect(urlForLog(url)).toBe(shown);
  });

  test("loses its query inside a sentence too", () => {
    expect(textForLog("GET https://u:p@a.test/b?sig=1 failed: 403")).toBe(
      "GET https://a.test/b failed: 403",
    );
  });
});

describe("redaction", () => {
  test("replaces values by key at any depth, whatever the key's spelling", () => {
    const shown = JSON.stringify(
      redacted({
        headers: {
          Authorization: "Bearer s3cret",
          "Proxy-Authorization": "Basic s3cret",
          "set-cookie": ["s3cret"],
          "x-amz-security-token": "s3cret",
        },
        leaseToken: "s3cret",
        databasePassword: "s3cret",
        "X-Amz-Signature": "s3cret",
        nested: [{ api_key: "s3cret" }],
      }),
    );
    expect(shown).not.toContain("s3cret");
  });

  test("keeps ids, counts and units", () => {
    const fields = { taskId: "ab", tokenCount: 3, costMs: 1.5, authority: "lfs.test:443" };
    expect(redacted(fields)).toEqual(fields);
  });

  test("replaces a secret by its type, whatever its key", () => {
    expect(redacted({ a: [new Secret("s3cret")] })).toEqual({ a: ["[redacted]"] });
  });

  test("gives an error with code and causes, and no URL queries", () => {
    const cause = Object.assign(new Error("connect to http://o.test/x?sig=s3cret"), {
      code: "ECONNREFUSED",
    });
    const shown = errorForLog(new Error("open failed", { cause }));
    expect(shown).toMatchObject({
      name: "Error",
      message: "open failed",
      cause: { code: "ECONNREFUSED", message: "connect to http://o.test/x" },
    });
    expect(JSON.stringify(shown)).not.toContain("s3cret");
  });

  test("an error that is its own cause ends", () => {
    const error = new Error("loop");
    error.cause = error;
    expect(JSON.stringify(errorForLog(error)).length).toBeLessThan(20_000);
  });

  test("makes everything into JSON: cycles, bigints, bytes, getters that throw, non-finite numbers", () => {
    const hostile: Record<string, unknown> = {
      n: 1n,
      bytes: Buffer.alloc(9),
      nan: Number.NaN,
      map: new Map([["k", 1]]),
    };
    hostile["self"] = hostile;
    Object.defineProperty(hostile, "later", { enumerable: false, get: () => 1 });
    expect(redacted(hostile)).toEqual({
      n: "1",
      bytes: "[9 bytes]",
      nan: "NaN",
      map: { k: 1 },
      self: "[circular]",
    });
    const throwing = {
      get bad() {
        throw new Error("no");
      },
    };
    expect(redacted(throwing)).toEqual({ unreadable: true });
  });

  test("bounds depth, breadth and length", () => {
    let deep: unknown = "end";
    for (let depth = 0; depth < 50; depth += 1) deep = { deep };
    expect(JSON.stringify(redacted(deep))).toContain("[too deep]");
    expect(redacted(Array.from({ length: 101 }, () => 0))).toHaveLength(101);
    expect(JSON.stringify(redacted({ text: "x".repeat(1e6) })).length).toBeLessThan(10_000);
  });
});
