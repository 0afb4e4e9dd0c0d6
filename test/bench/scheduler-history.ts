import { isDeepStrictEqual } from "node:util";
import { DecisionMessage } from "@lacewing/contracts/gen/lacewing/decisions/v1/decisions.ts";
import { EventMessage } from "@lacewing/contracts/gen/lacewing/events/v1/events.ts";
import { parseHostId } from "@lacewing/contracts/ids.ts";
import { eventsSubject, hostSubject } from "@lacewing/contracts/subjects.ts";
import { createMemoryLog } from "@lacewing/observability/memory-log.ts";
import { systemClock } from "@lacewing/runtime/clock.ts";
import { Folder } from "@lacewing/scheduler/app/folder.ts";
import type { StoredEvents } from "@lacewing/scheduler/app/ports.ts";
import { Replay } from "@lacewing/scheduler/app/recovery.ts";
import { newState, type State } from "@lacewing/scheduler/core/state.ts";
import { z } from "zod";
import { besideTarget, machineConditions } from "../support/bench-conditions.ts";
import { resultOfChild, tellParent } from "../support/child-result.ts";
import { summaryOf } from "../support/scheduler-world.ts";
import type { HostMessage } from "../simulation/swarm/messages.ts";
import { runScenario } from "../simulation/swarm/run.ts";
import { scenariosOf } from "../simulation/swarm/scenarios.ts";
import { sliceOfTask } from "../simulation/swarm/sim-host.ts";
import type { World } from "../simulation/swarm/world.ts";

/** Its hosts lie, corrupt and refuse, so that the logs have failures and revocations in them. */
const SCENARIO = "s14";
const PIECE_COUNT = 256;
/** Enough for a million facts: a piece is granted once and reported once. */
const HOST_COUNT = 2_800;
/** The run ends before the last pieces have arrived, so that the state has live leases of nearly every host. */
const UNTIL_MS = 31_000;
const SECONDS_MAX = 20;
/** The logs of a million facts and two states beside them. */
const HEAP_MIB = 6_144;

const figures = z.object({
  factCount: z.number(),
  decisionCount: z.number(),
  logBytes: z.number(),
  seconds: z.number(),
  cpuSeconds: z.number(),
  leaseCount: z.number(),
  misfitCount: z.number(),
  isSameState: z.boolean(),
});
type Figures = z.infer<typeof figures>;

type Kind = HostMessage["kinds"][number];

/** Folds the stored bytes of both logs of a simulated run into an empty state, as a scheduler does when it starts; in its own process. */
export async function runSchedulerHistory(options: { readonly hostCount?: number }): Promise<void> {
  const hostCount = options.hostCount ?? HOST_COUNT;
  const result = await resultOfChild(import.meta.url, [`${hostCount}`], figures, {
    execArgv: [`--max-old-space-size=${HEAP_MIB}`],
  });
  const { factCount, decisionCount, seconds, cpuSeconds } = result;
  const number = (value: number) => value.toLocaleString("en");
  const isSame = result.isSameState && result.misfitCount === 0;
  process.stdout.write(
    [
      `${number(factCount)} facts (${number(decisionCount)} of them decisions, ${Math.round(result.logBytes / 2 ** 20)} MiB) of a simulated run of ${number(hostCount)} hosts, some of which lie, corrupt or refuse`,
      `replayed from memory, decoding included, in ${besideTarget(`${seconds.toFixed(1)} s, ${cpuSeconds.toFixed(1)} s CPU`, `≤ ${SECONDS_MAX} s`, seconds <= SECONDS_MAX)}: ${number(Math.round(factCount / seconds))} facts/s`,
      `state compared in depth with that of the run (${number(result.leaseCount)} live leases): ${besideTarget(isSame ? "the same" : "DIFFERENT", "the same", isSame)}`,
      machineConditions(),
      "",
    ].join("\n"),
  );
}

/** Both logs as bytes, as the broker has them. */
interface StoredLogs {
  readonly events: readonly StoredEvents[];
  readonly decisions: readonly Uint8Array[];
  readonly byteCount: number;
}

async function replayRun(hostCount: number): Promise<Figures> {
  const [scenario] = scenariosOf(SCENARIO, { hosts: hostCount, pieces: PIECE_COUNT });
  if (scenario === undefined) throw new Error(`no scenario ${SCENARIO}`);
  const { world, costs } = runScenario({ ...scenario, isLogged: true, untilMs: UNTIL_MS });
  const logs = storedLogsOf(world);
  const startedAtMs = performance.now();
  const cpuBefore = process.cpuUsage();
  const state = await replayed(logs, world.queue.nowMs);
  const seconds = (performance.now() - startedAtMs) / 1000;
  const cpu = process.cpuUsage(cpuBefore);
  const live = world.scheduler.state;
  return {
    factCount: costs.eventCount + costs.decisionCount,
    decisionCount: costs.decisionCount,
    logBytes: logs.byteCount,
    seconds,
    cpuSeconds: (cpu.user + cpu.system) / 1e6,
    leaseCount: live.leases.size,
    misfitCount: state.contained.get("decision misfit on replay") ?? 0,
    isSameState: isDeepStrictEqual(summaryOf(state), withWholeNumbers(summaryOf(live))),
  };
}

function storedLogsOf({ scheduler }: World): StoredLogs {
  const events = scheduler.messageLog.map(({ message, atMs }, index) => ({
    subject: subjectOf(message),
    data: encoded(message),
    streamSequence: index + 1,
    messageId: "",
    storedAtMs: Math.round(atMs),
  }));
  const decisions = scheduler.decisionLog.flatMap((entry) => {
    if (entry.kind !== "decisions") return [];
    const { slice, epoch, eventsSequence, atMs } = entry;
    const message = { version: 1, slice, epoch, eventsSequence, decidedAtMs: Math.round(atMs) };
    return [DecisionMessage.encode({ ...message, decisions: [...entry.decisions] }).finish()];
  });
  const sizeOf = (list: readonly Uint8Array[]) => list.reduce((sum, { length }) => sum + length, 0);
  const byteCount = sizeOf(decisions) + sizeOf(events.map(({ data }) => data));
  return { events, decisions, byteCount };
}

function encoded(message: HostMessage): Uint8Array {
  const { hostId, bootId, sequence, kinds } = message;
  const events = kinds.map((kind) => ({ traceparent: "", kind: asSent(kind) }));
  return EventMessage.encode({
    version: 1,
    hostId,
    bootId,
    sequence,
    sentAtMs: 0,
    events,
  }).finish();
}

/** As a real host would say it: in whole milliseconds, which virtual time does not have, and with a well-formed digest. */
function asSent(kind: Kind): Kind {
  if (kind.$case === "taskVerified") {
    return { $case: kind.$case, value: { ...kind.value, digest: `sha256:${kind.value.taskId}` } };
  }
  if (kind.$case === "piecesFailed") {
    const durationMs = Math.round(kind.value.durationMs);
    return { $case: kind.$case, value: { ...kind.value, durationMs } };
  }
  if (kind.$case !== "piecesAvailable" || kind.value.leasesEnded.length === 0) return kind;
  const leasesEnded = kind.value.leasesEnded.map((ended) => ({
    ...ended,
    durationMs: Math.round(ended.durationMs),
  }));
  return { $case: kind.$case, value: { ...kind.value, leasesEnded } };
}

/** A summary with all its times in whole milliseconds. */
function withWholeNumbers(value: unknown): unknown {
  if (typeof value === "number") return Math.round(value);
  if (Array.isArray(value)) return value.map(withWholeNumbers);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]) => [key, withWholeNumbers(inner)]),
  );
}

function subjectOf({ hostId: name, kinds }: HostMessage): string {
  const hostId = parseHostId(name);
  if (hostId === undefined) throw new Error(`not a host id: ${name}`);
  for (const { value } of kinds) {
    if ("taskId" in value) return eventsSubject(sliceOfTask(value.taskId), hostId);
  }
  return hostSubject(hostId);
}

async function replayed(logs: StoredLogs, nowMs: number): Promise<State> {
  const log = createMemoryLog();
  const state = newState();
  const folder = new Folder(state, log, (event) => event);
  const { events, decisions } = logs;
  const ports = {
    time: { now: () => nowMs },
    eventLog: {
      bounds: async () => ({ first: 1, last: events.length }),
      read: async function* (from: number) {
        for (let at = from - 1; at < events.length; at++) {
          const stored = events[at];
          if (stored !== undefined) yield stored;
        }
      },
    },
    decisionLog: {
      bounds: async () => ({ first: 1, last: decisions.length }),
      readRange: async function* (from: number, to: number) {
        for (let at = from; at <= to; at++) {
          const bytes = decisions[at - 1];
          if (bytes === undefined) throw new RangeError(`no decisions ${at}`);
          yield { message: DecisionMessage.decode(bytes), streamSequence: at };
        }
      },
      last: async () => ({ sequence: decisions.length, epoch: 1 }),
      append: () => Promise.reject(new Error("a replay appends nothing")),
    },
  };
  const backoff = { firstMs: 50, maxMs: 2_000 };
  const tools = { clock: systemClock, log, random: Math.random, backoff };
  const zero = { eventsSequence: 0, decisionsSequence: 0, epoch: 0, lastMessageId: "" };
  const checkpoints = Array.from({ length: 64 }, (_, slice) => ({ slice, ...zero }));
  const done = new AbortController();
  const { cursor } = await new Replay(folder, ports, tools).run(
    checkpoints,
    decisions.length,
    done.signal,
  );
  done.abort();
  await cursor.close();
  if (folder.hasDeadLetters) {
    const [first] = folder.takeDeadLetters();
    throw new Error(`a message cannot be folded: ${first?.reason ?? ""}`);
  }
  return state;
}

if (import.meta.main) tellParent(await replayRun(Number(process.argv[2] ?? HOST_COUNT)));
