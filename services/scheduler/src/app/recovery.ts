import type { Log } from "@lacewing/observability/log.ts";
import { setImmediate as letOthersRun } from "node:timers/promises";
import { evolveDecision } from "../core/evolve-decision.ts";
import { InvariantViolation } from "../core/invariant.ts";
import { askForFullAnnounce, contain } from "../core/ledger.ts";
import type { State } from "../core/state.ts";
import { EventCursor } from "./event-cursor.ts";
import type { Folder } from "./folder.ts";
import { REPLAY_WINDOW_MAX, REPLAYED_PER_TURN_MAX } from "./limits.ts";
import type { CheckpointRow, DecisionLog, EventLog, StoredDecisions } from "./ports.ts";
import { retrying, type RetryTools } from "./retry.ts";

export interface ReplayResult {
  /** Stands behind the last event that was in the log when the replay began. */
  readonly cursor: EventCursor;
  /** The newest decision message that the state includes. */
  readonly decisionsSequence: number;
  /** Facts are missing between the projection and the logs: hosts have to tell everything again. */
  readonly hasGap: boolean;
}

export interface ReplayPorts {
  readonly eventLog: EventLog;
  readonly decisionLog: DecisionLog;
  /** The scheduler's own: what a broker whose clock is ahead has stored counts as heard just now. */
  readonly time: { now(): number };
}

/**
 * Brings a state from its checkpoint to the end of both logs: events in their order, and each decision right after the event
 * that the scheduler had folded when it made it. Applies decisions, never makes any.
 */
export class Replay {
  readonly #folder: Folder;
  readonly #ports: ReplayPorts;
  readonly #tools: RetryTools;
  readonly #log: Log;
  readonly #onProgress: () => Promise<void>;
  #foldedCount = 0;

  /** @param onProgress called now and then, with all that is folded so far in the state. */
  constructor(
    folder: Folder,
    ports: ReplayPorts,
    tools: RetryTools,
    onProgress: () => Promise<void> = async () => {},
  ) {
    this.#onProgress = onProgress;
    this.#folder = folder;
    this.#ports = ports;
    this.#tools = tools;
    this.#log = tools.log;
  }

  /** @param lastDecision of the decision log before this session wrote to it. */
  async run(
    checkpoints: readonly CheckpointRow[],
    lastDecision: number,
    signal: AbortSignal,
  ): Promise<ReplayResult> {
    const { eventLog, decisionLog } = this.#ports;
    const events = await retrying("read bounds of events", this.#tools, signal, () =>
      eventLog.bounds(),
    );
    const decisions = await retrying("read bounds of decisions", this.#tools, signal, () =>
      decisionLog.bounds(),
    );
    const start = Math.min(...checkpoints.map((row) => row.eventsSequence));
    const decisionsFrom = Math.min(...checkpoints.map((row) => row.decisionsSequence)) + 1;
    const cursor = await this.#open(events, start, checkpoints[0]?.lastMessageId ?? "", signal);
    const isTrimmed = decisions.first > decisionsFrom && decisions.last >= decisionsFrom;
    if (isTrimmed || lastDecision < decisionsFrom - 1) {
      this.#log.warn("decision log gap", { decisionsFrom, lastDecision, ...decisions });
      cursor.hasGap = true;
    }
    const included = new Map(checkpoints.map((row) => [row.slice, row.decisionsSequence]));
    for await (const stored of this.#decisions(decisionsFrom, decisions.last)) {
      const isIncluded = stored.streamSequence <= (included.get(stored.message.slice) ?? 0);
      // After a lost tail the sequences of the log begin again: then a projected one may be reused.
      if (isIncluded && !cursor.hasGap) continue;
      await this.#foldUpTo(cursor, Math.min(stored.message.eventsSequence, events.last));
      this.#apply(stored, cursor);
    }
    await this.#foldUpTo(cursor, events.last);
    this.#forgetFuture();
    const { contained } = this.#folder.state;
    this.#log.info("state recovered", {
      eventsSequence: this.#folder.sequence,
      decisionsSequence: decisions.last,
      hasGap: cursor.hasGap,
      contained: Object.fromEntries(contained),
    });
    return { cursor, decisionsSequence: decisions.last, hasGap: cursor.hasGap };
  }

  /** Opens the event log behind the checkpoint, or where it begins when the checkpoint is not in it. */
  async #open(
    bounds: { readonly first: number; readonly last: number },
    start: number,
    lastMessageId: string,
    signal: AbortSignal,
  ): Promise<EventCursor> {
    const { eventLog } = this.#ports;
    if (start > 0 && start >= bounds.first && start <= bounds.last) {
      const cursor = new EventCursor(eventLog, start, signal);
      const last = await cursor.peek();
      if (last.streamSequence > start || lastMessageId === "" || last.messageId === lastMessageId) {
        if (last.streamSequence === start) cursor.take();
        this.#folder.sequence = start;
        this.#folder.lastMessageId = lastMessageId;
        return cursor;
      }
      await cursor.close();
    } else if (start + 1 >= bounds.first && start === bounds.last) {
      this.#folder.sequence = start;
      this.#folder.lastMessageId = lastMessageId;
      return new EventCursor(eventLog, start + 1, signal);
    } else if (start + 1 === bounds.first) {
      this.#folder.sequence = start;
      return new EventCursor(eventLog, start + 1, signal);
    }
    this.#log.warn("event log gap", { checkpoint: start, ...bounds });
    const cursor = new EventCursor(eventLog, bounds.first, signal);
    cursor.hasGap = true;
    this.#folder.sequence = bounds.first - 1;
    return cursor;
  }

  async #foldUpTo(cursor: EventCursor, sequence: number): Promise<void> {
    while (this.#folder.sequence < sequence) {
      const next = await cursor.peek();
      if (next.streamSequence > sequence) return;
      cursor.take();
      this.#folder.fold(next, Math.min(next.storedAtMs, this.#ports.time.now()));
      if (++this.#foldedCount % REPLAYED_PER_TURN_MAX === 0) await this.#pause();
    }
  }

  async #pause(): Promise<void> {
    await letOthersRun();
    await this.#onProgress();
  }

  /** A former scheduler's clock that was ahead would keep its leases alive until ours has caught up. */
  #forgetFuture(): void {
    const nowMs = this.#ports.time.now();
    const { state } = this.#folder;
    for (const lease of state.leases.values()) {
      if (lease.progressAtMs <= nowMs) continue;
      lease.progressAtMs = nowMs;
      state.leases.add(lease);
    }
  }

  #apply(stored: StoredDecisions, cursor: EventCursor): void {
    const { state } = this.#folder;
    const { slice, epoch, decidedAtMs } = stored.message;
    const decided = { slice, epoch, decidedAtMs };
    for (const decision of stored.message.decisions) {
      try {
        evolveDecision(state, decision, decided);
      } catch (error) {
        if (!(error instanceof InvariantViolation)) throw error;
        // Ending the process would only bring us here again: go on without it, and have the hosts tell everything.
        contain(state, "decision misfit on replay");
        const level = cursor.hasGap ? "warn" : "error";
        this.#log[level]("decision misfit on replay", {
          streamSequence: stored.streamSequence,
          reason: error.message,
        });
        cursor.hasGap = true;
      }
    }
  }

  /** Decision messages in the order in which they were made: an append that was repeated may stand too late in the log. */
  async *#decisions(from: number, to: number): AsyncGenerator<StoredDecisions> {
    if (to < from) return;
    const window: StoredDecisions[] = [];
    for await (const stored of this.#ports.decisionLog.readRange(from, to)) {
      let at = window.length;
      while (at > 0 && isBefore(stored, window[at - 1])) at--;
      window.splice(at, 0, stored);
      const oldest = window.length > REPLAY_WINDOW_MAX ? window.shift() : undefined;
      if (oldest !== undefined) yield oldest;
    }
    yield* window;
  }
}

/** Has every host that we know tell everything it holds. */
export function askEverybody(state: State, reason: string): void {
  for (const host of state.hosts.values()) {
    if (host.state === "alive") askForFullAnnounce(state, host.hostId, reason);
  }
}

function isBefore(a: StoredDecisions, b: StoredDecisions | undefined): boolean {
  return b !== undefined && a.message.eventsSequence < b.message.eventsSequence;
}
