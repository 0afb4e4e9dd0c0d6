import { startCluster, type ClusterFile, type ClusterOptions } from "@lacewing/local/cluster.ts";

/** A whole cluster of real processes in a data dir of its own; purged when its scope ends. */
export interface TestCluster {
  readonly file: ClusterFile;
  /** In the order of the cluster file. */
  readonly normalPeers: readonly ClusterPeer[];
  readonly seedPeers: readonly ClusterPeer[];
  /** The data dir stays when the scope ends; the processes end all the same. */
  keepData(): void;
  /** Ends all processes at once. */
  kill(): void;
  [Symbol.asyncDispose](): Promise<void>;
}

export type ClusterPeer = ClusterFile["peers"][number];

/** Servers that the user's environment names are not the test's to fill: `undefined` unsets. */
const OWN_SERVERS = { LACEWING_DATABASE_URL: undefined, LACEWING_NATS_URL: undefined } as const;

/** @throws {LocalError} when something of it does not start; what started is stopped again. */
export async function startTestCluster(
  options: Omit<ClusterOptions, "peers" | "seedPeers"> &
    Partial<Pick<ClusterOptions, "peers" | "seedPeers">>,
): Promise<TestCluster> {
  const running = await startCluster({
    peers: 2,
    seedPeers: 1,
    ...options,
    env: { ...OWN_SERVERS, ...options.env },
  });
  let isKept = false;
  return {
    get file() {
      return running.cluster;
    },
    get normalPeers() {
      return running.cluster.peers.filter((peer) => peer.kind === "normal");
    },
    get seedPeers() {
      return running.cluster.peers.filter((peer) => peer.kind === "seed");
    },
    keepData: () => {
      isKept = true;
    },
    kill: () => running.kill(),
    [Symbol.asyncDispose]: async () => {
      await (isKept ? running.stop() : running.purge());
    },
  };
}
