import type {
  Decision,
  LeaseGranted,
} from "@lacewing/contracts/gen/lacewing/decisions/v1/decisions.ts";
import type {
  Event,
  HostAnnounced,
  PiecesFailed,
  TaskDescribed,
  TaskRequested,
} from "@lacewing/contracts/gen/lacewing/events/v1/events.ts";
import { Bitmap } from "@lacewing/contracts/bitmap.ts";
import { indexesOf } from "@lacewing/contracts/pieces.ts";
import { SLICE_COUNT } from "@lacewing/contracts/slices.ts";
import type { Answer } from "@lacewing/scheduler/core/answer.ts";
import { decide } from "@lacewing/scheduler/core/decide.ts";
import { evolveDecision } from "@lacewing/scheduler/core/evolve-decision.ts";
import { evolveEvent, evolveMessage } from "@lacewing/scheduler/core/evolve-event.ts";
import { remainingOf, takenBy } from "@lacewing/scheduler/core/leases.ts";
import type { Lease } from "@lacewing/scheduler/core/lease.ts";
import { newState, type State } from "@lacewing/scheduler/core/state.ts";
import { decideLostHosts, listenAgain, tick } from "@lacewing/scheduler/core/tick.ts";

/** A task of slice 0, and so on: the first byte of the id is the slice. */
export function taskIdOfSlice(slice: number): string {
  return slice.toString(16).padStart(2, "0") + "ab".repeat(31);
}

export const TASK = taskIdOfSlice(7);
export const MIB = 2 ** 20;
/** Of the content that {@link description} describes. */
export const ALL_PIECES = [0, 1, 2, 3];
const EPOCH = 3;

/** One entry of the merged logs, as a replay meets them. */
export type WorldEntry =
  | {
      readonly kind: "event";
      readonly hostId: string;
      readonly bootId: string;
      readonly sequence: number;
      readonly event: Event;
      readonly atMs: number;
    }
  | {
      readonly kind: "decision";
      readonly slice: number;
      readonly decision: Decision;
      readonly atMs: number;
    };

/** The real scheduler core under a clock and a randomness of the test's own; keeps the merged log of all that happened. */
export class SchedulerWorld {
  readonly state: State = newState();
  readonly log: WorldEntry[] = [];
  readonly answers: Answer[] = [];
  nowMs = 1_000_000;
  readonly #random: () => number;
  readonly #boots = new Map<string, { bootId: string; sequence: number }>();

  constructor(random: () => number = seededRandom(1)) {
    this.#random = random;
  }

  /** A host says something; nothing is decided yet. */
  tell(hostId: string, kind: NonNullable<Event["kind"]>): void {
    const boot = this.#boots.get(hostId) ?? { bootId: "boot-1", sequence: 0 };
    this.#boots.set(hostId, boot);
    boot.sequence++;
    this.deliver({ hostId, ...boot, event: { traceparent: "", kind } });
  }

  /** A message arrives, whenever it was sent. */
  deliver(message: {
    readonly hostId: string;
    readonly bootId: string;
    readonly sequence: number;
    readonly event: Event;
  }): void {
    const entry: WorldEntry = { kind: "event", ...message, atMs: this.nowMs };
    this.log.push(entry);
    applyEntry(this.state, entry);
  }

  /** Every slice has a turn, until nothing is left to decide. @returns the answers of these turns. */
  decide(): readonly Answer[] {
    const fresh: Answer[] = [];
    for (let turn = 0; turn < 8; turn++) {
      let hasWork = false;
      for (let slice = 0; slice < SLICE_COUNT; slice++) {
        if (
          this.state.work.dirtyTaskIds[slice]?.size === 0 &&
          this.state.work.outbox[slice]?.length === 0
        )
          continue;
        hasWork = true;
        const context = { slice, epoch: EPOCH, nowMs: this.nowMs, random: this.#random };
        const outcome = decide(this.state, context);
        this.#note(slice, outcome.decisions);
        fresh.push(...outcome.answers);
      }
      if (!hasWork) break;
    }
    this.answers.push(...fresh);
    return fresh;
  }

  /** Time passes, and the scheduler looks at it. @returns what it says. */
  advance(ms: number): readonly Answer[] {
    this.nowMs += ms;
    tick(this.state, this.nowMs);
    const lost = decideLostHosts(this.state, {
      slice: 0,
      epoch: EPOCH,
      nowMs: this.nowMs,
      listeningSinceMs: 0,
    });
    this.#note(0, lost);
    return this.decide();
  }

  /** A new process of the host. */
  reboot(hostId: string, bootId: string): void {
    this.#boots.set(hostId, { bootId, sequence: 0 });
  }

  /** Tells the scheduler that its state was restored. */
  listenAgain(): void {
    listenAgain(this.state, this.nowMs);
  }

  get newestLease(): LeaseGranted {
    const lease = this.grants.at(-1);
    if (lease === undefined) throw new Error("no lease was granted");
    return lease;
  }

  get decisions(): readonly Decision[] {
    return this.log.flatMap((entry) => (entry.kind === "decision" ? [entry.decision] : []));
  }

  get grants(): readonly LeaseGranted[] {
    return this.decisions.flatMap(({ kind }) =>
      kind?.$case === "leaseGranted" ? [kind.value] : [],
    );
  }

  // Shorthands for what hosts say.

  announce(hostId: string, value: Partial<HostAnnounced> = {}): void {
    this.tell(hostId, { $case: "hostAnnounced", value: announcement(hostId, value) });
  }

  request(hostId: string, value: Partial<TaskRequested> = {}): void {
    this.tell(hostId, { $case: "taskRequested", value: requestBy(hostId, value) });
  }

  describe(hostId: string, value: Partial<TaskDescribed> = {}): void {
    this.tell(hostId, { $case: "taskDescribed", value: description(value) });
  }

  /** The host holds these pieces, with the digests of the true content. */
  hold(hostId: string, pieces: readonly number[], incarnation = 1, taskId = TASK): void {
    this.tell(hostId, {
      $case: "piecesAvailable",
      value: {
        taskId,
        incarnation,
        bitmap: bitmapOf(pieces),
        digests: digestsOf(pieces),
        leasesEnded: [],
      },
    });
  }

  /** @param bytes of the lease that did arrive */
  fail(
    hostId: string,
    lease: Pick<LeaseGranted, "taskId" | "leaseId" | "parentHostId" | "pieces">,
    reason: string,
    bytes = 0,
    retryAfterMs = 0,
  ): void {
    const value: PiecesFailed = {
      taskId: lease.taskId,
      leaseId: lease.leaseId,
      parentHostId: lease.parentHostId,
      pieceIndexes: [...indexesOf(lease.pieces)],
      reason,
      detail: "",
      bytes,
      durationMs: 1,
      retryAfterMs,
    };
    this.tell(hostId, { $case: "piecesFailed", value });
  }

  #note(slice: number, decisions: readonly Decision[]): void {
    for (const decision of decisions) {
      this.log.push({ kind: "decision", slice, decision, atMs: this.nowMs });
    }
  }
}

/** Hosts a, b, c; a has read the content from the origin and holds all of it. */
export function worldWithHolder(): SchedulerWorld {
  const world = new SchedulerWorld();
  for (const hostId of ["a", "b", "c"]) world.announce(hostId);
  world.request("a");
  world.describe("a");
  world.decide();
  world.hold("a", ALL_PIECES);
  world.tell("a", {
    $case: "requestEnded",
    value: { taskId: TASK, requestId: "request-of-a" },
  });
  world.decide();
  return world;
}

/** Who was told what, in order: `lease a`, `pending b`. */
export function kindsOf(answers: readonly Answer[]): readonly string[] {
  return answers.map((answer) => `${answer.kind} ${answer.hostId}`);
}

export function announcement(hostId: string, value: Partial<HostAnnounced>): HostAnnounced {
  return {
    kind: "normal",
    transferAddress: `${hostId}:7000`,
    idc: "idc-1",
    location: "",
    uploadSlots: 4,
    freeBytes: 100 * 2 ** 30,
    quotaBytes: 100 * 2 ** 30,
    inventoryDigest: "0000000000000000",
    liveLeaseIds: [],
    full: true,
    liveRequestIds: [],
    ...value,
  };
}

export function requestBy(hostId: string, value: Partial<TaskRequested>): TaskRequested {
  return {
    taskId: TASK,
    requestId: `request-of-${hostId}`,
    url: "https://origin.example/file",
    sharingDomain: "origin.example",
    anchor: "",
    tag: "",
    application: "",
    priority: 0,
    wantedStart: 0,
    wantedEnd: 0,
    canReadOrigin: true,
    originOpen: false,
    ...value,
  };
}

/** Content of 4 pieces of 1 MiB. */
export function description(value: Partial<TaskDescribed>): TaskDescribed {
  return {
    taskId: TASK,
    lengthBytes: 4 * MIB,
    pieceLengthBytes: MIB,
    etag: '"v1"',
    lastModified: "",
    contentType: "application/octet-stream",
    anchor: "",
    url: "https://origin.example/file",
    sharingDomain: "origin.example",
    originRanges: false,
    ...value,
  };
}

export function bitmapOf(pieces: readonly number[]): Uint8Array {
  const bitmap = new Bitmap(Math.max(0, ...pieces) + 1);
  for (const piece of pieces) bitmap.add(piece);
  return bitmap.toBytes();
}

export function digestsOf(pieces: readonly number[], version = 1) {
  return pieces.map((pieceIndex) => ({
    pieceIndex,
    sha256: new Uint8Array(32).fill(version).fill(pieceIndex % 256, 1, 2),
  }));
}

/** Applies an entry as live folding and a replay both do. */
export function applyEntry(state: State, entry: WorldEntry): void {
  if (entry.kind === "event") {
    const { hostId, bootId, sequence, atMs } = entry;
    evolveMessage(state, { hostId, bootId, sequence, atMs });
    evolveEvent(state, entry.event, { hostId, bootId, sequence, atMs });
    return;
  }
  const { slice, decision, atMs } = entry;
  evolveDecision(state, decision, { slice, epoch: EPOCH, decidedAtMs: atMs });
}

/** Folds one event of a host in its first life, at that time (ms). */
export function tellAt(
  state: State,
  hostId: string,
  kind: NonNullable<Event["kind"]>,
  atMs: number,
): void {
  const context = { hostId, bootId: "boot-1", sequence: 1, atMs };
  evolveMessage(state, context);
  evolveEvent(state, { traceparent: "", kind }, context);
}

/** mulberry32: good enough for tests, and the same everywhere. */
export function seededRandom(prngSeed: number): () => number {
  let a = prngSeed >>> 0;
  return () => {
    a = (a + 0x6d2b79f5) >>> 0;
    let t = a;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}

/** What a state says, without what is of no consequence to a replay: times of answers, work lists, counters. */
export function summaryOf(state: State): unknown {
  const byId = (leases: Iterable<Lease>) =>
    new Map([...leases].map((lease) => [lease.leaseId, lease]));
  const idsOf = (leases: readonly Lease[]) => leases.map(({ leaseId }) => leaseId).toSorted();
  const sorted = <Value>(map: ReadonlyMap<string, Value>) =>
    [...map].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, value]) => value);
  return {
    hosts: sorted(state.hosts).map((host) => ({
      id: host.hostId,
      boot: host.bootId,
      state: host.state,
      suspect: [host.suspectFromMs, host.suspectUntilMs],
      silenceCount: host.silenceCount,
      unblamed: host.unblamedHostIds,
      serving: idsOf(host.serving),
      taking: idsOf(takenBy(host)),
      requests: [...host.requests.keys()].toSorted(),
    })),
    tasks: sorted(state.tasks).map((task) => ({
      id: task.taskId,
      layout: task.layout,
      state: task.state,
      isCreated: task.isCreated,
      openLeaseId: task.openLeaseId,
      digests: task.digests?.toBytes().join(","),
      needy: [...task.needyIds].toSorted(),
      holders: [...task.holderIds].toSorted(),
      peers: sorted(task.peers).map((peer) => ({
        id: peer.hostId,
        incarnation: peer.incarnation,
        held: [...peer.held],
        leased: [...peer.leased],
        isSeeding: peer.isSeeding,
        isStruck: peer.isStruck,
        isApart: peer.isApart,
        accusedBy: [...(peer.accusedBy ?? [])].toSorted(),
        accusedCount: peer.accusedCount,
        isVerified: peer.isVerified,
        requests: [...peer.requests.keys()].toSorted(),
        leases: idsOf(peer.leases),
        avoided: [...(peer.avoided?.keys() ?? [])].toSorted(),
      })),
    })),
    leases: sorted(byId(state.leases.values())).map((lease) => ({
      id: lease.leaseId,
      child: lease.childHostId,
      parent: lease.parentHostId,
      pieces: lease.pieces,
      remaining: remainingOf(lease),
      progressAtMs: lease.progressAtMs,
    })),
    nextLeaseNumbers: state.nextLeaseNumbers,
  };
}
