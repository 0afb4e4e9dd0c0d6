import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { ClusterFile } from "./cluster-file.ts";
import { checkStart, optionsNotApplied, recordOptions } from "./start-options.ts";

let dataDir: string;
beforeEach(() => {
  dataDir = mkdtempSync(join(tmpdir(), "lacewing-options-"));
});
afterEach(() => rmSync(dataDir, { recursive: true, force: true }));

const peer = (hostId: string, kind: "normal" | "seed", port: number) => ({
  hostId,
  kind,
  proxyUrl: `http://127.0.0.1:${port}`,
  apiSocket: `/r/${hostId}.sock`,
  dataDir: `/d/${hostId}`,
});
const cluster: ClusterFile = {
  peers: [peer("peer-1", "normal", 7001), peer("seed-1", "seed", 7002)],
  natsUrl: "nats://127.0.0.1:4222",
  databaseUrl: "postgres://127.0.0.1:5432/lacewing",
  tracesUrl: null,
  schedulerAddress: "127.0.0.1:8002",
  pids: { nats: 1, postgres: 2, scheduler: 3, traces: null, peers: {} },
};

test("a first proxy port that leaves none for the last host is refused with the greatest that does not", async () => {
  const counts = { peers: 2, seedPeers: 1 };
  await expect(checkStart({ ...counts, proxyPort: 65_534 }, {})).rejects.toMatchObject({
    message: "proxy port 65534 leaves no ports for 3 hosts: they would end at 65536, beyond 65535",
    hint: "Choose 65533 or less with --proxy-port.",
  });
  await checkStart({ ...counts, proxyPort: 65_533 }, {});
});

test("what a running cluster was not started with is named", () => {
  recordOptions(dataDir, { peers: 1, seedPeers: 1, schedulers: 2, configFile: "a.yaml" });
  const given = { peers: 3, seedPeers: 0, schedulers: 1, proxyPort: 9000, configFile: "b.yaml" };
  const env = {
    LACEWING_NATS_URL: "nats://u:top-secret@a",
    LACEWING_DATABASE_URL: "postgres://a/b",
  };
  expect(optionsNotApplied(dataDir, cluster, given, env)).toEqual([
    "--peers 3",
    "--seed-peers 0",
    "--schedulers 1",
    "--proxy-port 9000",
    `--config ${resolve("b.yaml")}`,
    "LACEWING_NATS_URL",
    "LACEWING_DATABASE_URL",
  ]);
});

test("asking again for what runs is no difference, nor is what was left out", () => {
  const started = { peers: 1, seedPeers: 1, schedulers: 2, proxyPort: 7000, configFile: "a.yaml" };
  recordOptions(dataDir, started);
  const env = { LACEWING_NATS_URL: cluster.natsUrl, LACEWING_DATABASE_URL: "" };
  expect(optionsNotApplied(dataDir, cluster, started, env)).toEqual([]);
  // The first port had moved, and is known by its new number too.
  expect(optionsNotApplied(dataDir, cluster, { proxyPort: 7001 }, env)).toEqual([]);
  expect(optionsNotApplied(dataDir, cluster, {}, {})).toEqual([]);
});
