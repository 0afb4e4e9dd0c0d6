import { createHash } from "node:crypto";
import { expect, test } from "vitest";
import { withDeathSignal } from "./death-signal.ts";
import {
  compareVersions,
  NATS_VERSION_MIN,
  natsArchive,
  parseNatsVersion,
} from "./nats-release.ts";
import { natsConfig, natsUrl } from "./nats-server.ts";

test("the version is read from what releases, candidates and Debian's build print", () => {
  expect(parseNatsVersion("nats-server: v2.9.10\n")).toBe("2.9.10");
  expect(parseNatsVersion("nats-server: v2.11.6-RC.1")).toBe("2.11.6");
  expect(parseNatsVersion("gnatsd: development")).toBeUndefined();
});

test("versions are compared by number, not by text", () => {
  expect(compareVersions("2.10.0", NATS_VERSION_MIN)).toBeGreaterThan(0);
  expect(compareVersions("2.9.9", NATS_VERSION_MIN)).toBeLessThan(0);
  expect(compareVersions("2.9.10", NATS_VERSION_MIN)).toBe(0);
});

test("there is an archive with a full SHA-256 for both Linux machines and for nothing else", () => {
  const hexLength = createHash("sha256").update("").digest("hex").length;
  for (const arch of ["x64", "arm64"] as const) {
    expect(natsArchive("linux", arch)?.sha256).toMatch(new RegExp(`^[0-9a-f]{${hexLength}}$`));
  }
  expect(natsArchive("linux", "x64")?.url).toMatch(/-linux-amd64\.tar\.gz$/);
  expect(natsArchive("linux", "riscv64")).toBeUndefined();
  expect(natsArchive("darwin", "arm64")).toBeUndefined();
});

test("the configuration keeps to loopback and survives spaces and quotes in a path", () => {
  const config = natsConfig({
    dataDir: '/a b/"c"',
    port: 4222,
    monitorPort: 8222,
    user: "lacewing",
    password: "secret",
  });
  expect(config).toContain('listen: "127.0.0.1:4222"');
  expect(config).toContain('http: "127.0.0.1:8222"');
  expect(config).toContain('store_dir: "/a b/\\"c\\"/nats/jetstream"');
  // nats-server 2.9.10 reads `name{` as one word and refuses to start on `sync_interval`.
  expect(config).not.toMatch(/\S\{/);
  expect(config).not.toContain("sync_interval");
  expect(natsUrl({ port: 4222, user: "u", password: "p" })).toBe("nats://u:p@127.0.0.1:4222");
});

test("a server dies with its supervisor where setpriv can arrange it, and runs as it is elsewhere", () => {
  expect(withDeathSignal("setpriv", "SIGINT", "/bin/postgres", ["-D", "/d"])).toEqual({
    command: "setpriv",
    args: ["--pdeathsig", "INT", "--", "/bin/postgres", "-D", "/d"],
  });
  expect(withDeathSignal(undefined, "SIGTERM", "/bin/nats-server", [])).toEqual({
    command: "/bin/nats-server",
    args: [],
  });
});
