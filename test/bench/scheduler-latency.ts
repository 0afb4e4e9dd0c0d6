import { fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import { besideTarget, serverConditions } from "../support/bench-conditions.ts";
import { quantilesOf } from "../support/quantiles.ts";
import { startSchedulerStack } from "../support/scheduler-stack.ts";
import { seededRandom } from "../support/scheduler-world.ts";
import { type SwarmHost, SwarmHosts } from "../support/swarm-host.ts";
import type { SwarmTask } from "../support/swarm-task.ts";

const TASK_COUNT = 64;
const CHILD_COUNT = 80;
const PIECE_COUNT = 4;
const PIECE_MS = 1;
const REQUEST_COUNT = 2_000;
/** Before the figures: both processes compile their code. */
const WARM_UP_COUNT = 400;
/** Between an answer and the next request, drawn anew each time. */
const GAP_MS_MAX = 5;
const ANSWER_TIMEOUT_MS = 30_000;
const LOAD_HOST_COUNT = 5_000;
const LOAD_MESSAGES_PER_SECOND = 5_000;
const P50_MS_MAX = 3;
const P99_MS_MAX = 25;

/**
 * From the moment in which a host publishes its request until it has the lease: through JetStream, the scheduler's program, the append of
 * the decision, and back. One request at a time, each by another host or for another content that a peer holds.
 */
export async function runSchedulerLatency(): Promise<void> {
  await using stack = await startSchedulerStack({ hasStandby: false });
  const requests = new Map<string, () => void>();
  let pendingCount = 0;
  const swarm = new SwarmHosts({
    connection: await stack.nats.connect(),
    pieceMs: PIECE_MS,
    onAssignment: (_host, { kind }) => {
      if (kind?.$case === "lease") requests.get(kind.value.requestId)?.();
      else if (kind?.$case === "pending") pendingCount++;
    },
  });
  await using _hosts = swarm;
  const asks = await prepare(swarm);
  const random = seededRandom(1);
  const ask = async (): Promise<number> => {
    const next = asks.pop();
    if (next === undefined) throw new Error("every host has asked for every content");
    const answered = Promise.withResolvers<number>();
    const beganAtMs = performance.now();
    const requestId = next.host.want(next.task);
    requests.set(requestId, () => {
      answered.resolve(performance.now() - beganAtMs);
      requests.delete(requestId);
    });
    const timer = setTimeout(
      () => answered.reject(new Error(`no lease within ${ANSWER_TIMEOUT_MS} ms`)),
      ANSWER_TIMEOUT_MS,
    );
    try {
      return await answered.promise;
    } finally {
      clearTimeout(timer);
    }
  };
  const measure = async (count: number): Promise<readonly number[]> => {
    const latencies: number[] = [];
    for (let at = 0; at < count; at++) {
      latencies.push(await ask());
      await sleep(random() * GAP_MS_MAX);
    }
    return latencies;
  };

  await measure(WARM_UP_COUNT);
  report("idle", await measure(REQUEST_COUNT));
  await using load = await startLoad(stack.nats.url);
  await measure(WARM_UP_COUNT);
  const loaded = await measure(REQUEST_COUNT);
  const rate = await load.rate();
  report(`at ${Math.round(rate).toLocaleString("en")} messages/s of other hosts`, loaded);
  process.stdout.write(
    [
      `${REQUEST_COUNT.toLocaleString("en")} requests each, one at a time, after ${WARM_UP_COUNT}; ${pendingCount} were told to wait first`,
      await serverConditions(stack),
      "",
    ].join("\n"),
  );
}

/** Announces all hosts and has one own all contents. @returns who may ask for what, each pair once, mixed. */
async function prepare(
  swarm: SwarmHosts,
): Promise<{ readonly host: SwarmHost; readonly task: SwarmTask }[]> {
  const tasks = Array.from({ length: TASK_COUNT }, (_, slice) => ({
    taskId: slice.toString(16).padStart(2, "0") + "cd".repeat(31),
    pieceCount: PIECE_COUNT,
    pieceLengthBytes: 2 ** 20,
  }));
  const owner = swarm.add("owner");
  owner.boot();
  for (const task of tasks) owner.own(task);
  const children = Array.from({ length: CHILD_COUNT }, (_, index) => swarm.add(`child-${index}`));
  for (const child of children) child.boot();
  await swarm.published();
  const pairs = tasks.flatMap((task) => children.map((host) => ({ host, task })));
  const random = seededRandom(2);
  return pairs
    .map((pair) => ({ pair, at: random() }))
    .toSorted((a, b) => a.at - b.at)
    .map(({ pair }) => pair);
}

function report(condition: string, latencies: readonly number[]): void {
  const { p50, p99, max } = quantilesOf(latencies);
  const p50Text = besideTarget(`p50 ${p50.toFixed(2)} ms`, `≤ ${P50_MS_MAX} ms`, p50 <= P50_MS_MAX);
  const p99Text = besideTarget(`p99 ${p99.toFixed(2)} ms`, `≤ ${P99_MS_MAX} ms`, p99 <= P99_MS_MAX);
  process.stdout.write(
    `request to assignment, ${condition}: ${p50Text}, ${p99Text}, max ${max.toFixed(1)} ms\n`,
  );
}

/** Other hosts that publish at a steady pace until the scope ends. */
async function startLoad(natsUrl: string): Promise<{
  /** Messages a second so far. */
  rate(): Promise<number>;
  [Symbol.asyncDispose](): Promise<void>;
}> {
  const program = fileURLToPath(new URL("scheduler-load.ts", import.meta.url));
  const args = [natsUrl, `${LOAD_HOST_COUNT}`, `${LOAD_MESSAGES_PER_SECOND}`];
  const load = fork(program, args);
  const exited = once(load, "exit");
  const gone = exited.then(([code]) => {
    throw new Error(`the other hosts' process exited with ${String(code)}`);
  });
  gone.catch(() => {});
  await Promise.race([once(load, "message"), gone]);
  return {
    rate: async () => {
      const answer = once(load, "message").then(([rate]) => z.number().parse(rate));
      load.send("rate");
      return Promise.race([answer, gone]);
    },
    [Symbol.asyncDispose]: async () => {
      if (load.connected) load.disconnect();
      await exited;
    },
  };
}

if (import.meta.main) await runSchedulerLatency();
