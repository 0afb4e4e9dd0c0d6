import { besideTarget, machineConditions } from "../support/bench-conditions.ts";
import { runSchedulerFailover } from "./scheduler-failover.ts";
import { runSchedulerGrants } from "./scheduler-grants.ts";
import { runSchedulerHistory } from "./scheduler-history.ts";
import { runSchedulerIngest } from "./scheduler-ingest.ts";
import { runSchedulerLatency } from "./scheduler-latency.ts";
import { runSchedulerMakespan } from "./scheduler-makespan.ts";
import { measureReplay } from "./scheduler-replay.ts";

const FAILOVER_HOSTS = 200;
const INGEST_HOSTS = 10_000;
const INGEST_MESSAGES = 200_000;
const MAKESPAN_HOSTS = 100_000;
/** A million facts, eight in a message as busy hosts pack them. */
const REPLAY_TRAFFIC = {
  hostCount: 10_000,
  taskCount: 64,
  pieceCount: 1024,
  messageCount: 125_000,
  factsPerMessage: 8,
};
const REPLAY_SECONDS_MAX = 20;

interface Options {
  /** Of one part: replaces its own number of hosts. */
  readonly hostCount?: number;
}

interface Part {
  readonly title: string;
  /** Left out unless it is asked for: it takes very long. */
  readonly isOnDemand?: boolean;
  readonly run: (options: Options) => Promise<void>;
}

/** What the scheduler is measured by; each part prints its figures beside their targets, with the conditions. */
const PARTS: Readonly<Record<string, Part>> = {
  grants: { title: "grants of one core, and its memory", run: runSchedulerGrants },
  latency: {
    title: "request to assignment, real NATS and PostgreSQL, scheduler in its own process",
    run: runSchedulerLatency,
  },
  ingest: {
    title: "messages of 1 to 8 pieces, JetStream into PostgreSQL",
    run: async ({ hostCount = INGEST_HOSTS }) =>
      runSchedulerIngest({ hostCount, messageCount: INGEST_MESSAGES }),
  },
  failover: {
    title: "kill -9 of the active scheduler in the middle of a swarm",
    run: async ({ hostCount = FAILOVER_HOSTS }) => runSchedulerFailover({ hostCount }),
  },
  replay: {
    title: "a million facts of a simulated run, decisions among them, folded anew from memory",
    run: runSchedulerHistory,
  },
  "replay-nats": {
    title: "a million facts of hosts folded anew from JetStream",
    run: runReplayFromNats,
  },
  "makespan-100k": {
    title: "flash crowd in the simulator, 100,000 hosts unless --hosts says otherwise",
    isOnDemand: true,
    run: async ({ hostCount = MAKESPAN_HOSTS }) => runSchedulerMakespan({ hostCount }),
  },
};

/**
 * Runs the parts named in `only`, joined by commas, or all that do not take very long.
 *
 * @returns false when a name is not known or the number of hosts is none.
 */
export async function runScheduler(options: {
  readonly only: string | undefined;
  readonly hosts: string | undefined;
}): Promise<boolean> {
  const all = Object.entries(PARTS);
  const names = options.only?.split(",");
  const hostCount = options.hosts === undefined ? undefined : Number(options.hosts);
  const isCount = hostCount === undefined || (Number.isSafeInteger(hostCount) && hostCount >= 2);
  if (!isCount || names?.some((name) => !Object.hasOwn(PARTS, name)) === true) {
    const lines = all.map(([name, { title }]) => `  ${name.padEnd(16)}${title}`);
    process.stdout.write(
      `usage: npm run bench -- scheduler [--only NAME,…] [--hosts N]\n${lines.join("\n")}\n`,
    );
    return false;
  }
  for (const [name, part] of all) {
    if (names === undefined ? part.isOnDemand === true : !names.includes(name)) continue;
    process.stdout.write(`\n${name}: ${part.title}\n`);
    await part.run(hostCount === undefined ? {} : { hostCount });
  }
  return true;
}

async function runReplayFromNats({ hostCount }: Options): Promise<void> {
  const traffic = { ...REPLAY_TRAFFIC, hostCount: hostCount ?? REPLAY_TRAFFIC.hostCount };
  const { factCount, messageCount, seconds, isSameState } = await measureReplay(traffic);
  const time = `${seconds.toFixed(1)} s`;
  const isFast = seconds <= REPLAY_SECONDS_MAX;
  process.stdout.write(
    [
      `${factCount.toLocaleString("en")} facts in ${messageCount.toLocaleString("en")} messages of ${traffic.hostCount.toLocaleString("en")} hosts replayed in ${besideTarget(time, `≤ ${REPLAY_SECONDS_MAX} s`, isFast)}: ${Math.round(factCount / seconds).toLocaleString("en")} facts/s`,
      `state beside that of the same messages folded one after the other: ${besideTarget(isSameState ? "the same" : "DIFFERENT", "the same", isSameState)}`,
      machineConditions(),
      "",
    ].join("\n"),
  );
}
