import { availableParallelism, cpus } from "node:os";
import { createMemoryLog } from "@lacewing/observability/memory-log.ts";
import { systemClock } from "@lacewing/runtime/clock.ts";
import { openNatsLogs } from "@lacewing/scheduler/adapters/nats/open-nats-logs.ts";
import { Folder } from "@lacewing/scheduler/app/folder.ts";
import { Replay } from "@lacewing/scheduler/app/recovery.ts";
import { SteadyTime } from "@lacewing/scheduler/app/steady-time.ts";
import { newState, type State } from "@lacewing/scheduler/core/state.ts";
import { startTestNats, type TestNats } from "../support/nats.ts";
import { type Traffic, trafficMessages } from "../support/scheduler-traffic.ts";
import { summaryOf } from "../support/scheduler-world.ts";
import { publish } from "./scheduler-ingest.ts";

/** What a replay from zero took, and whether it gave the state that the same facts give when they are folded one after the other. */
export interface ReplayFigures {
  readonly factCount: number;
  readonly messageCount: number;
  readonly seconds: number;
  readonly isSameState: boolean;
}

/** Fills the event log of a broker of its own, and replays it into an empty state as a scheduler does when it starts. */
export async function measureReplay(traffic: Traffic): Promise<ReplayFigures> {
  await using nats = await startTestNats();
  // Makes the streams.
  await openLogs(nats);
  const { hostCount, taskCount, messageCount, pieceCount, factsPerMessage } = traffic;
  const last = await publish(nats.url, [
    hostCount,
    taskCount,
    messageCount,
    pieceCount,
    factsPerMessage,
  ]);
  const startedAtMs = performance.now();
  const { state, factCount } = await replay(nats);
  const seconds = (performance.now() - startedAtMs) / 1000;
  const isSameState = summaryText(state) === summaryText(folded(traffic));
  return { factCount, messageCount: last, seconds, isSameState };
}

async function openLogs(nats: TestNats) {
  const limits = { eventsBytesMax: -1, eventsAgeMs: 0, decisionsAgeMs: 0, replicas: 1 };
  return openNatsLogs(await nats.connect(), limits, createMemoryLog());
}

async function replay(
  nats: TestNats,
): Promise<{ readonly state: State; readonly factCount: number }> {
  const log = createMemoryLog();
  const logs = await openLogs(nats);
  const state = newState();
  const folder = new Folder(state, log, (event) => event);
  const backoff = { firstMs: 50, maxMs: 2_000 };
  const tools = { clock: systemClock, log, random: Math.random, backoff };
  const ports = { ...logs, time: new SteadyTime(systemClock) };
  const zero = { eventsSequence: 0, decisionsSequence: 0, epoch: 0, lastMessageId: "" };
  const checkpoints = Array.from({ length: 64 }, (_, slice) => ({ slice, ...zero }));
  const done = new AbortController();
  const { cursor } = await new Replay(folder, ports, tools).run(checkpoints, 0, done.signal);
  done.abort();
  await cursor.close();
  return { state, factCount: folder.factCount };
}

/** The same messages, folded without a broker. */
function folded(traffic: Traffic): State {
  const state = newState();
  const folder = new Folder(state, createMemoryLog(), (event) => event);
  let streamSequence = 0;
  for (const { subject, data, messageId } of trafficMessages(traffic)) {
    streamSequence++;
    folder.fold({ subject, data, messageId, streamSequence, storedAtMs: 0 }, 0);
  }
  return state;
}

function summaryText(state: State): string {
  return JSON.stringify(summaryOf(state));
}

if (import.meta.main) {
  const [messageCount = 125_000, factsPerMessage = 8] = process.argv.slice(2).map(Number);
  const figures = await measureReplay({
    hostCount: 10_000,
    taskCount: 64,
    pieceCount: 1024,
    messageCount,
    factsPerMessage,
  });
  const perSecond = Math.round(figures.factCount / figures.seconds).toLocaleString("en");
  process.stdout.write(
    [
      `${figures.factCount.toLocaleString("en")} facts in ${figures.messageCount.toLocaleString("en")} messages replayed in ${figures.seconds.toFixed(1)} s: ${perSecond} facts/s`,
      `state ${figures.isSameState ? "is the same as" : "DIFFERS from"} that of the facts folded one after the other`,
      `${availableParallelism()} cores shared by everything (${cpus()[0]?.model.trim() ?? "unknown"})`,
      "",
    ].join("\n"),
  );
  process.exitCode = figures.isSameState ? 0 : 1;
}
