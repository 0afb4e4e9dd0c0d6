import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { ChildSpec } from "./children.ts";
import { shortHash } from "./data-dir.ts";

/** The programs of ours that a local cluster runs. */
export type ServiceName = "scheduler" | "traces" | "peer";

/** A peer service of the cluster. */
export interface PeerPlan {
  readonly hostId: string;
  readonly kind: "normal" | "seed";
  readonly proxyPort: number;
  readonly apiSocket: string;
  readonly dataDir: string;
}

/** What all services of a cluster are told. */
export interface ServicesPlan {
  readonly dataDir: string;
  readonly natsUrl: string;
  readonly databaseUrl: string;
  /** Base URL that spans are sent to. */
  readonly otlpEndpoint: string;
  readonly secretFile: string;
  readonly logLevel: string;
  readonly configFile: string | undefined;
  /** Inherited by every service: PATH, HOME, and settings that the user gave. */
  readonly baseEnv: Readonly<Record<string, string>>;
  readonly ports: Readonly<Record<string, number>>;
  readonly entryOf: (service: ServiceName) => string;
}

/** Name of the first scheduler, and how the names of all of them begin. */
export const SCHEDULER = "scheduler";
/** The services cut themselves off after 10 s; the supervisor only acts when even that failed. */
const STOP_TIMEOUT_MS = 12_000;
/** Looking at what happened must not slow down what happens: on one machine the trace store works when the others leave it time. */
const TRACES_NICENESS = 10;
/** Length of `sun_path` on Linux without its closing zero; macOS has 103. */
const SOCKET_PATH_BYTES_MAX = process.platform === "darwin" ? 103 : 107;

/** Names, ports and places of the peers: ordinary ones first, from the proxy port upwards, then the seeds. */
export function planPeers(
  counts: { readonly peers: number; readonly seedPeers: number },
  dataDir: string,
  socketDirectory: string,
  ports: Readonly<Record<string, number>>,
): readonly PeerPlan[] {
  return peerNames(counts).map(({ hostId, kind }) => ({
    hostId,
    kind,
    proxyPort: ports[hostId] ?? 0,
    apiSocket: join(socketDirectory, `${hostId}.sock`),
    dataDir: join(dataDir, "peers", hostId),
  }));
}

/** `peer-1`, `peer-2`, …, `seed-1`, …. */
export function peerNames(counts: {
  readonly peers: number;
  readonly seedPeers: number;
}): readonly { readonly hostId: string; readonly kind: "normal" | "seed" }[] {
  const names = (kind: "normal" | "seed", prefix: string, count: number) =>
    Array.from({ length: count }, (_, index) => ({ hostId: `${prefix}-${index + 1}`, kind }));
  return [...names("normal", "peer", counts.peers), ...names("seed", "seed", counts.seedPeers)];
}

/**
 * Where the API sockets go: `run` in the data dir, or a short directory when a socket's path there would be longer than
 * the system can bind.
 *
 * @param runtimeHome `XDG_RUNTIME_DIR`, else the directory for temporary files.
 */
export function socketDirectory(
  dataDir: string,
  hostIds: readonly string[],
  runtimeHome: string,
): string {
  const usual = join(dataDir, "run");
  const longest = Math.max(0, ...hostIds.map((id) => Buffer.byteLength(join(usual, `${id}.sock`))));
  return longest <= SOCKET_PATH_BYTES_MAX
    ? usual
    : join(runtimeHome, `lacewing-${shortHash(dataDir)}`);
}

/** The schedulers: one decides, and which one changes; the first has the known port, the others any. */
export function schedulerChildren(plan: ServicesPlan, count: number): readonly ChildSpec[] {
  return Array.from({ length: count }, (_, index) => {
    const name = index === 0 ? SCHEDULER : `${SCHEDULER}-${index + 1}`;
    return serviceChild(plan, "scheduler", name, {
      LACEWING_DATABASE_URL: plan.databaseUrl,
      LACEWING_SCHEDULER_GRPC_ADDRESS: loopback(index === 0 ? plan.ports["scheduler"] : 0),
    });
  });
}

export function tracesChild(plan: ServicesPlan): ChildSpec {
  const child = serviceChild(plan, "traces", "traces", {
    LACEWING_DATABASE_URL: plan.databaseUrl,
    LACEWING_TRACES_OTLP_ADDRESS: loopback(plan.ports["otlp"]),
    LACEWING_TRACES_QUERY_ADDRESS: loopback(plan.ports["traces"]),
  });
  return { ...child, niceness: TRACES_NICENESS };
}

export function peerChild(plan: ServicesPlan, peer: PeerPlan): ChildSpec {
  mkdirSync(peer.dataDir, { recursive: true, mode: 0o700 });
  return serviceChild(plan, "peer", peer.hostId, {
    LACEWING_PEER_HOST_ID: peer.hostId,
    LACEWING_PEER_KIND: peer.kind,
    LACEWING_PEER_DATA_DIR: peer.dataDir,
    LACEWING_PEER_PROXY_ADDRESS: loopback(peer.proxyPort),
    LACEWING_PEER_TRANSFER_ADDRESS: loopback(0),
    LACEWING_PEER_API_SOCKET: peer.apiSocket,
    LACEWING_PEER_IDC: "local",
    LACEWING_PEER_LOCATION: `local|${peer.hostId}`,
    ...(plan.configFile === undefined ? {} : { LACEWING_CONFIG: plan.configFile }),
  });
}

/** `127.0.0.1:port`; 0 lets the service choose. */
export function loopback(port: number | undefined): string {
  return `127.0.0.1:${port ?? 0}`;
}

/** The log file of a child. */
export function logFileOf(dataDir: string, name: string): string {
  return join(dataDir, "logs", `${name}.log`);
}

/**
 * MiB. By itself Node begins with a heap of a few MiB and looks for garbage often while it grows: in a burst of some hundred small
 * files a quarter of a peer's CPU time went there, most of it while clients waited. So the young have room from the start, and the old
 * grow to 128 MiB before all of them are looked through. It costs 10 MiB at rest; 16 for the young would cost 16 MiB.
 */
export const PEER_HEAP_FLAGS = ["--min-semi-space-size=8", "--initial-old-space-size=128"] as const;

function serviceChild(
  plan: ServicesPlan,
  service: ServiceName,
  name: string,
  settings: Readonly<Record<string, string>>,
): ChildSpec {
  return {
    name,
    command: process.execPath,
    args: [...(service === "peer" ? PEER_HEAP_FLAGS : []), plan.entryOf(service)],
    env: {
      ...plan.baseEnv,
      LACEWING_NATS_URL: plan.natsUrl,
      OTEL_EXPORTER_OTLP_ENDPOINT: plan.otlpEndpoint,
      LACEWING_CLUSTER_SECRET_FILE: plan.secretFile,
      LACEWING_LOG_LEVEL: plan.logLevel,
      // File reads and writes share libuv's threads with name look-ups; four are too few for several transfers.
      UV_THREADPOOL_SIZE: "8",
      ...settings,
    },
    cwd: plan.dataDir,
    logFile: logFileOf(plan.dataDir, name),
    readiness: "ipc",
    stopSignal: "SIGTERM",
    stopTimeoutMs: STOP_TIMEOUT_MS,
  };
}
