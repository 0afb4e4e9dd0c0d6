import { existsSync, mkdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { z } from "zod";
import { findPrograms, type Programs } from "../bin/programs.mjs";
import type { ChildEvent } from "./children.ts";
import { type ClusterFile, removeClusterFile, writeClusterFile } from "./cluster-file.ts";
import { canonicalPath, checkoutRoot, type Claim, claimDataDir } from "./data-dir.ts";
import { type EmbeddedContext, startNats, startPostgres } from "./embedded.ts";
import { reachNats } from "./given-servers.ts";
import { makePrivateDirectory, readJson, writePrivateJson } from "./files.ts";
import { endLeftovers, purgeData, SOCKETS_RECORD } from "./leftovers.ts";
import { hostsNotHeardOf, readAnnounces } from "./known-hosts.ts";
import type { LocalError } from "./local-error.ts";
import { migrateDatabase } from "./migrate.ts";
import { anyFreePort, choosePorts, isPortFree, type PortWish } from "./ports.ts";
import { withoutPassword } from "./postgres.ts";
import { DATA_DIR_MARK } from "./process-table.ts";
import { ensureClusterSecret } from "./secrets.ts";
import {
  loopback,
  peerChild,
  peerNames,
  type PeerPlan,
  planPeers,
  schedulerChildren,
  type ServicesPlan,
  socketDirectory,
  tracesChild,
} from "./services.ts";
import { checkStart, recordOptions } from "./start-options.ts";
import { Supervision } from "./supervision.ts";

export { type ClusterFile, readClusterFile } from "./cluster-file.ts";

/** How a local cluster is to be started. */
export interface ClusterOptions {
  readonly dataDir: string;
  /** Ordinary peers, at least one. */
  readonly peers: number;
  readonly seedPeers: number;
  /** One decides, the others stand by. Default: one. */
  readonly schedulers?: number | undefined;
  /** Port of the first peer's proxy; the others follow. Default: the remembered one, else 65001. */
  readonly proxyPort?: number | undefined;
  /** YAML settings of the peers. */
  readonly configFile?: string | undefined;
  /** Added to this process's environment, for us and for the services; `undefined` unsets. */
  readonly env?: Readonly<Record<string, string | undefined>> | undefined;
  readonly onEvent?: ((event: ClusterEvent) => void) | undefined;
  /** Ends a start that is under way. */
  readonly signal?: AbortSignal | undefined;
  /** Brings the database's schema up to date. */
  readonly migrate?:
    | ((databaseUrl: string) => Promise<{ readonly applied: readonly string[] }>)
    | undefined;
}

/** What a person watching the start may want to read. */
export type ClusterEvent = ChildEvent | { readonly type: "note"; readonly text: string };

/** A cluster that is up, supervised by this process. */
export interface RunningCluster {
  /** The content of `cluster.json` at this moment. */
  readonly cluster: ClusterFile;
  readonly dataDir: string;
  /** Resolves when the cluster has stopped: with the error when a child could not be kept running. */
  readonly ended: Promise<LocalError | undefined>;
  /** Stops everything in order; the data stays. Safe to call again. */
  stop(): Promise<void>;
  /** Ends all children at once, for a user who does not want to wait. */
  kill(): void;
  /** Stops everything and removes all that the cluster has on disk. */
  purge(): Promise<void>;
}

const FIRST_PROXY_PORT = 65_001;
/** Starts with ports chosen anew; two clusters that keep choosing the same ones are a stranger fault. */
const START_COUNT_MAX = 3;
/** One supervisor on one machine: more peers than this are a mistyped number. */
export const PEER_COUNT_MAX = 64;
/** Likewise of schedulers: the third waits for two to fail. */
export const SCHEDULER_COUNT_MAX = 5;

const portsSchema = z.record(z.string(), z.number().int());

/**
 * Starts NATS, Postgres, scheduler, trace store and peers, and keeps them running until {@link RunningCluster.stop}.
 * Resolves when everything is ready and `cluster.json` is written.
 *
 * @throws {LocalError} when something cannot be started; what was started is stopped again.
 */
export async function startCluster(options: ClusterOptions): Promise<RunningCluster> {
  const env = definedOnly({ ...process.env, ...options.env });
  const programs = findPrograms({ env });
  await checkStart(options, env);
  if (env["LACEWING_NATS_URL"]) await reachNats(env["LACEWING_NATS_URL"]);
  const claim = await claimDataDir(resolve(options.dataDir), checkoutRoot());
  const dataDir = canonicalPath(options.dataDir);
  const onEvent = options.onEvent ?? (() => {});
  try {
    const leftoverCount = await endLeftovers(dataDir);
    if (leftoverCount > 0) {
      onEvent({ type: "note", text: `ended ${leftoverCount} processes of a run that was killed` });
    }
    for (const name of ["logs", "peers", "run"]) {
      mkdirSync(join(dataDir, name), { recursive: true, mode: 0o700 });
    }
    recordOptions(dataDir, options);
    if (programs.note !== undefined) onEvent({ type: "note", text: programs.note });
    const { first, supervision } = await startSupervised({ options, programs, dataDir, onEvent });
    return running(first, { dataDir, supervision, claim });
  } catch (error) {
    claim.release();
    throw error;
  }
}

/**
 * Starts everything; once more with other ports when a port that was free when it was chosen is somebody else's by the time
 * it is listened on, as happens when two clusters start at the same moment.
 */
async function startSupervised(
  order: StartOrder,
): Promise<{ readonly first: ClusterFile; readonly supervision: Supervision }> {
  const { options, onEvent } = order;
  for (let attempt = 1; ; attempt++) {
    const supervision = new Supervision(onEvent, options.signal);
    const starting = new Starting(order, supervision);
    try {
      const first = await starting.run();
      supervision.started();
      return { first, supervision };
    } catch (error) {
      await supervision.stop();
      const lost = await starting.lostPorts();
      if (lost.length === 0 || attempt === START_COUNT_MAX || options.signal?.aborted === true) {
        throw error;
      }
      onEvent({
        type: "note",
        text: `port ${lost.join(", ")} was taken meanwhile: starting again`,
      });
    }
  }
}

interface StartOrder {
  readonly options: ClusterOptions;
  readonly programs: Programs;
  readonly dataDir: string;
  readonly onEvent: (event: ClusterEvent) => void;
}

/** One start: from an empty data dir, or one of an earlier run, to the content of `cluster.json`. */
class Starting {
  readonly #env: Readonly<Record<string, string>>;
  readonly #options: ClusterOptions;
  readonly #programs: Programs;
  readonly #dataDir: string;
  readonly #supervision: Supervision;
  readonly #note: (text: string) => void;
  #ports: Readonly<Record<string, number>> = {};

  constructor({ options, programs, dataDir, onEvent }: StartOrder, supervision: Supervision) {
    this.#options = options;
    this.#programs = programs;
    this.#dataDir = dataDir;
    this.#supervision = supervision;
    this.#note = (text) => onEvent({ type: "note", text });
    this.#env = definedOnly({ ...process.env, ...options.env, [DATA_DIR_MARK]: dataDir });
  }

  async run(): Promise<ClusterFile> {
    const ports = await this.#choosePorts();
    this.#ports = ports;
    const [natsUrl, databaseUrl] = await this.#startServers(ports);
    await this.#migrate(databaseUrl);
    const peers = this.#planPeers(ports);
    const plan = this.#servicesPlan(ports, natsUrl, databaseUrl);
    const hasOwnTraces = !this.#env["OTEL_EXPORTER_OTLP_ENDPOINT"];
    const announcedBefore = await readAnnounces(databaseUrl);
    await Promise.all([
      ...schedulerChildren(plan, this.#options.schedulers ?? 1).map(async (child) =>
        this.#supervision.start(child),
      ),
      ...(hasOwnTraces ? [this.#supervision.start(tracesChild(plan))] : []),
      ...peers.map(async (peer) => this.#supervision.start(peerChild(plan, peer), peer.hostId)),
    ]);
    const hostIds = peers.map(({ hostId }) => hostId);
    const { signal } = this.#supervision;
    const missing = await hostsNotHeardOf(databaseUrl, hostIds, announcedBefore, signal);
    if (missing.length > 0) {
      this.#note(`the scheduler has not heard of ${missing.join(", ")} yet: it may share less`);
    }
    return {
      peers: peers.map((peer) => ({
        hostId: peer.hostId,
        kind: peer.kind,
        proxyUrl: `http://${loopback(peer.proxyPort)}`,
        apiSocket: peer.apiSocket,
        dataDir: peer.dataDir,
      })),
      natsUrl,
      databaseUrl,
      tracesUrl: hasOwnTraces
        ? `http://${loopback(ports["traces"])}`
        : (this.#env["LACEWING_TRACES_URL"] ?? null),
      schedulerAddress: loopback(ports["scheduler"]),
      pids: this.#supervision.pids(),
    };
  }

  /** The chosen ports that another program listens on, after our own processes have ended. */
  async lostPorts(): Promise<readonly number[]> {
    const ports = Object.values(this.#ports);
    const free = await Promise.all(ports.map(async (port) => isPortFree(port)));
    return ports.filter((_, index) => free[index] !== true);
  }

  async #choosePorts(): Promise<Readonly<Record<string, number>>> {
    const path = join(this.#dataDir, "ports.json");
    const remembered = readJson(path, portsSchema) ?? {};
    const proxyPort = this.#options.proxyPort;
    const proxies = peerNames(this.#options).map(({ hostId }, index) => ({
      name: hostId,
      preferred: (proxyPort ?? FIRST_PROXY_PORT) + index,
    }));
    const asked =
      proxyPort === undefined
        ? {}
        : Object.fromEntries(proxies.map((wish) => [wish.name, wish.preferred]));
    const servers = SERVER_PORTS.filter(({ unless }) => !this.#env[unless ?? ""]);
    const wishes: readonly PortWish[] = [...proxies, ...servers];
    const choice = await choosePorts(wishes, { ...remembered, ...asked }, isPortFree, anyFreePort);
    for (const { name, wanted, chosen } of choice.moved) {
      this.#note(`port ${wanted} is taken: ${name} uses ${chosen}, now and at the next starts`);
    }
    writePrivateJson(path, { ...remembered, ...choice.ports });
    return choice.ports;
  }

  async #startServers(
    ports: Readonly<Record<string, number>>,
  ): Promise<readonly [natsUrl: string, databaseUrl: string]> {
    const context: EmbeddedContext = {
      dataDir: this.#dataDir,
      env: this.#env,
      ports,
      signal: this.#supervision.signal,
      onNote: this.#note,
      startChild: async (spec) => this.#supervision.start(spec),
    };
    return Promise.all([
      this.#env["LACEWING_NATS_URL"] || startNats(context),
      this.#env["LACEWING_DATABASE_URL"] || startPostgres(context),
    ]);
  }

  async #migrate(databaseUrl: string): Promise<void> {
    if (this.#env["LACEWING_DATABASE_URL"]) {
      const shown = withoutPassword(databaseUrl);
      this.#note(`migrating schema "lacewing" in the database you gave: ${shown}`);
    }
    const { applied } = await (this.#options.migrate ?? migrateDatabase)(databaseUrl);
    if (applied.length > 0) this.#note(`database schema: ${applied.length} migrations applied`);
    this.#supervision.signal.throwIfAborted();
  }

  #planPeers(ports: Readonly<Record<string, number>>): readonly PeerPlan[] {
    const hostIds = peerNames(this.#options).map(({ hostId }) => hostId);
    const runtimeHome = this.#env["XDG_RUNTIME_DIR"];
    const home = runtimeHome !== undefined && existsSync(runtimeHome) ? runtimeHome : tmpdir();
    const directory = socketDirectory(this.#dataDir, hostIds, home);
    makePrivateDirectory(directory);
    if (!directory.startsWith(this.#dataDir)) {
      writePrivateJson(join(this.#dataDir, SOCKETS_RECORD), { directory });
    }
    return planPeers(this.#options, this.#dataDir, directory, ports);
  }

  #servicesPlan(
    ports: Readonly<Record<string, number>>,
    natsUrl: string,
    databaseUrl: string,
  ): ServicesPlan {
    const { configFile } = this.#options;
    return {
      dataDir: this.#dataDir,
      natsUrl,
      databaseUrl,
      otlpEndpoint: this.#env["OTEL_EXPORTER_OTLP_ENDPOINT"] || `http://${loopback(ports["otlp"])}`,
      secretFile: ensureClusterSecret(this.#dataDir),
      logLevel: this.#env["LACEWING_LOG_LEVEL"] || "info",
      configFile: configFile === undefined ? undefined : resolve(configFile),
      baseEnv: withoutKeys(this.#env, NOT_FOR_SERVICES),
      ports,
      entryOf: this.#programs.entryOf,
    };
  }
}

/**
 * The servers' usual ports, and the ones Jaeger's users know for traces. No port is needed for a server that the
 * variable in `unless` gives us.
 */
const SERVER_PORTS: readonly (PortWish & { readonly unless?: string })[] = [
  { name: "nats", preferred: 4222, unless: "LACEWING_NATS_URL" },
  { name: "nats-monitor", preferred: 8222, unless: "LACEWING_NATS_URL" },
  { name: "postgres", preferred: 5432, unless: "LACEWING_DATABASE_URL" },
  { name: "otlp", preferred: 4318, unless: "OTEL_EXPORTER_OTLP_ENDPOINT" },
  { name: "traces", preferred: 16_686, unless: "OTEL_EXPORTER_OTLP_ENDPOINT" },
  { name: "scheduler", preferred: 8002 },
];

/** Addresses with passwords go only to who needs them; the channel is ours to whoever started us. */
const NOT_FOR_SERVICES = [
  "LACEWING_DATABASE_URL",
  "LACEWING_NATS_URL",
  "NODE_CHANNEL_FD",
  "NODE_CHANNEL_SERIALIZATION_MODE",
];

function running(
  first: ClusterFile,
  parts: {
    readonly dataDir: string;
    readonly supervision: Supervision;
    readonly claim: Claim;
  },
): RunningCluster {
  const { dataDir, supervision, claim } = parts;
  let cluster = first;
  const publish = () => {
    cluster = { ...first, pids: supervision.pids() };
    writeClusterFile(dataDir, cluster);
  };
  publish();
  supervision.onPidsChanged = publish;
  // The file goes first: who reads it must find servers that are still there.
  let stopping: Promise<void> | undefined;
  const stop = async () => {
    stopping ??= (async () => {
      supervision.onPidsChanged = () => {};
      removeClusterFile(dataDir);
      await supervision.stop();
      claim.release();
    })();
    await stopping;
  };
  const ended = supervision.ended.then(async (lost) => {
    await stop();
    return lost;
  });
  return {
    get cluster() {
      return cluster;
    },
    dataDir,
    ended,
    stop,
    kill: () => supervision.kill(),
    purge: async () => {
      await stop();
      purgeData(dataDir);
    },
  };
}

/** The environment as child processes take it. */
export function definedOnly(
  env: Readonly<Record<string, string | undefined>>,
): Record<string, string> {
  return Object.fromEntries(
    Object.entries(env).flatMap(([key, value]) => (value === undefined ? [] : [[key, value]])),
  );
}

function withoutKeys(
  env: Readonly<Record<string, string>>,
  keys: readonly string[],
): Readonly<Record<string, string>> {
  return Object.fromEntries(Object.entries(env).filter(([key]) => !keys.includes(key)));
}
