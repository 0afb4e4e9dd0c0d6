import type {
  Assignment,
  AssignmentMessage,
  DropTask,
  Lease,
  LeaseEnd,
  Pending,
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
import type { EventOutbox } from "./event-outbox.ts";
import { FactResends } from "./fact-resends.ts";
import type { PieceStore, StoredTask } from "./ports.ts";

/** What the scheduler's word is about, on this host. */
export interface AssignmentTarget {
  lease(lease: Lease): void;
  pending(pending: Pending): void;
  leaseEnd(end: LeaseEnd): void;
  recheck(recheck: Recheck): void;
  dropTask(drop: DropTask): void;
  liveLeaseIds(): readonly string[];
  liveRequests(): Iterable<{ readonly request: TaskRequested; readonly traceparent: string }>;
  /** Breaks everything off. Resolves when it is accounted for. */
  stop(): Promise<void>;
}

/** After a silence nobody waits for the scheduler for this long; what it says later is still used. */
const SILENCE_REMEMBERED_MS = 10_000;
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
  readonly #dirty = new Map<TaskId, DirtyTask>();
  /** Highest epoch heard of, by slice: lower ones come from a paused old owner. */
  readonly #epochs = new Map<number, number>();
  #target: AssignmentTarget | undefined;
  #silentUntilMs = 0;
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
    this.#outbox.beforeFlush = () => this.#collectAvailability();
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

  /** An answer stayed out although it was asked for again. */
  concludeSilence(): void {
    this.#silentUntilMs = this.#clock.monotonic() + SILENCE_REMEMBERED_MS;
  }

  /** Asks for content; requests of one call leave together. */
  request(
    asked: readonly { readonly request: TaskRequested; readonly traceparent: string }[],
  ): void {
    for (const { request, traceparent } of asked) {
      this.#add(request.taskId, { traceparent, kind: { $case: "taskRequested", value: request } });
    }
    if (asked.length > 0) this.#outbox.flush();
  }

  endRequest(taskId: TaskId, requestId: string): void {
    this.#add(taskId, {
      traceparent: "",
      kind: { $case: "requestEnded", value: { taskId, requestId } },
    });
  }

  /** `last` is published with it, in order: a request whose wanted range is known only now. */
  describe(task: StoredTask, traceparent: string, last?: TaskRequested): void {
    const taskId = task.description.taskId;
    if (last !== undefined) {
      this.#outbox.add(sliceOf(taskId), {
        traceparent,
        kind: { $case: "taskRequested", value: last },
      });
    }
    this.#add(taskId, { ...description(task), traceparent });
  }

  pieceHeld(taskId: TaskId, pieceIndex: number, isFromOrigin: boolean): void {
    const dirty = this.#dirtyOf(taskId);
    if (isFromOrigin) dirty.originPieces.add(pieceIndex);
    this.#outbox.schedule();
  }

  leaseEnded(taskId: TaskId, ended: LeaseEnded): void {
    this.#dirtyOf(taskId).leasesEnded.push(ended);
    this.#outbox.schedule();
  }

  piecesFailed(failed: PiecesFailed, traceparent: string): void {
    this.#add(failed.taskId, { traceparent, kind: { $case: "piecesFailed", value: failed } }, true);
  }

  taskVerified(task: StoredTask, digest: string): void {
    const { taskId } = task.description;
    const value = { taskId, incarnation: task.incarnation, digest };
    this.#add(taskId, { traceparent: "", kind: { $case: "taskVerified", value } });
  }

  taskPoisoned(taskId: TaskId, expectedDigest: string, actualDigest: string): void {
    const value = { taskId, expectedDigest, actualDigest, reason: "anchor_mismatch" };
    this.#add(taskId, { traceparent: "", kind: { $case: "taskPoisoned", value } }, true);
  }

  /** The host gave pieces up; what it still holds follows as availability of the new incarnation. */
  peerDropped(taskId: TaskId, incarnation: number, reason: string): void {
    const value = { taskId, incarnation, reason };
    this.#add(taskId, { traceparent: "", kind: { $case: "peerDropped", value } });
    const task = this.#store.get(taskId);
    if (task === undefined || task.held.count === 0) this.#dirty.delete(taskId);
    else this.#dirtyOf(taskId).isFull = true;
    this.#outbox.flush();
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
    const announced = announcement(this.#facts, this.#store, {
      liveLeaseIds: this.#target.liveLeaseIds(),
      liveRequestIds: requests.map(({ request }) => request.requestId),
      isFull,
    });
    if (isFull) this.#outbox.repaired();
    this.#outbox.add("host", announced, true);
    if (!isFull) return;
    this.request(requests);
    // A host may hold more tasks than the outbox takes at once: they follow as room allows.
    for (const task of this.#store.list())
      if (task.held.count > 0) this.#dirtyOf(task.description.taskId).isFull = true;
    this.#resendFacts();
    this.#outbox.schedule();
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

  #add(taskId: string, event: Event, isUrgent = false): void {
    const parsed = parseTaskId(taskId);
    this.#outbox.add(parsed === undefined ? HOST_SLICE : sliceOf(parsed), event, isUrgent);
  }

  #addFact(fact: DownloadFinished, traceparent: string): void {
    this.#resends.sent(fact.downloadId);
    this.#add(fact.taskId, { traceparent, kind: { $case: "downloadFinished", value: fact } });
  }

  #resendFacts(): void {
    if (!this.#controlPlane.isConnected) return;
    for (const fact of this.#resends.due(this.#journal.pending())) this.#addFact(fact, "");
  }

  #dirtyOf(taskId: TaskId): DirtyTask {
    let dirty = this.#dirty.get(taskId);
    if (dirty === undefined) {
      dirty = { isFull: false, originPieces: new Set(), leasesEnded: [] };
      this.#dirty.set(taskId, dirty);
    }
    return dirty;
  }

  #collectAvailability(): void {
    for (const [taskId, dirty] of this.#dirty) {
      if (!this.#outbox.hasRoom) {
        this.#outbox.schedule();
        return;
      }
      this.#dirty.delete(taskId);
      const task = this.#store.get(taskId);
      if (task !== undefined) this.#addAvailability(task, dirty);
    }
  }

  #addAvailability(task: StoredTask, { isFull, originPieces, leasesEnded }: DirtyTask): void {
    const { taskId, anchor } = task.description;
    if (isFull) this.#add(taskId, description(task));
    const pieces = isFull ? task.held : originPieces;
    for (const event of availability(task, pieces, leasesEnded)) this.#add(taskId, event);
    if (isFull && task.isVerified) this.taskVerified(task, anchor ?? "");
  }
}
