import type { LookupAddress, LookupOptions } from "node:dns";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";
import { ANY_HOST } from "../../core/host-patterns.ts";
import { remoteGuard } from "./remote-guard.ts";

const PORTS = [80, 443];
const guard = remoteGuard(ANY_HOST, [], { allowedNetworks: [], ports: PORTS });

describe("what a remote host may have us read", () => {
  test.each([
    "127.0.0.1",
    "127.255.255.254",
    "0.0.0.0",
    "10.1.2.3",
    "100.100.100.200",
    "169.254.169.254",
    "172.31.0.1",
    "192.168.1.1",
    "192.0.0.192",
    "168.63.129.16",
    "224.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:a9fe:a9fe",
    "64:ff9b::a9fe:a9fe",
    "2002:7f00:1::",
    "fd00:ec2::254",
    "fe80::1",
    "ff02::1",
  ])("not %s", (address) => {
    expect(guard.problemOf(address, 443)).toMatch(/not read for other hosts/);
    expect(guard.problemOf(`[${address}]`, 443)).toMatch(/not read for other hosts/);
  });

  test.each(["8.8.8.8", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "::ffff:8.8.8.8"])(
    "but %s",
    (address) => {
      expect(guard.problemOf(address, 443)).toBeUndefined();
    },
  );

  test("other ports than those that are allowed are refused", () => {
    expect(guard.problemOf("hub.example", 22)).toMatch(/port 22/);
    expect(guard.problemOf("hub.example", 443)).toBeUndefined();
  });

  test("exceptions are exactly the networks that are named, and a denial counts more", () => {
    const some = remoteGuard(ANY_HOST, ["10.9.0.0/16"], {
      allowedNetworks: ["10.0.0.0/8"],
      ports: PORTS,
    });
    expect(some.problemOf("10.1.2.3", 80)).toBeUndefined();
    expect(some.problemOf("::ffff:10.1.2.3", 80)).toBeUndefined();
    expect(some.problemOf("10.9.2.3", 80)).toBeDefined();
    expect(some.problemOf("127.0.0.1", 80)).toBeDefined();
  });

  test("a name that leads to such an address is refused by the answer that a connection would be made with", async () => {
    const lookup = (options: LookupOptions) =>
      promisify<string, LookupOptions, string | LookupAddress[]>(guard.lookup)(
        "inside.localhost",
        options,
      );
    expect(guard.problemOf("inside.localhost", 80)).toBeUndefined();
    await expect(lookup({ all: true })).rejects.toMatchObject({ code: "origin_denied" });
    await expect(lookup({})).rejects.toMatchObject({ code: "origin_denied" });
    const onlyIpv4 = remoteGuard(ANY_HOST, [], { allowedNetworks: ["127.0.0.1"], ports: PORTS });
    const some = promisify<string, LookupOptions, string | LookupAddress[]>(onlyIpv4.lookup);
    expect(await some("inside.localhost", { all: true })).toEqual([
      { address: "127.0.0.1", family: 4 },
    ]);
    expect(await some("inside.localhost", {})).toBe("127.0.0.1");
    await expect(some("inside.localhost", { family: 6 })).rejects.toMatchObject({
      code: "origin_denied",
    });
  });
});
