import { join, resolve } from "node:path";
import { z } from "zod";
import { findPrograms } from "../bin/programs.mjs";
import type { ClusterFile } from "./cluster-file.ts";
import { ifIntact, readJson, writePrivateJson } from "./files.ts";
import { checkAddresses } from "./given-servers.ts";
import { LocalError } from "./local-error.ts";
import { checkPeerSettings } from "./peer-settings.ts";
import { PORT_MAX } from "./ports.ts";

/** What a user may ask of a start, as far as it can be checked before. */
export interface StartOptions {
  readonly peers: number;
  readonly seedPeers: number;
  readonly schedulers?: number | undefined;
  readonly proxyPort?: number | undefined;
  readonly configFile?: string | undefined;
}

/**
 * Finds what is wrong with a start before anything is touched.
 *
 * @param env the environment that the cluster would have.
 * @throws {LocalError} naming the option or variable, and what it should be.
 */
export async function checkStart(
  options: StartOptions,
  env: Readonly<Record<string, string>>,
): Promise<void> {
  checkProxyPorts(options);
  checkAddresses(env);
  if (options.configFile !== undefined) {
    const peer = findPrograms({ env }).entryOf("peer");
    await checkPeerSettings(peer, resolve(options.configFile), env);
  }
}

function checkProxyPorts({ proxyPort, peers, seedPeers }: StartOptions): void {
  if (proxyPort === undefined) return;
  const hostCount = peers + seedPeers;
  const firstMax = PORT_MAX - hostCount + 1;
  if (proxyPort > firstMax) {
    throw new LocalError(
      `proxy port ${proxyPort} leaves no ports for ${hostCount} hosts: they would end at ${proxyPort + hostCount - 1}, beyond ${PORT_MAX}`,
      `Choose ${firstMax} or less with --proxy-port.`,
    );
  }
}

const recordSchema = z.object({
  schedulers: z.number().int(),
  proxyPort: z.number().int().nullable(),
  configFile: z.string().nullable(),
});

/** Notes what a cluster is started with and `cluster.json` does not tell. */
export function recordOptions(dataDir: string, options: StartOptions): void {
  const { schedulers, proxyPort, configFile } = options;
  writePrivateJson(recordPath(dataDir), {
    schedulers: schedulers ?? 1,
    proxyPort: proxyPort ?? null,
    configFile: configFile === undefined ? null : resolve(configFile),
  } satisfies z.infer<typeof recordSchema>);
}

/**
 * Those of the options a user gave that a running cluster was not started with, as they are written on a command line.
 *
 * @param given without what the user left out.
 * @param env where addresses of servers would come from.
 */
export function optionsNotApplied(
  dataDir: string,
  cluster: ClusterFile,
  given: Partial<StartOptions>,
  env: Readonly<Record<string, string | undefined>>,
): readonly string[] {
  const record = ifIntact(() => readJson(recordPath(dataDir), recordSchema));
  const countOf = (kind: "normal" | "seed") =>
    cluster.peers.filter((peer) => peer.kind === kind).length;
  // A first port that was taken has moved, and was asked for all the same.
  const ports = [record?.proxyPort, Number(new URL(cluster.peers[0]?.proxyUrl ?? "http://-").port)];
  const config = given.configFile === undefined ? undefined : resolve(given.configFile);
  const differing: readonly (readonly [name: string, differs: boolean])[] = [
    [`--peers ${given.peers}`, differs(given.peers, countOf("normal"))],
    [`--seed-peers ${given.seedPeers}`, differs(given.seedPeers, countOf("seed"))],
    [`--schedulers ${given.schedulers}`, differs(given.schedulers, record?.schedulers ?? 1)],
    [`--proxy-port ${given.proxyPort}`, ports.every((port) => differs(given.proxyPort, port))],
    [`--config ${config}`, differs(config, record?.configFile)],
    ["LACEWING_NATS_URL", differs(env["LACEWING_NATS_URL"] || undefined, cluster.natsUrl)],
    [
      "LACEWING_DATABASE_URL",
      differs(env["LACEWING_DATABASE_URL"] || undefined, cluster.databaseUrl),
    ],
  ];
  return differing.filter(([, isDifferent]) => isDifferent).map(([name]) => name);
}

function differs<T>(given: T | undefined, running: T | null | undefined): boolean {
  return given !== undefined && given !== running;
}

function recordPath(dataDir: string): string {
  return join(dataDir, "options.json");
}
