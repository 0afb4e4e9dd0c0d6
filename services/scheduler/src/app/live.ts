import { setImmediate as letOthersRun } from "node:timers/promises";
import type { Decision } from "@lacewing/contracts/gen/lacewing/decisions/v1/decisions.ts";
import type { ReaderHint } from "@lacewing/contracts/hints.ts";
import { HOST_SLICE } from "@lacewing/contracts/slices.ts";
import type { Answer } from "../core/answer.ts";
import { decide } from "../core/decide.ts";
import { noteBlockedReader } from "../core/hints.ts";
import type { State } from "../core/state.ts";
import { decideLostHosts, listenAgain, suspectLater, tick, wakePaced } from "../core/tick.ts";
import { Dispatcher } from "./dispatcher.ts";
import type { Folder } from "./folder.ts";
import {
  FLUSH_FACTS_MAX,
  FLUSH_INTERVALS_MAX,
  FOLDED_PER_TURN_MAX,
  HINTS_PER_TICK_MAX,
  LATE_TICK_MS,
  PACE_MS,
  TICK_MS,
} from "./limits.ts";
import type { Projector } from "./projector.ts";
import { askEverybody, type ReplayResult } from "./recovery.ts";
import { type RetryTools, untilAborted } from "./retry.ts";
import type { ScheduleSpans } from "./schedule-spans.ts";
import type { SessionPorts } from "./session.ts";
import { epochOf, type SliceLog } from "./slice-log.ts";

export interface LiveParts {
  readonly state: State;
  readonly folder: Folder;
  readonly spans: ScheduleSpans;
  readonly replayed: ReplayResult;
  readonly ports: SessionPorts;
  readonly tools: RetryTools;
  readonly sliceLogs: readonly SliceLog[];
  readonly epochs: ReadonlyMap<number, number>;
  readonly projector: Projector;
  readonly flushIntervalMs: number;
  readonly signal: AbortSignal;
  readonly onVoid: () => void;
  readonly onError: (error: unknown) => void;
}

/**
 * The live part of a session. One loop folds events; each slice with something to decide has a turn as soon as its last append is
 * acknowledged, so one append is under way per slice and carries everything decided since the last. A turn's answers leave when
 * its append is acknowledged.
 */
export class Live {
  readonly state: State;
  readonly spans: ScheduleSpans;
  readonly #parts: LiveParts;
  readonly #dispatcher: Dispatcher;
  #decisionsSequence: number;
  #listeningSinceMs: number;
  #isBrokerAway = false;
  #isTurnDue = false;
  /** Hosts are counted through once per tick, not once per turn. */
  #isLossCheckDue = false;
  #isPacing = false;
  /** Since the last tick. */
  #hintCount = 0;
  /** Set while a capture waits for appends to end: no slice begins another. */
  #quiet: PromiseWithResolvers<void> | undefined;
  #flushing: Promise<void> = Promise.resolve();

  constructor(parts: LiveParts) {
    this.#parts = parts;
    this.state = parts.state;
    this.spans = parts.spans;
    this.#dispatcher = new Dispatcher(parts.state, parts.ports, parts.spans);
    this.#decisionsSequence = Math.max(
      parts.replayed.decisionsSequence,
      ...parts.sliceLogs.map((log) => log.lastSequence),
    );
    this.#listeningSinceMs = parts.ports.time.now();
    listenAgain(this.state, this.#listeningSinceMs);
    this.#turnSoon();
  }

  async readLoop(): Promise<void> {
    const { folder, ports, signal, replayed } = this.#parts;
    let foldedCount = 0;
    while (!signal.aborted) {
      const stored = await replayed.cursor.peek();
      replayed.cursor.take();
      if (stored.streamSequence <= folder.sequence) continue;
      if (stored.streamSequence > folder.sequence + 1 && folder.sequence > 0) {
        ports.log.warn("events missing", { from: folder.sequence + 1, to: stored.streamSequence });
        askEverybody(this.state, "events are missing");
      }
      folder.fold(stored, ports.time.now());
      if (++foldedCount % FOLDED_PER_TURN_MAX !== 0) this.#turnSoon();
      else {
        this.#turn();
        // A backlog must not keep acknowledgements and answers waiting.
        await letOthersRun();
      }
    }
  }

  /** What holds a reader up is to come soon. */
  noteBlockedReader(hint: ReaderHint): void {
    if (++this.#hintCount > HINTS_PER_TICK_MAX) return;
    noteBlockedReader(this.state, { ...hint, atMs: this.#parts.ports.time.now() });
    this.#turnSoon();
  }

  async tickLoop(): Promise<void> {
    const { ports, signal } = this.#parts;
    while (!signal.aborted) {
      const sleptAtMs = ports.time.now();
      await ports.clock.sleep(TICK_MS, signal);
      // Who could not be heard in a pause of this process is not silent.
      if (ports.time.now() - sleptAtMs > LATE_TICK_MS) {
        this.#listeningSinceMs = ports.time.now();
        suspectLater(this.state, this.#listeningSinceMs);
      }
      this.#hintCount = 0;
      const isConnected = ports.link.isConnected();
      if (!isConnected) this.#isBrokerAway = true;
      else if (this.#isBrokerAway) this.#brokerIsBack();
      if (isConnected) {
        tick(this.state, ports.time.now());
        this.#isLossCheckDue = true;
        this.#turnSoon();
      }
    }
  }

  async flushLoop(): Promise<void> {
    const { ports, signal, flushIntervalMs, folder } = this.#parts;
    const pollMs = Math.max(1, Math.floor(flushIntervalMs / 4));
    let waitedMs = 0;
    let quietMs = 0;
    let seenSequence = folder.sequence;
    while (!signal.aborted) {
      await ports.clock.sleep(pollMs, signal);
      waitedMs += pollMs;
      // While events stream in, their answers come first: larger batches also cost less.
      quietMs = folder.sequence === seenSequence ? quietMs + pollMs : 0;
      seenSequence = folder.sequence;
      const isTime =
        quietMs >= flushIntervalMs || waitedMs >= flushIntervalMs * FLUSH_INTERVALS_MAX;
      if (!isTime && folder.factCount < FLUSH_FACTS_MAX) continue;
      waitedMs = 0;
      quietMs = 0;
      await this.flushOnce();
    }
  }

  /** Projects what changed. Waits for a flush that is under way. */
  async flushOnce(): Promise<void> {
    const before = this.#flushing;
    const flush = (async () => {
      await before;
      await this.#flush();
    })();
    this.#flushing = flush.catch(() => {});
    await flush;
  }

  async #flush(): Promise<void> {
    const { projector, folder, tools, signal, epochs } = this.#parts;
    if (!projector.isDue(this.#decisionsSequence)) return;
    await this.#whenQuiet();
    const batch = projector.capture({ epochs, decisionsSequence: this.#decisionsSequence });
    folder.factCount = 0;
    this.#resume();
    if ((await projector.write(batch, tools, signal)) === "fenced") {
      tools.log.warn("projection fenced");
      this.#parts.onVoid();
      return;
    }
    this.#dispatcher.sendReceipts(epochOf(epochs, HOST_SLICE), batch.downloads);
  }

  #turnSoon(): void {
    if (this.#isTurnDue) return;
    this.#isTurnDue = true;
    setImmediate(() => {
      this.#isTurnDue = false;
      try {
        this.#turn();
      } catch (error) {
        this.#parts.onError(error);
      }
    });
  }

  /** Lets every slice decide that has something to decide and no append under way. */
  #turn(): void {
    if (this.#quiet !== undefined || this.#parts.signal.aborted) return;
    const { sliceLogs } = this.#parts;
    for (const log of sliceLogs) if (!log.isBusy) this.#turnOf(log);
    // A turn may free something for a task of a slice that had its turn already; a busy slice has one when its append is done.
    const { dirtyTaskIds } = this.state.work;
    if (sliceLogs.some(({ slice, isBusy }) => !isBusy && dirtyTaskIds[slice]?.size !== 0)) {
      this.#turnSoon();
    }
    if (!this.#isPacing && this.state.work.pacedTasks.size > 0) {
      this.#isPacing = true;
      this.#paceLoop().catch((error: unknown) => {
        // Its sleep ends when the session does.
        if (!this.#parts.signal.aborted) this.#parts.onError(error);
      });
    }
  }

  /** Goes on as long as parents wait for their own uploads to end. */
  async #paceLoop(): Promise<void> {
    const { ports, signal } = this.#parts;
    while (this.state.work.pacedTasks.size > 0) {
      await ports.clock.sleep(PACE_MS, signal);
      if (wakePaced(this.state, ports.time.now())) this.#turnSoon();
    }
    this.#isPacing = false;
  }

  #turnOf(log: SliceLog): void {
    const { slice, epoch } = log;
    const { ports, folder } = this.#parts;
    // As the log has it: what is projected of a decision is the same whether it was made or replayed.
    const nowMs = Math.round(ports.time.now());
    const context = { slice, epoch, nowMs, random: ports.random };
    const lost: readonly Decision[] =
      slice === HOST_SLICE && this.#isLossCheckDue
        ? decideLostHosts(this.state, { ...context, listeningSinceMs: this.#listeningSinceMs })
        : [];
    if (slice === HOST_SLICE) this.#isLossCheckDue = false;
    const isIdle =
      this.state.work.dirtyTaskIds[slice]?.size === 0 &&
      this.state.work.outbox[slice]?.length === 0;
    if (isIdle && lost.length === 0) return;
    const outcome = decide(this.state, context);
    const decisions = [...lost, ...outcome.decisions];
    if (decisions.length === 0) {
      this.#dispatcher.send(slice, epoch, outcome.answers);
      return;
    }
    this.#append(log, decisions, { nowMs, eventsSequence: folder.sequence }, outcome.answers).catch(
      (error: unknown) => {
        if (!this.#parts.signal.aborted) this.#parts.onError(error);
      },
    );
  }

  async #append(
    log: SliceLog,
    decisions: readonly Decision[],
    { nowMs, eventsSequence }: { readonly nowMs: number; readonly eventsSequence: number },
    answers: readonly Answer[],
  ): Promise<void> {
    const { ports, signal } = this.#parts;
    const result = await log.append(decisions, eventsSequence, nowMs, signal);
    if (result === "fenced") {
      ports.log.warn("slice fenced", { slice: log.slice, epoch: log.epoch });
      this.#parts.onVoid();
      return;
    }
    this.#decisionsSequence = Math.max(this.#decisionsSequence, log.lastSequence);
    this.#dispatcher.send(log.slice, log.epoch, answers);
    if (this.#quiet !== undefined && !this.#isAppending()) this.#quiet.resolve();
    this.#turnSoon();
  }

  #isAppending(): boolean {
    return this.#parts.sliceLogs.some((log) => log.isBusy);
  }

  /** Waits until everything decided is in the log, letting nothing more be decided. */
  async #whenQuiet(): Promise<void> {
    this.#quiet = Promise.withResolvers<void>();
    if (!this.#isAppending()) this.#quiet.resolve();
    await untilAborted(this.#quiet.promise, this.#parts.signal);
  }

  #resume(): void {
    this.#quiet = undefined;
    this.#turnSoon();
  }

  #brokerIsBack(): void {
    this.#isBrokerAway = false;
    this.#listeningSinceMs = this.#parts.ports.time.now();
    listenAgain(this.state, this.#listeningSinceMs);
  }
}
