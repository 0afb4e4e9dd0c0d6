import { parseArgs } from "node:util";
import {
  type Decision,
  DecisionMessage,
} from "@lacewing/contracts/gen/lacewing/decisions/v1/decisions.ts";
import { decide } from "@lacewing/scheduler/core/decide.ts";
import { evolveEvent, evolveMessage } from "@lacewing/scheduler/core/evolve-event.ts";
import { matchTask } from "@lacewing/scheduler/core/matching/match-task.ts";
import type { MatchView } from "@lacewing/scheduler/core/matching/view.ts";
import { newState } from "@lacewing/scheduler/core/state.ts";
import { tick } from "@lacewing/scheduler/core/tick.ts";
import { takeTouched } from "@lacewing/scheduler/core/touched.ts";
import { boundHeapGrowth } from "@lacewing/scheduler/heap-growth.ts";
import { z } from "zod";
import { besideTarget, machineConditions } from "../support/bench-conditions.ts";
import { resultOfChild, tellParent } from "../support/child-result.ts";
import { type FarmMessage, HostFarm } from "../support/host-farm.ts";
import { seededRandom, TASK } from "../support/scheduler-world.ts";

/** As the live loop: messages folded between two turns, and virtual time between two looks at time itself and two projections. */
const FOLDED_PER_TURN = 256;
const TICK_MS = 500;
const PROJECT_MS = 200;
/** Announces, reports and requests of the beginning, as fast as a busy broker brings them. */
const STARTED_PER_MS = 64;
const PIECE_COUNT = 256;
const PIECE_BYTES = 16 * 2 ** 20;
const GIGABIT_BYTES_PER_MS = 125_000;
const SLICE = Number.parseInt(TASK.slice(0, 2), 16);
/** Virtual time in which nothing is granted although somebody waits: then something is wrong. */
const STALLED_MS = 60_000;
/** A run ends here: the largest swarm has reached its usual pace long before. */
const GRANTS_MAX = 1_000_000;
/** One turn of so many is timed inside, grant by grant; the others are left alone, because looking at the time takes time. */
const TURNS_TIMED_EACH = 16;
/** As a real clock has it: such times are no small integers, and the state is larger by what keeps them. */
const START_MS = 1_790_000_000_000;

const figures = z.object({
  hostCount: z.number(),
  heldShare: z.number(),
  grantCount: z.number(),
  leasedPieceCount: z.number(),
  messageCount: z.number(),
  turnCount: z.number(),
  finishedCount: z.number(),
  /** CPU time of the process, all threads: decisions with their folding, folding of messages, looking at time. */
  decideUs: z.number(),
  foldUs: z.number(),
  tickUs: z.number(),
  /** Not the core's: what the shell does with a decision first. */
  encodeUs: z.number(),
  /** Of the turns that were timed inside: the part of their time that went into the grants, and the rest of the matching. */
  grantShare: z.number(),
  matchShare: z.number(),
  rssBytesMax: z.number(),
  /** In use, array buffers included; after a collection of garbage where `--expose-gc` allows one. */
  heapBytes: z.number(),
});
type GrantFigures = z.infer<typeof figures>;

const HOST_COUNTS = [1_000, 10_000, 100_000];
/** Where in the life of a swarm a run begins: the part of all pieces that each host holds then. */
const PHASES = [
  { heldShare: 0, title: "flash crowd begins" },
  { heldShare: 0.5, title: "half delivered" },
  { heldShare: 0.97, title: "last pieces, to the end" },
] as const;
/** The size that also runs from the first piece to the last. */
const WHOLE_RUN_HOSTS = 10_000;
const GRANTS_PER_SECOND_MIN = 100_000;
const RSS_BYTES_MAX = 2 ** 30;
/** The size at which memory is judged. */
const RSS_HOST_COUNT = 100_000;

/**
 * What one core grants while very many hosts download one content, each size in a process of its own, so that its memory is that of the
 * core and of the hosts' bitmaps. What counts as a grant's cost is all that the core does for it: folding what hosts say, looking at
 * time, deciding, applying the decision. The hosts are simulated outside of the measured sections; so is the encoding of decisions, whose
 * cost stands beside, because the shell does it.
 */
export async function runSchedulerGrants(options: { readonly hostCount?: number }): Promise<void> {
  const sizes = options.hostCount === undefined ? HOST_COUNTS : [options.hostCount];
  for (const hostCount of sizes) {
    for (const { heldShare, title } of PHASES)
      await runPhase(hostCount, heldShare, GRANTS_MAX, title);
    if (hostCount === WHOLE_RUN_HOSTS) await runPhase(hostCount, 0, Infinity, "beginning to end");
  }
  process.stdout.write(
    [
      `one content of ${PIECE_COUNT} pieces of ${PIECE_BYTES / 2 ** 20} MiB, hosts at 1 Gbit/s, each piece reported by itself, a turn after ${FOLDED_PER_TURN} messages at most; CPU time of all threads`,
      "where the time goes: node --cpu-prof test/bench/scheduler-grants.ts --hosts 10000 --grants 400000",
      machineConditions(),
      "",
    ].join("\n"),
  );
}

async function runPhase(
  hostCount: number,
  heldShare: number,
  grantsMax: number,
  title: string,
): Promise<void> {
  const args = ["--hosts", `${hostCount}`, "--held", `${heldShare}`, "--grants", `${grantsMax}`];
  // Made to collect its garbage at the end, so that the heap is what the state needs.
  const execArgv = ["--expose-gc"];
  const result = await resultOfChild(import.meta.url, args, figures, { execArgv });
  process.stdout.write(`${linesOf(result, title).join("\n")}\n`);
}

function linesOf(result: GrantFigures, title: string): readonly string[] {
  const { hostCount, grantCount, leasedPieceCount, decideUs, foldUs, tickUs } = result;
  const per = (us: number) => `${(us / grantCount).toFixed(1)} µs`;
  const perSecond = Math.round((grantCount / (decideUs + foldUs + tickUs)) * 1e6);
  const rate = besideTarget(
    `${perSecond.toLocaleString("en")} grants/s`,
    `≥ ${GRANTS_PER_SECOND_MIN.toLocaleString("en")}`,
    perSecond >= GRANTS_PER_SECOND_MIN,
  );
  const mib = (bytes: number) => `${Math.round(bytes / 2 ** 20).toLocaleString("en")} MiB`;
  const rss = `RSS at most ${mib(result.rssBytesMax)}`;
  const isSmall = result.rssBytesMax <= RSS_BYTES_MAX;
  const isJudged = hostCount >= RSS_HOST_COUNT;
  const memory = `${isJudged ? besideTarget(rss, "≤ 1 GiB", isSmall) : rss}, live heap ${mib(result.heapBytes)}`;
  return [
    `${hostCount.toLocaleString("en")} hosts, ${title}: ${rate}`,
    `  a grant: ${partsOf(result).join(", ")}; beside it, encoding the decision: ${per(result.encodeUs)}`,
    `  ${grantCount.toLocaleString("en")} grants of ${(leasedPieceCount / grantCount).toFixed(2)} pieces in ${result.turnCount.toLocaleString("en")} turns, ${result.messageCount.toLocaleString("en")} messages; ${memory}`,
  ];
}

/** Where the core's time of a grant goes. */
function partsOf(result: GrantFigures): readonly string[] {
  const { grantCount, decideUs, foldUs, tickUs, matchShare, grantShare } = result;
  const per = (us: number) => `${(us / grantCount).toFixed(1)} µs`;
  return [
    `fold what hosts say ${per(foldUs)} (${(result.messageCount / grantCount).toFixed(1)} messages)`,
    `match ${per(decideUs * matchShare)}`,
    `build and apply the decision ${per(decideUs * grantShare)}`,
    `answers and the rest of the turn ${per(decideUs * (1 - matchShare - grantShare))}`,
    `look at time ${per(tickUs)}`,
  ];
}

/** Wall time inside timed turns, by what is done: CPU time cannot be read often enough. */
class TurnTimes {
  turnMs = 0;
  matchMs = 0;
  grantMs = 0;

  /** The usual matcher, its grants timed. */
  readonly matcher = (view: MatchView): void => {
    const startedAtMs = performance.now();
    const grantMsBefore = this.grantMs;
    matchTask({ ...view, grant: this.#timed(view.grant) });
    this.matchMs += performance.now() - startedAtMs - (this.grantMs - grantMsBefore);
  };

  #timed(grant: MatchView["grant"]): MatchView["grant"] {
    return (child, match) => {
      const startedAtMs = performance.now();
      grant(child, match);
      this.grantMs += performance.now() - startedAtMs;
    };
  }
}

/**
 * CPU time of the process, all threads, by what the main thread was at: read once at the end and divided by the time that each section
 * took, because asking for it takes as long as some grants do.
 */
class CpuMeter {
  readonly #startedAtMs = performance.now();
  readonly #startedUs = cpuUs();
  readonly #sectionMs = new Map<Section, number>();
  #since = this.#startedAtMs;

  /** What was done since the last call was this. */
  note(section: Section): void {
    const nowMs = performance.now();
    this.#sectionMs.set(section, (this.#sectionMs.get(section) ?? 0) + nowMs - this.#since);
    this.#since = nowMs;
  }

  usOf(section: Section): number {
    const share = (this.#sectionMs.get(section) ?? 0) / (this.#since - this.#startedAtMs);
    return (cpuUs() - this.#startedUs) * share;
  }
}

/** `hosts`: the simulation around the core. */
type Section = "hosts" | "fold" | "decide" | "tick" | "encode";

function cpuUs(): number {
  const { user, system } = process.cpuUsage();
  return user + system;
}

/** The farm and the core in one process, turn by turn in virtual time. */
class GrantRun {
  readonly #random = seededRandom(1);
  readonly #state = newState();
  readonly #farm: HostFarm;
  readonly #cpu = new CpuMeter();
  readonly #times = new TurnTimes();
  readonly #counts = { grantCount: 0, leasedPieceCount: 0, messageCount: 0, turnCount: 0 };
  #nowMs = START_MS;
  #grantedAtMs = this.#nowMs;

  constructor(hostCount: number, heldShare: number) {
    this.#farm = new HostFarm({
      hostCount,
      heldShare,
      pieceCount: PIECE_COUNT,
      pieceBytes: PIECE_BYTES,
      zoneCount: 1,
      upBytesPerMs: GIGABIT_BYTES_PER_MS,
      random: this.#random,
    });
  }

  run(grantsMax: number): Omit<GrantFigures, "hostCount" | "heldShare"> {
    const start = this.#farm.start();
    while (!this.#farm.isFinished && this.#counts.grantCount < grantsMax) {
      if (this.#nowMs - this.#grantedAtMs > STALLED_MS)
        throw new Error(`no grant for ${STALLED_MS} ms`);
      this.#lookAtTime();
      this.#fold(nextOf(start, STARTED_PER_MS).values());
      this.#fold(this.#farm.due(this.#nowMs));
      while (this.#state.work.dirtyTaskIds[SLICE]?.size !== 0) this.#turn();
      this.#nowMs++;
    }
    this.#cpu.note("hosts");
    const us = (section: Section) => this.#cpu.usOf(section);
    const times = {
      decideUs: us("decide"),
      foldUs: us("fold"),
      tickUs: us("tick"),
      encodeUs: us("encode"),
    };
    const rssBytesMax = process.resourceUsage().maxRSS * 1024;
    globalThis.gc?.();
    const { heapUsed, arrayBuffers } = process.memoryUsage();
    return {
      ...this.#counts,
      finishedCount: this.#farm.finishedCount,
      ...times,
      matchShare: this.#times.matchMs / this.#times.turnMs,
      grantShare: this.#times.grantMs / this.#times.turnMs,
      rssBytesMax,
      heapBytes: heapUsed + arrayBuffers,
    };
  }

  #lookAtTime(): void {
    const nowMs = this.#nowMs;
    this.#cpu.note("hosts");
    if (nowMs % TICK_MS === 0) tick(this.#state, nowMs);
    if (nowMs % PROJECT_MS === 0) takeTouched(this.#state);
    this.#cpu.note("tick");
  }

  /** Messages are made when their turn comes: all hosts of a wave speak in one millisecond, and what waits would be memory of nobody's. */
  #fold(messages: Iterator<FarmMessage>): void {
    for (;;) {
      const some = nextOf(messages, FOLDED_PER_TURN);
      if (some.length === 0) return;
      this.#cpu.note("hosts");
      for (const message of some) this.#foldOne(message);
      this.#cpu.note("fold");
      this.#counts.messageCount += some.length;
      this.#turn();
    }
  }

  #foldOne({ hostId, sequence, kinds }: FarmMessage): void {
    const context = { hostId, bootId: "boot-1", sequence, atMs: this.#nowMs };
    evolveMessage(this.#state, context);
    for (const kind of kinds) evolveEvent(this.#state, { traceparent: "", kind }, context);
  }

  #turn(): void {
    const nowMs = this.#nowMs;
    const context = { slice: SLICE, epoch: 1, nowMs, random: this.#random };
    const isTimed = this.#counts.turnCount++ % TURNS_TIMED_EACH === 0;
    const { matcher } = this.#times;
    this.#cpu.note("hosts");
    const startedAtMs = performance.now();
    const outcome = decide(this.#state, isTimed ? { ...context, matcher } : context);
    if (isTimed) this.#times.turnMs += performance.now() - startedAtMs;
    this.#cpu.note("decide");
    this.#encodeDecisions(outcome.decisions);
    this.#cpu.note("encode");
    for (const answer of outcome.answers) {
      if (answer.kind !== "lease") continue;
      this.#farm.take(answer.lease, nowMs);
      this.#counts.grantCount++;
      this.#counts.leasedPieceCount += answer.lease.remainingCount;
      this.#grantedAtMs = nowMs;
    }
  }

  /** As the shell does with what is decided; it also makes plain texts of those that were put together. */
  #encodeDecisions(decisions: readonly Decision[]): void {
    const message = { version: 1, slice: SLICE, epoch: 1, eventsSequence: 1, decidedAtMs: 1 };
    DecisionMessage.encode({ ...message, decisions: [...decisions] }).finish();
  }
}

/** Leaves the iterator open for the rest, unlike its own `take`. */
function nextOf<Value>(iterator: Iterator<Value>, countMax: number): readonly Value[] {
  const values: Value[] = [];
  while (values.length < countMax) {
    const next = iterator.next();
    if (next.done === true) break;
    values.push(next.value);
  }
  return values;
}

if (import.meta.main) {
  // As the scheduler's own start does.
  boundHeapGrowth();
  const { values } = parseArgs({
    options: {
      hosts: { type: "string", default: "10000" },
      held: { type: "string", default: "0" },
      grants: { type: "string", default: `${GRANTS_MAX}` },
    },
  });
  const hostCount = Number(values.hosts);
  const heldShare = Number(values.held);
  const result = new GrantRun(hostCount, heldShare).run(Number(values.grants));
  tellParent({ hostCount, heldShare, ...result });
}
