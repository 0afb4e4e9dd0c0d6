import { mkdir, open, rename, writeFile } from "node:fs/promises";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { z } from "zod";
import { machineConditions } from "../support/bench-conditions.ts";
import { type ClusterPeer, startTestCluster, type TestCluster } from "../support/cluster.ts";
import { openContent, seededContent } from "../support/content.ts";
import { cpuSecondsOfPids } from "../support/cpu-time.ts";
import { type Nginx, nginxVersion, startNginx } from "../support/nginx.ts";
import { runProcessOrThrow } from "../support/processes.ts";
import { makeTempDir, type TempDir } from "../support/temp-dir.ts";

/** A content that the origin offers under its digest, as registries do: peers know what it is from its URL. */
export interface Blob {
  readonly path: string;
  /** Where the origin has it on disk. */
  readonly file: string;
  readonly sizeBytes: number;
}

/** An origin that sends by sendfile, a caching nginx in front of it, and a cluster of peers: what the rows are measured in. */
export interface PeerLab {
  readonly dir: TempDir;
  readonly origin: Nginx;
  readonly rival: Nginx;
  readonly cluster: TestCluster;
  readonly peers: readonly LabPeer[];
  /** Makes a content that nobody has asked for yet. */
  makeBlob(sizeBytes: number): Promise<Blob>;
  [Symbol.asyncDispose](): Promise<void>;
}

export interface LabPeer extends ClusterPeer {
  readonly pid: number;
  /** How a client asks this peer for a content of the origin. */
  urlOf(blob: Blob): string;
}

/** One download, or some in a row, as the client saw it. */
export interface Download {
  readonly seconds: number;
  readonly firstByteMs: number;
  readonly bytesPerSecond: number;
}

const CHUNK_BYTES = 2 ** 20;
/** Folder of the contents below the root of the origin. */
export const BLOBS = "v2/bench/blobs";
/** Content of the origin is for everybody: hits are not to measure the origin's answer to "may he?". */
export const RULES = `proxy:
  rules:
    - regex: ^http://[\\d.]+:\\d+/(files/)?v2/
      access: public
`;

/** @param options.peers without seeds: these would take copies of their own on the same cores. */
export async function openPeerLab(options: {
  readonly peers: number;
  readonly env?: Readonly<Record<string, string>>;
}): Promise<PeerLab> {
  const stack = new AsyncDisposableStack();
  try {
    const dir = stack.use(await makeTempDir("bench-peer"));
    const root = dir.join("root");
    await mkdir(join(root, BLOBS), { recursive: true });
    const files = { kind: "files", root } as const;
    const origin = stack.use(await startNginx({ folder: dir.join("origin"), serves: files }));
    const cache = { kind: "cache", upstreamPort: origin.port } as const;
    const rival = stack.use(await startNginx({ folder: dir.join("rival"), serves: cache }));
    const configFile = dir.join("lacewing.yaml");
    await writeFile(configFile, RULES);
    const cluster = stack.use(
      await startTestCluster({
        dataDir: dir.join("cluster"),
        seedPeers: 0,
        configFile,
        ...options,
      }),
    );
    const peers = cluster.file.peers.map((peer) => ({
      ...peer,
      pid: cluster.file.pids.peers[peer.hostId] ?? 0,
      urlOf: ({ path }: Blob) => `${peer.proxyUrl}/url/${origin.url}${path}`,
    }));
    let count = 0;
    const resources = stack.move();
    return {
      dir,
      origin,
      rival,
      cluster,
      peers,
      makeBlob: async (sizeBytes) => makeBlob(root, `${process.pid}-${count++}`, sizeBytes),
      [Symbol.asyncDispose]: async () => resources.disposeAsync(),
    };
  } finally {
    await stack.disposeAsync();
  }
}

/** Where the figures come from. */
export async function labConditions(): Promise<string> {
  const { stdout } = await runProcessOrThrow({ command: "curl", args: ["--version"] });
  const curl = /^curl ([\d.]+)/.exec(stdout)?.[1] ?? "unknown";
  return `${machineConditions()} · nginx ${await nginxVersion()} · curl ${curl}, loopback, page cache warm`;
}

const curlReport = z.object({
  http_code: z.number(),
  size_download: z.number(),
  time_total: z.number(),
  time_starttransfer: z.number(),
});

/** Downloads with curl into nothing; the same client for everybody. @throws when it is not all there. */
export async function curlToNull(url: string, sizeBytes: number): Promise<Download> {
  const { stdout } = await runProcessOrThrow({
    command: "curl",
    args: ["-sS", "-o", "/dev/null", "-w", "%{json}", url],
    timeoutMs: 10 * 60_000,
  });
  const report = curlReport.parse(JSON.parse(stdout));
  if (report.http_code !== 200 || report.size_download !== sizeBytes) {
    throw new Error(`${url}: ${report.http_code} with ${report.size_download} bytes`);
  }
  return {
    seconds: report.time_total,
    firstByteMs: report.time_starttransfer * 1000,
    bytesPerSecond: sizeBytes / report.time_total,
  };
}

/** CPU seconds that processes use while `work` runs. */
export async function cpuOf<Result>(
  pids: readonly number[],
  work: () => Promise<Result>,
): Promise<{ readonly result: Result; readonly cpuSeconds: number }> {
  const before = await cpuSecondsOfPids(pids);
  const result = await work();
  return { result, cpuSeconds: (await cpuSecondsOfPids(pids)) - before };
}

/** Runs both, in turns that change from round to round so that neither always comes second. */
export async function inTurns<Sample>(
  rounds: number,
  rival: (round: number) => Promise<Sample>,
  ours: (round: number) => Promise<Sample>,
): Promise<readonly { readonly rival: Sample; readonly ours: Sample }[]> {
  const pairs: { rival: Sample; ours: Sample }[] = [];
  for (let round = 0; round < rounds; round++) {
    if (round % 2 === 0) {
      const first = await rival(round);
      pairs.push({ rival: first, ours: await ours(round) });
    } else {
      const first = await ours(round);
      pairs.push({ ours: first, rival: await rival(round) });
    }
  }
  return pairs;
}

export function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}

/** `0.93 (0.90, 0.93, 1.02)`: the median, and each round. */
export function medianOf(values: readonly number[], digits = 2): string {
  return `${median(values).toFixed(digits)} (${values.map((value) => value.toFixed(digits)).join(", ")})`;
}

export function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** @param seed makes it different from all others. */
export async function makeBlob(root: string, seed: string, sizeBytes: number): Promise<Blob> {
  await using content = await openContent(seededContent(seed, sizeBytes));
  const making = join(root, `making-${seed}`);
  await using file = await open(making, "w");
  const hash = createHash("sha256");
  for (let at = 0; at < sizeBytes; at += CHUNK_BYTES) {
    const bytes = await content.read(at, Math.min(CHUNK_BYTES, sizeBytes - at));
    hash.update(bytes);
    await file.write(bytes);
  }
  const path = `${BLOBS}/sha256:${hash.digest("hex")}`;
  const name = join(root, path);
  await rename(making, name);
  return { path: `/${path}`, file: name, sizeBytes };
}
