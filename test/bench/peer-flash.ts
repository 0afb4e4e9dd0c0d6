import { spawn } from "node:child_process";
import { mkdir, writeFile } from "node:fs/promises";
import { connect, createServer } from "node:net";
import { join } from "node:path";
import { findPrograms } from "@lacewing/local/programs.mjs";
import { PEER_HEAP_FLAGS } from "@lacewing/local/services.ts";
import { z } from "zod";
import { besideTarget, machineConditions } from "../support/bench-conditions.ts";
import { startTestCluster, type TestCluster } from "../support/cluster.ts";
import { makeShapedNetwork, type NetworkHost, networkRefusal } from "../support/namespaces.ts";
import { nginxVersion, startNginx } from "../support/nginx.ts";
import { runProcess, runProcessOrThrow } from "../support/processes.ts";
import { connectSql } from "../support/sql.ts";
import { makeTempDir } from "../support/temp-dir.ts";
import { formatSize } from "../support/units.ts";
import { waitFor } from "../support/wait-for.ts";
import { BLOBS, makeBlob, RULES, say } from "./peer-lab.ts";

const HOST_COUNT = 8;
const MAKESPAN_MAX = 1.25;
const COPIES_MAX = 1.005;
const ORIGIN_PORT = 8080;
const PROXY_PORT = 65_001;
const DOWNLOAD_TIMEOUT_MS = 10 * 60_000;

/**
 * Hosts with links of their own want the same content at the same moment from an origin whose link is as narrow: together
 * through Lacewing, and each directly. Nobody can be done before the content has passed one link once: that is the bound.
 */
export async function runFlashCrowdOnLinks(
  linkBitsPerSecond: number,
  sizeBytes: number,
): Promise<void> {
  const refusal = await networkRefusal();
  if (refusal !== undefined) {
    say(`skipped: no network namespaces with shaped links here (${refusal})`);
    return;
  }
  await using dir = await makeTempDir("bench-flash");
  await using network = await makeShapedNetwork(HOST_COUNT + 1, linkBitsPerSecond);
  const [originHost, ...hosts] = network.hosts;
  if (originHost === undefined) throw new Error("the network has no hosts");
  const root = dir.join("root");
  await mkdir(join(root, BLOBS), { recursive: true });
  const blob = await makeBlob(root, `flash-${process.pid}`, sizeBytes);
  await using origin = await startNginx({
    folder: dir.join("origin"),
    prefix: originHost.prefix,
    listen: { host: originHost.address, port: ORIGIN_PORT },
    serves: { kind: "files", root },
  });
  const url = `${origin.url}${blob.path}`;
  await writeFile(dir.join("lacewing.yaml"), RULES);
  await using cluster = await startTestCluster({
    dataDir: dir.join("cluster"),
    peers: 1,
    seedPeers: 0,
  });
  await using nats = await forward(network.ownAddress, cluster.file.natsUrl);
  await using peers = new AsyncDisposableStack();
  for (const [index, host] of hosts.entries()) {
    const name = `flash-${index + 1}`;
    peers.use(await startPeer(host, name, { folder: dir.path, natsUrl: nats.url }));
  }
  await waitUntilKnown(cluster, hosts.length);
  const through = `http://127.0.0.1:${PROXY_PORT}/url/${url}`;
  const together = await secondsOfAll(hosts, through);
  const copies = ((await origin.sentBytes()).get(blob.path) ?? 0) / sizeBytes;
  const direct = await secondsOfAll(hosts, url);
  const bound = (sizeBytes * 8) / linkBitsPerSecond;
  const makespan = Math.max(...together) / bound;
  say(
    `${hosts.length} hosts, ${formatSize(sizeBytes)}, every link ${linkBitsPerSecond / 1e6} Mbit/s each way (tbf), bound ${bound.toFixed(1)} s`,
  );
  say(
    `makespan ${Math.max(...together).toFixed(1)} s against the bound: ${besideTarget(makespan.toFixed(2), `≤ ${MAKESPAN_MAX}`, makespan <= MAKESPAN_MAX)}; first host done after ${Math.min(...together).toFixed(1)} s`,
  );
  say(
    `copies that the origin sent: ${besideTarget(copies.toFixed(3), "1.00", copies <= COPIES_MAX)}`,
  );
  say(
    `all of them directly: ${Math.max(...direct).toFixed(1)} s, ${(Math.max(...direct) / bound).toFixed(2)} of the bound`,
  );
  say(`${machineConditions()} · nginx ${await nginxVersion()} as origin`);
}

async function secondsOfAll(hosts: readonly NetworkHost[], url: string): Promise<number[]> {
  return Promise.all(
    hosts.map(async ({ prefix }) => {
      const [command, ...args] = [...prefix, "curl", "-sSf", "-o", "/dev/null", url];
      return (await runProcessOrThrow({ command, args, timeoutMs: DOWNLOAD_TIMEOUT_MS })).seconds;
    }),
  );
}

/** Control traffic of the hosts comes in here: the servers of the local cluster listen on loopback only. */
async function forward(host: string, natsUrl: string) {
  const target = new URL(natsUrl);
  const server = createServer((socket) => {
    const upstream = connect({ host: target.hostname, port: Number(target.port) });
    socket.pipe(upstream).pipe(socket);
    const end = () => {
      socket.destroy();
      upstream.destroy();
    };
    socket.on("error", end).on("close", end);
    upstream.on("error", end);
  });
  await new Promise<void>((resolve) => server.listen(0, host, resolve));
  const bound = server.address();
  if (bound === null || typeof bound === "string") throw new TypeError("no TCP address");
  const url = new URL(natsUrl);
  url.host = `${host}:${bound.port}`;
  return {
    url: url.href,
    [Symbol.asyncDispose]: async () => {
      server.close();
    },
  };
}

async function startPeer(
  host: NetworkHost,
  hostId: string,
  { folder, natsUrl }: { readonly folder: string; readonly natsUrl: string },
) {
  const dataDir = join(folder, hostId);
  await mkdir(dataDir, { recursive: true });
  const entry = findPrograms().entryOf("peer");
  const [command, ...args] = [...host.prefix, process.execPath, ...PEER_HEAP_FLAGS, entry];
  const child = spawn(command, args, {
    stdio: ["ignore", "ignore", "inherit"],
    env: {
      PATH: process.env["PATH"],
      LACEWING_NATS_URL: natsUrl,
      LACEWING_CLUSTER_SECRET_FILE: join(folder, "cluster", "cluster-secret"),
      LACEWING_CONFIG: join(folder, "lacewing.yaml"),
      LACEWING_LOG_LEVEL: "warn",
      LACEWING_PEER_HOST_ID: hostId,
      LACEWING_PEER_DATA_DIR: dataDir,
      LACEWING_PEER_PROXY_ADDRESS: `127.0.0.1:${PROXY_PORT}`,
      LACEWING_PEER_TRANSFER_ADDRESS: `${host.address}:7000`,
      LACEWING_PEER_IDC: "bench",
      LACEWING_PEER_LOCATION: `bench|${hostId}`,
    },
  });
  const exited = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  const [probe, ...probeArgs] = [...host.prefix, "curl", "-s", `127.0.0.1:${PROXY_PORT}/`];
  const timeoutMs = 60_000;
  await waitFor(
    `${hostId} listens`,
    async () => {
      if (child.exitCode !== null) throw new Error(`it ended with ${child.exitCode}`);
      return (await runProcess({ command: probe, args: probeArgs })).exitCode === 0;
    },
    { timeoutMs, intervalMs: 500 },
  );
  return {
    [Symbol.asyncDispose]: async () => {
      child.kill("SIGTERM");
      await exited;
    },
  };
}

/** Hosts that the scheduler has not heard of share less. */
async function waitUntilKnown(cluster: TestCluster, count: number): Promise<void> {
  const row = z.object({ count: z.coerce.number() });
  await using sql = await connectSql(cluster.file.databaseUrl);
  await waitFor(
    "the scheduler knows all hosts",
    async () => {
      const query = "select count(*) as count from hosts where host_id like 'flash-%'";
      const [known] = await sql.rows(row, query);
      return known?.count === count;
    },
    { timeoutMs: 60_000, intervalMs: 200 },
  );
}
