import { rmSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { readJson, writePrivateJson } from "./files.ts";

const pid = z.number().int().positive().nullable();

const clusterFileSchema = z.object({
  peers: z.array(
    z.object({
      hostId: z.string(),
      kind: z.enum(["normal", "seed"]),
      /** `http://127.0.0.1:65001`. */
      proxyUrl: z.string(),
      /** Path of the unix socket with the peer's gRPC API. */
      apiSocket: z.string(),
      dataDir: z.string(),
    }),
  ),
  /** With user and password: the file is readable by its owner only. */
  natsUrl: z.string(),
  databaseUrl: z.string(),
  /** Base URL of the trace queries; `null` when spans go to a store whose queries we do not know. */
  tracesUrl: z.string().nullable(),
  /** `host:port` of the scheduler's gRPC service. */
  schedulerAddress: z.string(),
  /** `null` for servers that were given to us and are not ours to stop. */
  pids: z.object({
    nats: pid,
    postgres: pid,
    scheduler: pid,
    traces: pid,
    peers: z.record(z.string(), pid),
  }),
});

/** `<data dir>/cluster.json`: everything a tool needs to find a running local cluster. */
export type ClusterFile = z.infer<typeof clusterFileSchema>;

/** @returns `undefined` when no cluster is ready in `dataDir`. */
export function readClusterFile(dataDir: string): ClusterFile | undefined {
  return readJson(clusterFilePath(dataDir), clusterFileSchema);
}

export function writeClusterFile(dataDir: string, cluster: ClusterFile): void {
  writePrivateJson(clusterFilePath(dataDir), clusterFileSchema.parse(cluster));
}

export function removeClusterFile(dataDir: string): void {
  rmSync(clusterFilePath(dataDir), { force: true });
}

/** All processes that the file names. */
export function pidsOf(cluster: ClusterFile): readonly number[] {
  const { peers, ...servers } = cluster.pids;
  return [...Object.values(servers), ...Object.values(peers)].filter((value) => value !== null);
}

function clusterFilePath(dataDir: string): string {
  return join(dataDir, "cluster.json");
}
