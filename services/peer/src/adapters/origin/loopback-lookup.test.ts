import { promisify } from "node:util";
import type { LookupAddress, LookupOptions } from "node:dns";
import { expect, test } from "vitest";
import { isLoopbackName, loopbackLookup } from "./loopback-lookup.ts";

const lookup = (hostname: string, options: LookupOptions) =>
  promisify<string, LookupOptions, string | LookupAddress[]>(loopbackLookup)(hostname, options);

test.each(["localhost", "lfs.localhost", "A.B.LocalHost", "lfs.localhost."])(
  "%s is loopback",
  async (name) => {
    expect(isLoopbackName(name)).toBe(true);
    expect(await lookup(name, { all: true })).toEqual([
      { address: "127.0.0.1", family: 4 },
      { address: "::1", family: 6 },
    ]);
    expect(await lookup(name, {})).toBe("127.0.0.1");
    expect(await lookup(name, { family: 6 })).toBe("::1");
  },
);

test.each(["localhost.example", "notlocalhost", "127.0.0.1"])("%s is not", (name) => {
  expect(isLoopbackName(name)).toBe(false);
});

test("an address needs no name server", async () => {
  expect(await lookup("127.0.0.2", { all: true })).toEqual([{ address: "127.0.0.2", family: 4 }]);
});
