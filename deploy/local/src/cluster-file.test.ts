import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import {
  type ClusterFile,
  pidsOf,
  readClusterFile,
  removeClusterFile,
  writeClusterFile,
} from "./cluster-file.ts";
import { summaryOf } from "./summary.ts";

const directory = mkdtempSync(join(tmpdir(), "lacewing-cluster-file-"));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const cluster: ClusterFile = {
  peers: [
    {
      hostId: "peer-1",
      kind: "normal",
      proxyUrl: "http://127.0.0.1:65001",
      apiSocket: "/d/run/peer-1.sock",
      dataDir: "/d/peers/peer-1",
    },
  ],
  natsUrl: "nats://lacewing:top-secret@127.0.0.1:4222",
  databaseUrl: "postgres://lacewing:top-secret@127.0.0.1:5432/lacewing",
  tracesUrl: "http://127.0.0.1:16686",
  schedulerAddress: "127.0.0.1:8002",
  pids: { nats: 11, postgres: null, scheduler: 12, traces: null, peers: { "peer-1": 13 } },
};

test("what is written is read again, by the owner only, until it is removed", () => {
  writeClusterFile(directory, cluster);
  expect(readClusterFile(directory)).toEqual(cluster);
  expect(statSync(join(directory, "cluster.json")).mode & 0o777).toBe(0o600);
  removeClusterFile(directory);
  expect(readClusterFile(directory)).toBeUndefined();
});

test("a damaged file is refused with its path and a way out", () => {
  writeFileSync(join(directory, "cluster.json"), '{"peers": 1}');
  expect(() => readClusterFile(directory)).toThrow(join(directory, "cluster.json"));
  removeClusterFile(directory);
});

test("servers that are not ours have no pid to signal", () => {
  expect(pidsOf(cluster)).toEqual([11, 12, 13]);
});

test("the summary names the addresses and hides the passwords", () => {
  const summary = summaryOf(cluster, "/d");
  expect(summary).toContain("curl -x http://127.0.0.1:65001");
  expect(summary).toContain("127.0.0.1:5432/lacewing");
  expect(summary).not.toContain("top-secret");
});
