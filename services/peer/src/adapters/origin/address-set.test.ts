import { expect, test } from "vitest";
import { AddressSet, isNetwork } from "./address-set.ts";

test("addresses are in the networks that hold them, in either writing of IPv4", () => {
  const some = new AddressSet(["10.0.0.0/8", "192.0.2.7", "fd00::/8", "fe80::/10"]);
  const inside = [
    "10.255.0.1",
    "192.0.2.7",
    "::ffff:10.0.0.1",
    "::ffff:a00:1",
    "fd12:3456::1",
    "fe80::1%lo",
  ];
  expect(inside.filter((address) => !some.has(address))).toEqual([]);
  const outside = ["11.0.0.1", "192.0.2.8", "::1", "fc00::1", "::ffff:11.0.0.1", "host", ""];
  expect(outside.filter((address) => some.has(address))).toEqual([]);
});

test("everything is in /0, of its own family", () => {
  const all = new AddressSet(["0.0.0.0/0", "::/0"]);
  expect(all.has("203.0.113.9")).toBe(true);
  expect(all.has("2001:db8::1")).toBe(true);
});

test.each([
  "",
  "10.0.0.0/33",
  "fd00::/129",
  "10.0.0/8",
  "host/8",
  "10.0.0.0/8/8",
  "fe80::1%lo/64",
  "1.2.3.4/-1",
])("%j is no network", (text) => {
  expect(isNetwork(text)).toBe(false);
  expect(() => new AddressSet([text])).toThrow(/no network/);
});
