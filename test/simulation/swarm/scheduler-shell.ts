import type { Decision } from "@lacewing/contracts/gen/lacewing/decisions/v1/decisions.ts";
import { indexesOf } from "@lacewing/contracts/pieces.ts";
import { HOST_SLICE, SLICE_COUNT } from "@lacewing/contracts/slices.ts";
import type { Answer } from "@lacewing/scheduler/core/answer.ts";
import { PACE_MS, TICK_MS } from "@lacewing/scheduler/app/limits.ts";
import { decide } from "@lacewing/scheduler/core/decide.ts";
import { evolveDecision } from "@lacewing/scheduler/core/evolve-decision.ts";
import { evolveEvent, evolveMessage } from "@lacewing/scheduler/core/evolve-event.ts";
import { type BlockedReader, noteBlockedReader } from "@lacewing/scheduler/core/hints.ts";
import { newState, type State } from "@lacewing/scheduler/core/state.ts";
import { decideLostHosts, listenAgain, tick, wakePaced } from "@lacewing/scheduler/core/tick.ts";
import { takeTouched } from "@lacewing/scheduler/core/touched.ts";
import type { EventQueue } from "./event-queue.ts";
import type { AssignmentBatch, HostMessage, SimAssignment } from "./messages.ts";

/** How often what changed is projected. */
const PROJECT_MS = 200;

/** What the two logs hold, merged, and where a new owner began to listen. */
export type LogEntry =
  | { readonly kind: "message"; readonly message: HostMessage; readonly atMs: number }
  | {
      readonly kind: "decisions";
      readonly slice: number;
      readonly epoch: number;
      readonly decisions: readonly Decision[];
      readonly atMs: number;
      /** Messages folded before these were decided: a replay applies them right after the last of these. */
      readonly eventsSequence: number;
    }
  | { readonly kind: "listening"; readonly atMs: number; readonly eventsSequence: number };

type DecisionEntry = Exclude<LogEntry, { readonly kind: "message" }>;

export interface ShellCosts {
  cpuMs: number;
  turnCount: number;
  messageCount: number;
  eventCount: number;
  grantCount: number;
  decisionCount: number;
}

/**
 * The role of the real shell around the real core: folds what hosts say in the order of the log, gives every slice its turn when
 * its last append is acknowledged, sends the answers after the append. It can be killed and comes back from its logs.
 */
export class SchedulerShell {
  state: State = newState();
  readonly costs: ShellCosts = {
    cpuMs: 0,
    turnCount: 0,
    messageCount: 0,
    eventCount: 0,
    grantCount: 0,
    decisionCount: 0,
  };
  /** Empty unless it is kept. */
  readonly messageLog: { readonly message: HostMessage; readonly atMs: number }[] = [];
  readonly decisionLog: DecisionEntry[] = [];
  epoch = 1;
  isDown = false;
  /** Called after each turn: what must hold always is looked at here. */
  onTurn: (state: State, decisions: readonly Decision[]) => void = () => {};
  /** The rule under test; another one in its place shows that the checks see what is wrong with it. */
  decide: typeof decide = decide;
  readonly #queue: EventQueue;
  readonly #options: {
    readonly appendMs: number;
    readonly isLogged: boolean;
    readonly random: () => number;
    readonly send: (hostId: string, batch: AssignmentBatch) => void;
  };
  #foldedCount = 0;
  #listeningSinceMs = 0;
  #isTurnDue = false;
  #isLossCheckDue = false;
  #isPacing = false;
  readonly #busySlices = new Set<number>();
  /** Not acknowledged yet: after a crash each of these is in the log, or is not. */
  readonly #appending = new Set<DecisionEntry>();
  /** Grows with each crash: what an older process still had under way is void. */
  #life = 0;

  constructor(
    queue: EventQueue,
    options: {
      readonly appendMs: number;
      readonly isLogged: boolean;
      readonly random: () => number;
      readonly send: (hostId: string, batch: AssignmentBatch) => void;
    },
  ) {
    this.#queue = queue;
    this.#options = options;
  }

  start(): void {
    this.#listeningSinceMs = this.#queue.nowMs;
    this.#tickLater(this.#life);
    this.#projectLater(this.#life);
  }

  /** The broker has stored a message; the scheduler folds it when it runs. */
  receive(message: HostMessage): void {
    const atMs = this.#queue.nowMs;
    if (this.#options.isLogged) this.messageLog.push({ message, atMs });
    if (this.isDown) return;
    const startedAtMs = performance.now();
    foldMessage(this.state, message, atMs);
    this.#foldedCount++;
    this.costs.messageCount++;
    this.costs.eventCount += message.kinds.length;
    this.costs.cpuMs += performance.now() - startedAtMs;
    this.#turnSoon();
  }

  /** A hint is in no log, and reaches only a scheduler that runs. */
  noteBlockedReader(hint: Omit<BlockedReader, "atMs">): void {
    if (this.isDown) return;
    noteBlockedReader(this.state, { ...hint, atMs: this.#queue.nowMs });
    this.#turnSoon();
  }

  /** The process ends at once. An append under way is in the log, or is not. */
  crash(downMs: number): void {
    this.isDown = true;
    this.#life++;
    this.#busySlices.clear();
    for (const entry of this.#appending) {
      if (this.#options.random() < 0.5) remove(this.decisionLog, entry);
    }
    this.#appending.clear();
    this.#queue.after(downMs, () => this.#recover());
  }

  /** Folds both logs anew. Needs the logs. */
  replayed(): State {
    const state = newState();
    for (const entry of this.mergedLog()) applyEntry(state, entry);
    return state;
  }

  /** Messages in their order, and decisions right after the last message that they knew of. */
  *mergedLog(): Generator<LogEntry> {
    let folded = 0;
    const upTo = function* (this: SchedulerShell, sequence: number): Generator<LogEntry> {
      for (; folded < sequence; folded++) {
        const stored = this.messageLog[folded];
        if (stored !== undefined) yield { kind: "message", ...stored };
      }
    }.bind(this);
    for (const entry of this.decisionLog) {
      yield* upTo(entry.eventsSequence);
      yield entry;
    }
    yield* upTo(this.messageLog.length);
  }

  #recover(): void {
    const { nowMs } = this.#queue;
    this.isDown = false;
    this.epoch++;
    const startedAtMs = performance.now();
    this.state = this.replayed();
    this.#foldedCount = this.messageLog.length;
    listenAgain(this.state, nowMs);
    this.costs.cpuMs += performance.now() - startedAtMs;
    this.decisionLog.push({ kind: "listening", atMs: nowMs, eventsSequence: this.#foldedCount });
    this.#listeningSinceMs = nowMs;
    this.#isTurnDue = false;
    this.#isPacing = false;
    this.#tickLater(this.#life);
    this.#projectLater(this.#life);
    this.#turnSoon();
  }

  #tickLater(life: number): void {
    this.#queue.after(TICK_MS, () => {
      if (life !== this.#life) return;
      const startedAtMs = performance.now();
      tick(this.state, this.#queue.nowMs);
      this.costs.cpuMs += performance.now() - startedAtMs;
      this.#isLossCheckDue = true;
      this.#turnSoon();
      this.#tickLater(life);
    });
  }

  /** While sources wait for their own uploads to end they are looked at every few milliseconds. */
  #paceLater(): void {
    if (this.#isPacing || this.state.work.pacedTasks.size === 0) return;
    this.#isPacing = true;
    const life = this.#life;
    this.#queue.after(PACE_MS, () => {
      if (life !== this.#life) return;
      this.#isPacing = false;
      const startedAtMs = performance.now();
      const isDue = wakePaced(this.state, this.#queue.nowMs);
      this.costs.cpuMs += performance.now() - startedAtMs;
      if (isDue) this.#turnSoon();
      this.#paceLater();
    });
  }

  #projectLater(life: number): void {
    this.#queue.after(PROJECT_MS, () => {
      if (life !== this.#life) return;
      takeTouched(this.state);
      this.#projectLater(life);
    });
  }

  #turnSoon(): void {
    if (this.#isTurnDue || this.isDown) return;
    this.#isTurnDue = true;
    const life = this.#life;
    this.#queue.after(0, () => {
      if (life !== this.#life) return;
      this.#isTurnDue = false;
      for (let slice = 0; slice < SLICE_COUNT; slice++) {
        if (!this.#busySlices.has(slice)) this.#turnOf(slice);
      }
      this.#paceLater();
    });
  }

  #turnOf(slice: number): void {
    const { work } = this.state;
    const isHostTurn = slice === HOST_SLICE && this.#isLossCheckDue;
    const isIdle = work.dirtyTaskIds[slice]?.size === 0 && work.outbox[slice]?.length === 0;
    if (isIdle && !isHostTurn) return;
    const startedAtMs = performance.now();
    const { epoch } = this;
    const { nowMs } = this.#queue;
    const context = { slice, epoch, nowMs, random: this.#options.random };
    const lost = isHostTurn
      ? decideLostHosts(this.state, { ...context, listeningSinceMs: this.#listeningSinceMs })
      : [];
    if (isHostTurn) this.#isLossCheckDue = false;
    const outcome = this.decide(this.state, context);
    const decisions = [...lost, ...outcome.decisions];
    this.costs.cpuMs += performance.now() - startedAtMs;
    this.costs.turnCount++;
    this.costs.decisionCount += decisions.length;
    for (const { kind } of decisions) if (kind?.$case === "leaseGranted") this.costs.grantCount++;
    this.onTurn(this.state, decisions);
    if (decisions.length === 0) this.#send(slice, epoch, outcome.answers);
    else this.#append(slice, decisions, outcome.answers);
  }

  #append(slice: number, decisions: readonly Decision[], answers: readonly Answer[]): void {
    const { epoch } = this;
    const eventsSequence = this.#foldedCount;
    const atMs = this.#queue.nowMs;
    const life = this.#life;
    const entry = { kind: "decisions" as const, slice, epoch, decisions, atMs, eventsSequence };
    if (this.#options.isLogged) this.decisionLog.push(entry);
    this.#appending.add(entry);
    this.#busySlices.add(slice);
    this.#queue.after(this.#options.appendMs, () => {
      if (life !== this.#life) return;
      this.#appending.delete(entry);
      this.#busySlices.delete(slice);
      this.#send(slice, epoch, answers);
      this.#turnSoon();
    });
  }

  /** One message for each host, as of now. */
  #send(slice: number, epoch: number, answers: readonly Answer[]): void {
    const byHost = new Map<string, SimAssignment[]>();
    for (const answer of answers) {
      const assignment = assignmentOf(this.state, answer);
      if (assignment === undefined) continue;
      const list = byHost.get(answer.hostId);
      if (list === undefined) byHost.set(answer.hostId, [assignment]);
      else list.push(assignment);
    }
    for (const [hostId, assignments] of byHost) {
      this.#options.send(hostId, { slice, epoch, assignments });
    }
  }
}

export function foldMessage(state: State, message: HostMessage, atMs: number): void {
  const { hostId, bootId, sequence } = message;
  const context = { hostId, bootId, sequence, atMs };
  evolveMessage(state, context);
  for (const kind of message.kinds) evolveEvent(state, { traceparent: "", kind }, context);
}

function remove(log: DecisionEntry[], entry: DecisionEntry): void {
  const at = log.lastIndexOf(entry);
  if (at >= 0) log.splice(at, 1);
}

function applyEntry(state: State, entry: LogEntry): void {
  if (entry.kind === "message") foldMessage(state, entry.message, entry.atMs);
  else if (entry.kind === "listening") listenAgain(state, entry.atMs);
  else {
    const { slice, epoch, atMs } = entry;
    for (const decision of entry.decisions) {
      evolveDecision(state, decision, { slice, epoch, decidedAtMs: atMs });
    }
  }
}

function isKnown(state: State, taskId: string, piece: number): boolean {
  return state.tasks.get(taskId)?.digests?.has(piece) === true;
}

function assignmentOf(state: State, answer: Answer): SimAssignment | undefined {
  switch (answer.kind) {
    case "lease": {
      const { lease } = answer;
      // It may have ended while its decision was on its way to the log.
      if (lease.outcome !== "live") return undefined;
      const { leaseId, taskId, parentHostId, isOpen, durationMs, requestId } = lease;
      const pieces = [...indexesOf(lease.pieces)];
      const lengthBytes = state.tasks.get(taskId)?.layout?.lengthBytes ?? 0;
      return {
        kind: "lease",
        leaseId,
        taskId,
        parentHostId,
        pieces,
        isOpen,
        durationMs,
        requestId,
        lengthBytes,
        isAhead: lease.isAhead,
        knownPieces: lease.isAhead
          ? pieces.filter((piece) => isKnown(state, taskId, piece))
          : pieces,
      };
    }
    case "digests":
      return { kind: "digests", taskId: answer.taskId, pieces: answer.pieceIndexes };
    case "pending":
      return { kind: "pending", taskId: answer.taskId, nextByMs: answer.nextByMs };
    case "lease_end":
      return {
        kind: "lease_end",
        taskId: answer.taskId,
        leaseId: answer.leaseId,
        reason: answer.reason,
      };
    case "drop_task":
      return { kind: "drop_task", taskId: answer.taskId };
    case "announce_full":
      return { kind: "announce_full" };
    case "recheck":
      return undefined;
    default:
      return answer satisfies never;
  }
}
