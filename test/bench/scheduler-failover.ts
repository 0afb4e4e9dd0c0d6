import type { DecisionMessage } from "@lacewing/contracts/gen/lacewing/decisions/v1/decisions.ts";
import { indexesOf } from "@lacewing/contracts/pieces.ts";
import { besideTarget, serverConditions } from "../support/bench-conditions.ts";
import { decisionsInLog } from "../support/scheduler-cluster.ts";
import { startSchedulerStack } from "../support/scheduler-stack.ts";
import { taskIdOfSlice } from "../support/scheduler-world.ts";
import { SwarmHosts } from "../support/swarm-host.ts";
import type { SwarmTask } from "../support/swarm-task.ts";
import { waitFor } from "../support/wait-for.ts";

const PIECE_COUNT = 128;
const PIECE_MS = 20;
/** The scheduler is killed when so many of all pieces have arrived. */
const KILLED_AT_SHARE = 0.3;
/** So many of the hosts come right after the kill: the others may have all the leases that they need by then. */
const LATE_SHARE = 0.1;
const NEXT_GRANT_MS_MAX = 5_000;
const FINISHED_TIMEOUT_MS = 300_000;
const TASK: SwarmTask = {
  taskId: taskIdOfSlice(7),
  pieceCount: PIECE_COUNT,
  pieceLengthBytes: 4 * 2 ** 20,
};

/**
 * `kill -9` of the active scheduler in the middle of a flash crowd that goes on growing: real schedulers, broker and database; hosts in this process that
 * speak the real protocol and carry out their leases by waiting.
 */
export async function runSchedulerFailover(options: { readonly hostCount: number }): Promise<void> {
  const { hostCount } = options;
  await using stack = await startSchedulerStack({ hasStandby: true });
  const connection = await stack.nats.connect();
  let killedAtMs = Infinity;
  let epochBefore = 0;
  let nextGrantMs: number | undefined;
  const swarm = new SwarmHosts({
    connection,
    pieceMs: PIECE_MS,
    onAssignment: (_host, { kind }, epoch) => {
      if (kind?.$case !== "lease") return;
      if (killedAtMs === Infinity) epochBefore = Math.max(epochBefore, epoch);
      else if (epoch > epochBefore) nextGrantMs ??= performance.now() - killedAtMs;
    },
  });
  await using _hosts = swarm;
  const hosts = Array.from({ length: hostCount }, (_, index) => swarm.add(`host-${index}`));
  for (const host of hosts) host.boot();
  await swarm.published();

  const startedAtMs = performance.now();
  const lateCount = Math.ceil(hostCount * LATE_SHARE);
  const first = hosts.slice(lateCount);
  for (const host of first) host.want(TASK);
  const heldCount = () => first.reduce((sum, host) => sum + host.heldCount(TASK), 0);
  const total = first.length * PIECE_COUNT;
  const options_ = { timeoutMs: FINISHED_TIMEOUT_MS };
  await waitFor("a part has arrived", () => heldCount() > KILLED_AT_SHARE * total, options_);
  const heldAtKill = heldCount();
  const killed = stack.active.end("SIGKILL");
  killedAtMs = performance.now();
  await killed;
  for (const host of hosts.slice(0, lateCount)) host.want(TASK);
  const unfinished = () => hosts.filter((host) => !host.hasAll(TASK));
  await waitFor("all hosts have everything", () => unfinished().length === 0, options_).catch(
    () => {},
  );
  const totalMs = performance.now() - startedAtMs;
  await swarm.published();

  const decisions = await decisionsInLog(connection);
  const grants = countGrants(decisions);
  const finishedCount = hostCount - unfinished().length;
  const share = Math.round((100 * heldAtKill) / total);
  const nextText = nextGrantMs === undefined ? "none" : `${(nextGrantMs / 1000).toFixed(2)} s`;
  const isSoon = nextGrantMs !== undefined && nextGrantMs <= NEXT_GRANT_MS_MAX;
  process.stdout.write(
    [
      `${hostCount} hosts, ${PIECE_COUNT} pieces of ${PIECE_MS} ms; kill -9 of the active scheduler with ${share} % delivered, then ${lateCount} of the hosts come`,
      `next grant at a host ${besideTarget(nextText, "≤ 5 s", isSoon)}`,
      `${grants.grantCount} grants in the log, ${besideTarget(`${grants.doubleCount} pieces leased twice while live`, "0", grants.doubleCount === 0)}; ${swarm.repeatedPieceCount} pieces arrived twice`,
      `finished ${besideTarget(`${finishedCount} of ${hostCount}`, "all", finishedCount === hostCount)} after ${(totalMs / 1000).toFixed(1)} s`,
      await serverConditions(stack),
      "",
    ].join("\n"),
  );
}

/**
 * Counts, in the decision log alone, pieces that were leased to a child that had a lease of them that nothing had revoked. These hosts
 * never fail a lease and never give a piece up, so one grant is all that a piece may take.
 */
function countGrants(log: readonly DecisionMessage[]): {
  readonly grantCount: number;
  readonly doubleCount: number;
} {
  const holders = new Map<string, string>();
  const piecesOf = new Map<string, readonly string[]>();
  let grantCount = 0;
  let doubleCount = 0;
  for (const { kind } of log.flatMap(({ decisions }) => decisions)) {
    if (kind?.$case === "leaseRevoked") {
      const { leaseId } = kind.value;
      for (const key of piecesOf.get(leaseId) ?? []) {
        if (holders.get(key) === leaseId) holders.delete(key);
      }
    }
    if (kind?.$case !== "leaseGranted") continue;
    grantCount++;
    const { leaseId, childHostId, open, pieces } = kind.value;
    const indexes = open
      ? Array.from({ length: PIECE_COUNT }, (_, piece) => piece)
      : indexesOf(pieces);
    const keys = [...indexes].map((piece) => `${childHostId} ${piece}`);
    piecesOf.set(leaseId, keys);
    for (const key of keys) {
      if (holders.has(key)) doubleCount++;
      holders.set(key, leaseId);
    }
  }
  return { grantCount, doubleCount };
}

if (import.meta.main) await runSchedulerFailover({ hostCount: Number(process.argv[2] ?? 200) });
