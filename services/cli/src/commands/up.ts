import {
  type ClusterEvent,
  type ClusterOptions,
  definedOnly,
  PEER_COUNT_MAX,
  type RunningCluster,
  SCHEDULER_COUNT_MAX,
  startCluster,
} from "@lacewing/local/cluster.ts";
import { type ClusterFile, readClusterFile } from "@lacewing/local/cluster-file.ts";
import { checkoutRoot, readOwner, runningSupervisor } from "@lacewing/local/data-dir.ts";
import { checkStart, optionsNotApplied, type StartOptions } from "@lacewing/local/start-options.ts";
import { summaryOf } from "@lacewing/local/summary.ts";
import { type Command, InvalidArgumentError } from "commander";
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { CliError } from "../cli-error.ts";
import { type CliContext, DATA_OPTION, dataDirOf } from "../context.ts";

interface UpFlags {
  readonly data?: string;
  readonly peers: number;
  readonly seedPeers: number;
  readonly schedulers: number;
  readonly proxyPort?: number;
  readonly config?: string;
}

/** One Ctrl-C often arrives several times, from the terminal and from npm: only a later one means "now". */
const FORCE_AFTER_MS = 1_000;

export function registerUp(program: Command, context: CliContext): void {
  program
    .command("up")
    .description("start a local cluster and run it until Ctrl-C")
    .option(...DATA_OPTION)
    .option("--peers <n>", "ordinary peers", wholeNumber(1, PEER_COUNT_MAX), 2)
    .option("--seed-peers <n>", "seed peers", wholeNumber(0, PEER_COUNT_MAX), 1)
    .option(
      "--schedulers <n>",
      "one decides, the others stand by",
      wholeNumber(1, SCHEDULER_COUNT_MAX),
      1,
    )
    .option(
      "--proxy-port <port>",
      "proxy port of the first peer; the others follow (default: 65001)",
      wholeNumber(1, 65_535),
    )
    .option("--config <file>", "YAML settings for all peers")
    .addHelpText(
      "after",
      "\nReal servers instead of own ones: LACEWING_DATABASE_URL, LACEWING_NATS_URL, OTEL_EXPORTER_OTLP_ENDPOINT.",
    )
    .action(async (flags: UpFlags, command: Command) => {
      await up(context, flags, (name) => command.getOptionValueSource(name) === "cli");
    });
}

/** @param isGiven whether the user wrote this flag, rather than taking its default. */
async function up(
  context: CliContext,
  flags: UpFlags,
  isGiven: (name: keyof UpFlags) => boolean,
): Promise<void> {
  const { dataDir, displacedBy } = dataDirOf(context, flags.data);
  const configFile = flags.config === undefined ? undefined : resolve(flags.config);
  if (configFile !== undefined && !existsSync(configFile)) {
    throw new CliError(`there is no settings file ${configFile}`, "Correct --config.");
  }
  const cluster = alreadyRunning(dataDir);
  if (cluster !== undefined) {
    const { peers, seedPeers, schedulers, proxyPort } = flags;
    await checkStart({ peers, seedPeers, proxyPort, configFile }, definedOnly(context.env));
    return showRunning(context, dataDir, cluster, {
      ...(isGiven("peers") ? { peers } : {}),
      ...(isGiven("seedPeers") ? { seedPeers } : {}),
      ...(isGiven("schedulers") ? { schedulers } : {}),
      proxyPort,
      configFile,
    });
  }
  if (displacedBy !== undefined) {
    context.note(`the usual data directory belongs to ${displacedBy}: using ${dataDir}`);
  }
  const stop = stopRequests();
  const options: ClusterOptions = {
    dataDir,
    peers: flags.peers,
    seedPeers: flags.seedPeers,
    schedulers: flags.schedulers,
    proxyPort: flags.proxyPort,
    configFile,
    env: context.env,
    onEvent: (event) => {
      const text = describe(event);
      if (text !== undefined) context.note(text);
    },
    signal: stop.first.signal,
  };
  context.note("starting …");
  let running: RunningCluster;
  try {
    running = await startCluster(options);
  } catch (error) {
    if (!stop.first.signal.aborted) throw error;
    context.note("stopped before it was ready");
    return;
  }
  stop.force.signal.addEventListener("abort", () => running.kill(), { once: true });
  context.print(summaryOf(running.cluster, dataDir));
  context.note("\nCtrl-C stops it.");
  const requested = aborted(stop.first.signal).then(() => "requested" as const);
  const outcome = await Promise.race([requested, running.ended]);
  if (outcome === "requested") {
    context.note("stopping …");
    await running.stop();
    context.note("stopped; the data is kept");
  } else if (outcome !== undefined) {
    throw outcome;
  }
}

/**
 * The cluster that this checkout runs in `dataDir` already.
 *
 * @throws {CliError} while it is starting or stopping.
 */
function alreadyRunning(dataDir: string): ClusterFile | undefined {
  const supervisor = runningSupervisor(dataDir);
  if (supervisor === undefined || readOwner(dataDir)?.checkout !== checkoutRoot()) return undefined;
  const cluster = readClusterFile(dataDir);
  if (cluster === undefined) {
    throw new CliError(
      `process ${supervisor} is starting or stopping the cluster in ${dataDir}`,
      "Wait a moment and try again.",
    );
  }
  return cluster;
}

/**
 * Starting twice is no mistake: the second time shows where everything is. Asking for another cluster than the one that runs is.
 *
 * @throws {CliError} naming what was asked for in vain.
 */
function showRunning(
  context: CliContext,
  dataDir: string,
  cluster: ClusterFile,
  given: Partial<StartOptions>,
): void {
  context.print(summaryOf(cluster, dataDir));
  const supervisor = runningSupervisor(dataDir) ?? "?";
  context.note(`\nThis cluster was already running (process ${supervisor}); nothing was started.`);
  const notApplied = optionsNotApplied(dataDir, cluster, given, context.env);
  if (notApplied.length > 0) {
    throw new CliError(
      `not applied, since the running cluster was started otherwise: ${notApplied.join(", ")}`,
      "Stop it with `lacewing down`, then start it with these; its data is kept.",
    );
  }
}

/** Ctrl-C, a termination signal, a closed terminal, or the end of the program that started us. */
function stopRequests(): { readonly first: AbortController; readonly force: AbortController } {
  const first = new AbortController();
  const force = new AbortController();
  let firstAtMs = 0;
  const request = () => {
    if (!first.signal.aborted) {
      firstAtMs = performance.now();
      first.abort();
    } else if (performance.now() - firstAtMs > FORCE_AFTER_MS) {
      force.abort();
    }
  };
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, request);
  process.once("disconnect", request);
  // Listening must not keep us alive when everything else has ended.
  process.channel?.unref();
  return { first, force };
}

async function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  await new Promise<void>((settle) => {
    signal.addEventListener("abort", () => settle(), { once: true });
  });
}

function describe(event: ClusterEvent): string | undefined {
  switch (event.type) {
    case "note":
      return event.text;
    case "child.started":
      return undefined;
    case "child.ready":
      return `  ${event.name} is ready (${Math.round(event.tookMs)} ms)`;
    case "child.ended":
      return `  ${event.name} ended (${event.how}): starting it again`;
  }
}

function wholeNumber(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!/^\d+$/.test(text) || value < min || value > max) {
      throw new InvalidArgumentError(`It must be a whole number from ${min} to ${max}.`);
    }
    return value;
  };
}
