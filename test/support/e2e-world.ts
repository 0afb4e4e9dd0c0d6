import { writeFile } from "node:fs/promises";
import type { z } from "zod";
import { type ClusterPeer, startTestCluster, type TestCluster } from "./cluster.ts";
import { type LfsOrigin, startLfsOrigin } from "./lfs-origin.ts";
import { connectSql } from "./sql.ts";
import { makeTempDir, type TempDir } from "./temp-dir.ts";

/** A cluster of real processes, an origin beside it, and a folder for clients. Ends with its scope. */
export interface World {
  readonly cluster: TestCluster;
  readonly origin: LfsOrigin;
  readonly dir: TempDir;
  /** A peer by its host id: `peer-1`, `seed-1`. */
  peer(hostId: string): ClusterPeer;
  /** One query on a connection of its own, so that it works again as soon as a killed database does. */
  rows<Schema extends z.ZodType>(
    schema: Schema,
    text: string,
    values?: readonly (string | number | null)[],
  ): Promise<readonly z.output<Schema>[]>;
  [Symbol.asyncDispose](): Promise<void>;
}

export interface WorldOptions {
  readonly peers?: number;
  readonly seedPeers?: number;
  readonly originRateBytesPerSecond?: number;
  /** Every answer of the origin begins so long after its request. */
  readonly originDistanceMs?: number;
  /** YAML settings of the peers. */
  readonly config?: string;
}

/** With `LACEWING_TEST_KEEP=1` the data and logs of the cluster stay, and their place is printed. */
export async function startWorld(options: WorldOptions = {}): Promise<World> {
  const dir = await makeTempDir("e2e");
  const isKept = process.env["LACEWING_TEST_KEEP"] === "1";
  const origin = await startLfsOrigin({
    rateBytesPerSecond: options.originRateBytesPerSecond,
    distanceMs: options.originDistanceMs,
  });
  let cluster: TestCluster;
  try {
    cluster = await startTestCluster({
      dataDir: dir.join("cluster"),
      peers: options.peers ?? 2,
      seedPeers: options.seedPeers ?? 1,
      configFile: await configFileOf(dir, options.config),
    });
  } catch (error) {
    await origin.close();
    await dir[Symbol.asyncDispose]();
    throw error;
  }
  if (isKept) {
    cluster.keepData();
    dir.keep();
    process.stderr.write(`kept in ${dir.path}\n`);
  }
  return {
    cluster,
    origin,
    dir,
    peer: (hostId) => {
      const peer = cluster.file.peers.find((candidate) => candidate.hostId === hostId);
      if (peer === undefined) throw new RangeError(`no peer ${hostId} in this cluster`);
      return peer;
    },
    rows: async (schema, text, values) => {
      await using sql = await connectSql(cluster.file.databaseUrl);
      return await sql.rows(schema, text, values);
    },
    [Symbol.asyncDispose]: async () => {
      await cluster[Symbol.asyncDispose]();
      await origin.close();
      await dir[Symbol.asyncDispose]();
    },
  };
}

async function configFileOf(dir: TempDir, config: string | undefined): Promise<string | undefined> {
  if (config === undefined) return undefined;
  const path = dir.join("lacewing.yaml");
  await writeFile(path, config);
  return path;
}
