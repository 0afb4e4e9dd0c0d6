import type {
  Assignment,
  AssignmentMessage,
  DropTask,
  Lease,
  LeaseEnd,
  Pending,
  PieceDigests,
  Recheck,
} from "@lacewing/contracts/gen/lacewing/assignments/v1/assignments.ts";
import type {
  DownloadFinished,
  Event,
  LeaseEnded,
  PiecesFailed,
  TaskRequested,
} from "@lacewing/contracts/gen/lacewing/events/v1/events.ts";
import type { TaskId } from "@lacewing/contracts/ids.ts";
import { parseTaskId } from "@lacewing/contracts/ids.ts";
import { ANNOUNCE_INTERVAL_MS } from "@lacewing/contracts/limits.ts";
import { HOST_SLICE, isSlice, sliceOf } from "@lacewing/contracts/slices.ts";
import type { Log } from "@lacewing/observability/log.ts";
import type { Clock } from "@lacewing/runtime/clock.ts";
import { type HostFacts, announcement, availability, description } from "./announce.ts";
import type { ControlPlane, FactJournal } from "./control-plane.ts";
import type { EventOutbox, Urgency } from "./event-outbox.ts";
import type { EventTarget } from "./event-packing.ts";
import { FactResends } from "./fact-resends.ts";
import type { PieceStore, StoredTask } from "./ports.ts";

/** What the scheduler's word is about, on this host. */
export interface AssignmentTarget {
  lease(lease: Lease): void;
  pending(pending: Pending): void;
  leaseEnd(end: LeaseEnd): void;
  recheck(recheck: Recheck): void;
  dropTask(drop: DropTask): void;
  pieceDigests(named: PieceDigests): void;
  liveLeaseIds(): readonly string[];
  liveRequests(): Iterable<{ readonly request: TaskRequested; readonly traceparent: string }>;
  /** Breaks everything off. Resolves when it is accounted for. */
  stop(): Promise<void>;
}

/** After a silence nobody waits for the scheduler for this long; what it says later is still used. */
const SILENCE_REMEMBERED_MS = 10_000;
/** Nobody waits for news of a content up to this length: while many come in, it is told less often. */
const UNHURRIED_BYTES_MAX = 128 * 1024;
/** Facts without a receipt are looked at this often. */
const FACT_RESEND_MS = 10_000;

/** What changed on a task since its last `pieces.available`. */
interface DirtyTask {
  /** Everything is to be said: what it is and every digest. */
  isFull: boolean;
  /** Pieces read from the origin: their digests are news. */
  readonly originPieces: Set<number>;
  readonly leasesEnded: LeaseEnded[];
}

/** This host's end of the conversation with the scheduler: events out, assignments in, and who has been heard when. */
export class SchedulerLink {
  readonly #controlPlane: ControlPlane;
  readonly #outbox: EventOutbox;
  readonly #store: PieceStore;
  readonly #journal: FactJournal;
  readonly #facts: HostFacts;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #resends: FactResends;
  /** By slice: each is told on a subject of its own. */
  readonly #dirty = new Map<EventTarget, Map<TaskId, DirtyTask>>();
  /** Highest epoch heard of, by slice: lower ones come from a paused old owner. */
  readonly #epochs = new Map<number, number>();
  /** Held copies that nobody is told of; see {@link withdraw}. */
  readonly #withdrawn = new WeakSet<StoredTask>();
  #target: AssignmentTarget | undefined;
  #silentUntilMs = 0;
  #heardCount = 0;
  #announceTimer: NodeJS.Timeout | undefined;
  #resendTimer: NodeJS.Timeout | undefined;

  constructor(options: {
    readonly controlPlane: ControlPlane;
    readonly outbox: EventOutbox;
    readonly store: PieceStore;
    readonly journal: FactJournal;
    readonly facts: HostFacts;
    readonly clock: Clock;
    readonly log: Log;
  }) {
    this.#controlPlane = options.controlPlane;
    this.#outbox = options.outbox;
    this.#store = options.store;
    this.#journal = options.journal;
    this.#facts = options.facts;
    this.#clock = options.clock;
    this.#resends = new FactResends(options.clock);
    this.#log = options.log;
    this.#outbox.beforePublish = (target) => this.#collectAvailability(target);
  }

  start(target: AssignmentTarget): void {
    this.#target = target;
    this.#controlPlane.onAssignments((message) => this.#receive(message));
    this.#controlPlane.onConnected(() => {
      this.#outbox.resume();
      this.announce(true);
    });
    this.#announceTimer = setInterval(() => this.announce(false), ANNOUNCE_INTERVAL_MS);
    this.#resendTimer = setInterval(() => this.#resendFacts(), FACT_RESEND_MS);
    if (this.#controlPlane.isConnected) this.announce(true);
  }

  async stop(deadlineMs: number): Promise<void> {
    clearInterval(this.#announceTimer);
    clearInterval(this.#resendTimer);
    await this.#target?.stop();
    this.#outbox.add("host", { traceparent: "", kind: { $case: "hostLeft", value: {} } });
    await this.#outbox.close(deadlineMs);
  }

  /** Whether an answer can be expected at all: connected, and not silent a moment ago. */
  get isResponsive(): boolean {
    return this.#controlPlane.isConnected && this.#clock.monotonic() >= this.#silentUntilMs;
  }

  /** Messages of the scheduler so far: one that says something is not away, whatever it still owes. */
  get heardCount(): number {
    return this.#heardCount;
  }

  /** An answer stayed out although it was asked for again. */
  concludeSilence(): void {
    this.#silentUntilMs = this.#clock.monotonic() + SILENCE_REMEMBERED_MS;
  }

  /** Asks for content; requests of one call leave together. */
  request(
    asked: readonly { readonly request: TaskRequested; readonly traceparent: string }[],
  ): void {
    this.#outbox.addTogether(
      asked.map(({ request, traceparent }) => [
        targetOf(request.taskId),
        { traceparent, kind: { $case: "taskRequested", value: request } },
      ]),
    );
  }

  endRequest(taskId: TaskId, requestId: string): void {
    const kind = { $case: "requestEnded", value: { taskId, requestId } } as const;
    this.#add(taskId, { traceparent: "", kind }, this.#paceOf(taskId));
  }

  /** `last` is published with it, in order: a request whose wanted range is known only now. */
  describe(
    task: StoredTask,
    traceparent: string,
    originRanges: boolean,
    last?: TaskRequested,
  ): void {
    const { taskId, lengthBytes } = task.description;
    const pace = paceFor(lengthBytes);
    if (last !== undefined) {
      this.#add(taskId, { traceparent, kind: { $case: "taskRequested", value: last } }, pace);
    }
    this.#add(taskId, { ...description(task, originRanges), traceparent }, pace);
  }

  pieceHeld(taskId: TaskId, pieceIndex: number, isFromOrigin: boolean): void {
    const dirty = this.#dirtyOf(taskId);
    if (isFromOrigin) dirty.originPieces.add(pieceIndex);
  }

  /** Pieces that were found on the disk at the start have been hashed: told with everything that is known of the task. */
  offered(taskId: TaskId): void {
    this.#dirtyOf(taskId).isFull = true;
  }

  leaseEnded(taskId: TaskId, ended: LeaseEnded): void {
    this.#dirtyOf(taskId).leasesEnded.push(ended);
  }

  piecesFailed(failed: PiecesFailed, traceparent: string): void {
    this.#add(
      failed.taskId,
      { traceparent, kind: { $case: "piecesFailed", value: failed } },
      "now",
    );
  }

  /** The origin of a task asks to be left alone: told at once, and apart from whatever lease brought it to light. */
  originRests(taskId: TaskId, detail: string, retryAfterMs: number): void {
    const none = { leaseId: "", parentHostId: "", pieceIndexes: [], bytes: 0, durationMs: 0 };
    this.piecesFailed({ taskId, ...none, reason: "origin_refused", detail, retryAfterMs }, "");
  }

  /** A client waits for a piece that no lease brings: it is to come before rarer ones. */
  readerBlocked(taskId: TaskId, pieceIndex: number): void {
    this.#controlPlane.readerBlocked(taskId, pieceIndex);
  }

  taskVerified(task: StoredTask, digest: string): void {
    const { taskId, lengthBytes } = task.description;
    const value = { taskId, incarnation: task.incarnation, digest };
    const kind = { $case: "taskVerified", value } as const;
    this.#add(taskId, { traceparent: "", kind }, paceFor(lengthBytes));
  }

  taskPoisoned(taskId: TaskId, expectedDigest: string, actualDigest: string): void {
    const value = { taskId, expectedDigest, actualDigest, reason: "anchor_mismatch" };
    this.#add(taskId, { traceparent: "", kind: { $case: "taskPoisoned", value } }, "now");
  }

  /**
   * The cluster has given the content up and this host has not: the copy is for its own clients, until it is dropped or offered
   * under the new incarnation that a start brings. What is made of the task after it is told of like any other.
   */
  withdraw(copy: StoredTask): void {
    const { taskId } = copy.description;
    this.#withdrawn.add(copy);
    this.#dirty.get(sliceOf(taskId))?.delete(taskId);
  }

  /** A copy that was withdrawn is told of again, with all that is known of it. */
  offerAgain(copy: StoredTask): void {
    this.#withdrawn.delete(copy);
    this.#dirtyOf(copy.description.taskId, "soon").isFull = true;
  }

  /** The host gave pieces up; what it still holds follows as availability of the new incarnation. */
  peerDropped(taskId: TaskId, incarnation: number, reason: string): void {
    const value = { taskId, incarnation, reason };
    const task = this.#store.get(taskId);
    if (task !== undefined) this.#withdrawn.delete(task);
    if (task === undefined || task.offered.count === 0)
      this.#dirty.get(sliceOf(taskId))?.delete(taskId);
    else this.#dirtyOf(taskId, "soon").isFull = true;
    // What it still holds is collected when this is published, and follows in the same message.
    this.#add(taskId, { traceparent: "", kind: { $case: "peerDropped", value } }, "now");
  }

  downloadBegan(fact: DownloadFinished): void {
    this.#journal.begin(fact);
  }

  downloadEnded(fact: DownloadFinished, traceparent: string): void {
    this.#journal.end(fact);
    this.#addFact(fact, traceparent);
  }

  /** Says that this host is alive; in full, also everything it holds and every request that waits here. */
  announce(isFull: boolean): void {
    if (!this.#controlPlane.isConnected || this.#target === undefined) return;
    const requests = [...this.#target.liveRequests()];
    const announced = announcement(this.#facts, this.#store.usage(), this.#told(), {
      liveLeaseIds: this.#target.liveLeaseIds(),
      liveRequestIds: requests.map(({ request }) => request.requestId),
      isFull,
    });
    if (isFull) this.#outbox.repaired();
    this.#outbox.add("host", announced, "now");
    if (!isFull) return;
    this.request(requests);
    // A host may hold more tasks than the outbox takes at once: they follow as room allows.
    for (const task of this.#told())
      if (task.offered.count > 0) this.#dirtyOf(task.description.taskId, "soon").isFull = true;
    this.#resendFacts();
  }

  /** What others may know of. */
  *#told(): Generator<StoredTask> {
    for (const task of this.#store.list()) if (!this.#withdrawn.has(task)) yield task;
  }

  #receive(message: AssignmentMessage): void {
    if (!isSlice(message.slice)) return;
    const known = this.#epochs.get(message.slice) ?? 0;
    if (message.epoch < known) {
      this.#log.warn("assignment of an old epoch refused", {
        slice: message.slice,
        epoch: message.epoch,
        known,
      });
      return;
    }
    this.#epochs.set(message.slice, message.epoch);
    this.#silentUntilMs = 0;
    this.#heardCount++;
    for (const assignment of message.assignments) this.#dispatch(assignment);
  }

  #dispatch(assignment: Assignment): void {
    const { kind } = assignment;
    switch (kind?.$case) {
      case "lease":
        return this.#target?.lease(kind.value);
      case "pending":
        return this.#target?.pending(kind.value);
      case "leaseEnd":
        return this.#target?.leaseEnd(kind.value);
      case "recheck":
        return this.#target?.recheck(kind.value);
      case "dropTask":
        return this.#target?.dropTask(kind.value);
      case "pieceDigests":
        return this.#target?.pieceDigests(kind.value);
      case "receipts":
        this.#resends.receipted(kind.value.downloadIds);
        return this.#journal.receipted(kind.value.downloadIds);
      case "announceFull":
        this.#log.info("full announce asked for", { reason: kind.value.reason });
        return this.announce(true);
      case undefined:
        return this.#log.debug("assignment of an unknown kind ignored");
      default:
        return kind satisfies never;
    }
  }

  #add(taskId: string, event: Event, urgency: Urgency): void {
    this.#outbox.add(targetOf(taskId), event, urgency);
  }

  #addFact(fact: DownloadFinished, traceparent: string): void {
    this.#resends.sent(fact.downloadId);
    const kind = { $case: "downloadFinished", value: fact } as const;
    this.#add(fact.taskId, { traceparent, kind }, paceFor(fact.contentLengthBytes));
  }

  #paceOf(taskId: TaskId): Urgency {
    const task = this.#store.get(taskId);
    return task === undefined ? "soon" : paceFor(task.description.lengthBytes);
  }

  #resendFacts(): void {
    if (!this.#controlPlane.isConnected) return;
    for (const fact of this.#resends.due(this.#journal.pending())) this.#addFact(fact, "");
  }

  #dirtyOf(taskId: TaskId, urgency = this.#paceOf(taskId)): DirtyTask {
    const slice = sliceOf(taskId);
    let tasks = this.#dirty.get(slice);
    if (tasks === undefined) {
      tasks = new Map();
      this.#dirty.set(slice, tasks);
    }
    let dirty = tasks.get(taskId);
    if (dirty === undefined) {
      dirty = { isFull: false, originPieces: new Set(), leasesEnded: [] };
      tasks.set(taskId, dirty);
    }
    this.#outbox.expect(slice, urgency);
    return dirty;
  }

  /** @returns whether there was room for everything. */
  #collectAvailability(slice: EventTarget): boolean {
    const tasks = this.#dirty.get(slice);
    for (const [taskId, dirty] of tasks ?? []) {
      if (!this.#outbox.hasRoom) return false;
      tasks?.delete(taskId);
      const task = this.#store.get(taskId);
      const isTold = task !== undefined && !this.#withdrawn.has(task);
      if (isTold) this.#addAvailability(task, dirty);
    }
    return true;
  }

  #addAvailability(task: StoredTask, { isFull, originPieces, leasesEnded }: DirtyTask): void {
    const { taskId, anchor, lengthBytes } = task.description;
    const pace = paceFor(lengthBytes);
    if (isFull) this.#add(taskId, description(task), pace);
    const pieces = isFull ? task.offered : originPieces;
    for (const event of availability(task, pieces, leasesEnded)) this.#add(taskId, event, pace);
    if (isFull && task.isVerified) this.taskVerified(task, anchor ?? "");
  }
}

function targetOf(taskId: string): EventTarget {
  const parsed = parseTaskId(taskId);
  return parsed === undefined ? HOST_SLICE : sliceOf(parsed);
}

function paceFor(lengthBytes: number): Urgency {
  return lengthBytes <= UNHURRIED_BYTES_MAX ? "later" : "soon";
}
