import type { PieceRange } from "@lacewing/contracts/gen/lacewing/decisions/v1/decisions.ts";
import type { DecisionContext } from "./decision-context.ts";
import { NOTHING } from "./few-map.ts";
import type { Host, Peer, Task } from "./state.ts";

/** What a lease is granted with. */
type LeaseTerms = Pick<
  Lease,
  | "decided"
  | "number"
  | "child"
  | "parent"
  | "pieces"
  | "isOpen"
  | "requestId"
  | "reason"
  | "candidateCount"
  | "durationMs"
  | "traceparent"
  | "isAhead"
>;

/**
 * That a child takes pieces from a parent, or from the origin, for a while. There are hundreds of thousands, and each is copied by the
 * collector of garbage before it ends: so it holds nothing that follows from something else, and what few have is made when it is there.
 * Its fields stand in memory in the order in which they are named here: those that each report needs come first.
 */
export class Lease {
  readonly child: Peer;
  /** Undefined: the origin. */
  readonly parent: Host | undefined;
  readonly task: Task;
  /** Of an open lease: empty until the content is described. */
  pieces: readonly PieceRange[];
  /** How many of them the child does not hold yet; which ones, while the lease is live: see `remainingOf`. */
  remainingCount = 0;
  /** A list of nothing but it, for all who have no other lease; see `withLease`. */
  alone: readonly Lease[] = NOTHING;
  /** Of its slice and epoch; its id ends with it. */
  readonly number: number;
  /** The message of the log that it was granted in: all leases of one turn share it. */
  readonly decided: DecisionContext;
  /** "live" until it ends: "finished", or a failure or revocation reason. */
  outcome = "live";
  readonly requestId: string;
  bytes = 0;
  transferMs = 0;
  endedAtMs: number | undefined = undefined;
  durationMs: number;
  /** Of a content so small that it takes no upload slot. */
  isTiny = false;
  /** Whether its parent served nothing else when it was granted. */
  isFromIdleParent = false;
  /** Whether it was expected to take a part of its child's link only: from another zone, or a slow host or origin. */
  isFromAfar = false;
  /** Whether its parent may have been getting its pieces itself when it was granted; see `matching/relays.ts`. */
  readonly isAhead: boolean;
  /** How often its child was told again, as nothing was heard of it. */
  repeatCount = 0;
  /** In the swarm of the task: the zone into which it brings pieces from another; -1 when it does not. */
  inboundZone = -1;
  /** Likewise, from which. */
  outboundZone = -1;
  /** Undefined as long as it was just granted; see `progressAtMs`. */
  #progressAtMs: number | undefined = undefined;
  /** The child's process that took it is gone. */
  isOrphaned = false;
  readonly isOpen: boolean;
  readonly reason: string;
  readonly candidateCount: number;
  readonly traceparent: string;

  constructor(terms: LeaseTerms) {
    this.child = terms.child;
    this.parent = terms.parent;
    this.task = terms.child.task;
    this.pieces = terms.pieces;
    this.number = terms.number;
    this.decided = terms.decided;
    this.requestId = terms.requestId;
    this.durationMs = terms.durationMs;
    this.isAhead = terms.isAhead;
    this.isOpen = terms.isOpen;
    this.reason = terms.reason;
    this.candidateCount = terms.candidateCount;
    this.traceparent = terms.traceparent;
  }

  get leaseId(): string {
    return leaseIdOf(this.decided, this.number);
  }

  get slice(): number {
    return this.decided.slice;
  }

  get epoch(): number {
    return this.decided.epoch;
  }

  get taskId(): string {
    return this.task.taskId;
  }

  get childHostId(): string {
    return this.child.hostId;
  }

  /** Empty: the origin. */
  get parentHostId(): string {
    return this.parent?.hostId ?? "";
  }

  get grantedAtMs(): number {
    return this.decided.decidedAtMs;
  }

  /** When the newest piece of it came while it was live, or it was granted. */
  get progressAtMs(): number {
    return this.#progressAtMs ?? this.decided.decidedAtMs;
  }

  set progressAtMs(atMs: number) {
    this.#progressAtMs = atMs;
  }

  /** Whether its first piece should have come long ago: its child was told again, and nothing came since. */
  get isOverdue(): boolean {
    return this.repeatCount > 0 && this.progressAtMs === this.grantedAtMs;
  }
}

export function leaseIdOf({ slice, epoch }: DecisionContext, number: number): string {
  return `${slice}-${epoch}-${number}`;
}
