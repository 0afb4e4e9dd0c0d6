import { SLICE_COUNT } from "@lacewing/contracts/slices.ts";
import type { Log } from "@lacewing/observability/log.ts";
import type { Clock } from "@lacewing/runtime/clock.ts";
import { messageOf, PortError } from "@lacewing/runtime/errors.ts";
import { newState } from "../core/state.ts";
import { Folder } from "./folder.ts";
import { REBUILD_FACTS_PER_WRITE, RETRY_BACKOFF } from "./limits.ts";
import type {
  CheckpointRow,
  DecisionLog,
  EventLog,
  RebuildStore,
  RebuildWriter,
  SliceOwnership,
} from "./ports.ts";
import { takeRows } from "./projector.ts";
import { Replay } from "./recovery.ts";
import { retrying, type RetryTools } from "./retry.ts";
import { SliceLog } from "./slice-log.ts";
import { SteadyTime } from "./steady-time.ts";

export interface RebuildPorts {
  readonly eventLog: EventLog;
  readonly decisionLog: DecisionLog;
  readonly ownership: SliceOwnership;
  readonly store: RebuildStore;
  readonly clock: Clock;
  readonly log: Log;
  readonly random: () => number;
}

export interface RebuildOptions {
  /** Unique for each process start. */
  readonly ownerId: string;
  readonly ownershipLeaseMs: number;
  readonly renewalMs: number;
  /** Takes the slices even from a scheduler that is alive; it stands by until the rebuild has ended. */
  readonly isFencing: boolean;
}

/** What a rebuild has read and written. */
export interface RebuildReport {
  /** Both logs begin with their first message: everything was made anew. Otherwise what they no longer tell was kept. */
  readonly isWhole: boolean;
  readonly eventsSequence: number;
  readonly decisionsSequence: number;
  readonly factCount: number;
  readonly hostCount: number;
  readonly taskCount: number;
  readonly ms: number;
}

/**
 * Makes the task/peer graph in Postgres anew from the two logs, in one transaction: readers see the old rows until the new ones
 * are complete, and a rebuild that fails changes nothing. The slices are its own meanwhile, so that no scheduler writes.
 *
 * @throws {PortError} `slices_owned` when a scheduler is alive and must not be fenced; `rebuild_fenced` when somebody else took the
 *   slices meanwhile.
 */
export async function rebuildProjection(
  ports: RebuildPorts,
  options: RebuildOptions,
  signal: AbortSignal,
): Promise<RebuildReport> {
  const startedAtMs = ports.clock.monotonic();
  const tools: RetryTools = { ...ports, backoff: RETRY_BACKOFF };
  const epochs = await own(ports, options);
  const done = new AbortController();
  const renewing = renew(ports, options, done.signal);
  try {
    await fenceLogs(ports, options, epochs, tools, signal);
    const read = await ports.store.rebuild(options.ownerId, epochs, (writer) =>
      replayInto(ports, writer, tools, signal),
    );
    return { ...read, ms: Math.round(ports.clock.monotonic() - startedAtMs) };
  } finally {
    done.abort();
    await renewing;
    await ports.ownership.release(options.ownerId).catch((error: unknown) => {
      ports.log.warn("ownership not released", { message: messageOf(error) });
    });
  }
}

async function own(
  { ownership }: RebuildPorts,
  { ownerId, ownershipLeaseMs, isFencing }: RebuildOptions,
): Promise<ReadonlyMap<number, number>> {
  const epochs = isFencing
    ? await ownership.seize(ownerId, ownershipLeaseMs)
    : await ownership.acquire(ownerId, ownershipLeaseMs);
  if (epochs.size === SLICE_COUNT) return epochs;
  const holder = (await ownership.holder()) ?? "nobody any more";
  throw new PortError("slices_owned", `the slices are owned by ${holder}`, { retryable: false });
}

async function renew(
  { clock, ownership, log }: RebuildPorts,
  { ownerId, ownershipLeaseMs, renewalMs }: RebuildOptions,
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted) {
    try {
      await clock.sleep(renewalMs, signal);
      await ownership.acquire(ownerId, ownershipLeaseMs);
    } catch (error) {
      // The commit finds out whether the slices are still ours.
      if (!signal.aborted) log.warn("ownership not renewed", { message: messageOf(error) });
    }
  }
}

/** From here on no append of the scheduler before us succeeds: the log's end stands still. */
async function fenceLogs(
  ports: RebuildPorts,
  { ownerId }: RebuildOptions,
  epochs: ReadonlyMap<number, number>,
  tools: RetryTools,
  signal: AbortSignal,
): Promise<void> {
  const writer = { log: ports.decisionLog, writerId: `${ownerId}:rebuild`, tools };
  const fenced = await Promise.all(
    [...epochs].map(([slice, epoch]) =>
      new SliceLog(slice, epoch, writer).acquire(ownerId, 0, ports.clock.now(), signal),
    ),
  );
  if (fenced.every((isNewest) => isNewest)) return;
  const message = "somebody else keeps appending decisions";
  throw new PortError("rebuild_fenced", message, { retryable: false });
}

async function replayInto(
  ports: RebuildPorts,
  writer: RebuildWriter,
  tools: RetryTools,
  signal: AbortSignal,
): Promise<{ readonly position: CheckpointRow; readonly report: Omit<RebuildReport, "ms"> }> {
  const { eventLog, decisionLog, clock, log } = ports;
  const events = await retrying("read bounds of events", tools, signal, () => eventLog.bounds());
  const decisions = await retrying("read bounds of decisions", tools, signal, () =>
    decisionLog.bounds(),
  );
  const isWhole = events.first <= 1 && decisions.first <= 1;
  await writer.clear({ keepBeforeMs: isWhole ? undefined : await firstDecisionAtMs(ports) });
  const state = newState();
  const folder = new Folder(state, log, (event) => event);
  let factCount = 0;
  let writtenCount = 0;
  const write = async () => {
    factCount += folder.factCount;
    folder.factCount = 0;
    if (factCount - writtenCount < REBUILD_FACTS_PER_WRITE) return;
    writtenCount = factCount;
    await writer.write(takeRows(state, folder));
  };
  const replay = new Replay(folder, { ...ports, time: new SteadyTime(clock) }, tools, write);
  const replayed = await replay.run(ZERO_CHECKPOINTS, decisions.last, signal);
  await replayed.cursor.close();
  await write();
  await writer.write(takeRows(state, folder));
  const { decisionsSequence } = replayed;
  const { sequence: eventsSequence, lastMessageId } = folder;
  return {
    position: { slice: 0, epoch: 0, eventsSequence, decisionsSequence, lastMessageId },
    report: {
      isWhole,
      eventsSequence,
      decisionsSequence,
      factCount,
      hostCount: state.hosts.size,
      taskCount: state.tasks.size,
    },
  };
}

/** When the oldest decision was made that the log still has; what ended before is history that only the rows know. */
async function firstDecisionAtMs({ decisionLog, clock }: RebuildPorts): Promise<number> {
  const { first } = await decisionLog.bounds();
  for await (const { message } of decisionLog.readRange(first, first)) return message.decidedAtMs;
  return clock.now();
}

const ZERO_CHECKPOINTS: readonly CheckpointRow[] = Array.from(
  { length: SLICE_COUNT },
  (_, slice) => ({
    slice,
    epoch: 0,
    eventsSequence: 0,
    decisionsSequence: 0,
    lastMessageId: "",
  }),
);
