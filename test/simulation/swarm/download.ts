import type { LeaseEnded } from "@lacewing/contracts/gen/lacewing/events/v1/events.ts";
import type { FailureReason } from "@lacewing/contracts/events/reasons.ts";
import { BlockedReader } from "@lacewing/peer/core/blocked-reader.ts";
import { dropOldest } from "@lacewing/peer/core/drop-oldest.ts";
import { Alarm } from "./alarm.ts";
import { Claims } from "./claims.ts";
import type { Copy } from "./copy.ts";
import {
  ALONE_PIECES_MAX,
  ASK_AGAIN_MS,
  BEGIN_MS,
  NEXT_WORD_MS,
  ORIGIN_REST_MS,
  PROMISE_SLACK_MS,
  RECENT_LEASES_MAX,
  SLOWEST_BYTES_PER_MS,
} from "./deadlines.ts";
import { PieceWaiters } from "./piece-waiters.ts";
import { type Fetch, type Lease, newFetch } from "./fetch.ts";
import { failedPieces } from "./messages.ts";
import type { SimHost } from "./sim-host.ts";
import type { World } from "./world.ts";

/** What a host does to get one content: the real peer's `TaskDownload`, down to its deadlines. */
export class Download {
  readonly copy: Copy;
  readonly taskId: string;
  readonly pieceBytes: number;
  readonly lastPieceBytes: number;
  /** Of the client that waits; undefined on a seed host that takes it for itself, or when the client is served. */
  requestId: string | undefined;
  /** Some client asked for it since the host exists. */
  isWanted = false;
  isDescribed = false;
  incarnation = 1;
  /** What the next availability message says besides the bits. */
  isDirty = false;
  readonly originPieces = new Set<number>();
  isFullDue = false;
  readonly leasesEnded: LeaseEnded[] = [];
  readonly #world: World;
  readonly #host: SimHost;
  readonly #fetches = new Map<string, Fetch>();
  readonly #claims: Claims;
  /** Pieces on their way, and fetches that wait for one that another brings. */
  readonly #carried = new Set<number>();
  readonly #waiting = new Set<Fetch>();
  readonly #knownDigests = new Set<number>();
  readonly #lateDigests = new PieceWaiters();
  /** Children that were granted pieces ahead, and ask for one before it is here. */
  readonly awaited = new PieceWaiters();
  readonly #recentLeaseIds = new Set<string>();
  readonly #knownParents = new Set<SimHost>();
  readonly #reader = new BlockedReader();
  /** One for all fetches: one of each would keep what has long ended until it rings. */
  readonly #patience: Alarm;
  readonly #word: Alarm;
  #dueAtMs = Infinity;
  #hasAskedAgain = false;
  #aloneCount = 0;

  constructor(world: World, host: SimHost, copy: Copy, requestId: string | undefined) {
    this.#world = world;
    this.#host = host;
    this.#patience = new Alarm(world.queue, () => this.#losePatience());
    this.#word = new Alarm(world.queue, () => this.#listen());
    this.copy = copy;
    this.requestId = requestId;
    const task = world.taskAt(copy.task);
    this.taskId = task.taskId;
    this.pieceBytes = task.pieceBytes;
    this.lastPieceBytes = task.lengthBytes - (copy.pieceCount - 1) * task.pieceBytes;
    this.#claims = new Claims(copy);
  }

  get liveLeaseIds(): readonly string[] {
    return [...this.#fetches.values()].flatMap(({ lease, leaseId }) => (lease ? [leaseId] : []));
  }

  ask(): void {
    if (this.requestId === undefined) return;
    this.#host.request(this, this.requestId);
    this.#expectBy(NEXT_WORD_MS);
  }

  accept(lease: Lease): void {
    this.#heard();
    if (this.#fetches.has(lease.leaseId) || this.#recentLeaseIds.has(lease.leaseId)) return;
    const { endpoint } = this.#host;
    if (lease.requestId !== "" && this.requestId === undefined) {
      const { leaseId, parentHostId, pieces } = lease;
      const nothing = { bytes: 0, durationMs: 0 };
      this.#report({ leaseId, parentHostId, pieces, reason: "cancelled", ...nothing });
      return;
    }
    if (lease.isOpen && !this.isDescribed) {
      this.isDescribed = true;
      this.#host.describe(this);
    }
    const pieces =
      lease.isOpen && lease.pieces.length === 0
        ? Array.from({ length: this.copy.pieceCount }, (_, piece) => piece)
        : lease.pieces;
    const parent = this.#world.hostNamed(lease.parentHostId);
    if (parent !== undefined) {
      this.#knownParents.add(parent);
      this.#preferParents();
    }
    if (lease.isAhead) this.learn(lease.knownPieces);
    if (endpoint.isAlive) this.#begin(lease.leaseId, lease, parent, pieces, lease.durationMs);
  }

  /** What these pieces must have is known now. */
  learn(pieces: readonly number[]): void {
    for (const piece of pieces) {
      this.#knownDigests.add(piece);
      this.#lateDigests.wake(piece);
    }
  }

  promised(ms: number): void {
    this.#hasAskedAgain = false;
    this.#expectBy(ms + PROMISE_SLACK_MS);
  }

  /** Others read a part of it: what has begun is finished. For any other reason it is broken off. */
  revoke(leaseId: string, reason: string): void {
    const fetch = this.#fetches.get(leaseId);
    if (fetch === undefined) return;
    if (reason === "shared" && fetch.job !== undefined) fetch.isEnding = true;
    else this.#fail(fetch, "cancelled");
  }

  /** The process ends: nothing is reported. */
  die(): void {
    for (const fetch of this.#fetches.values()) this.#stop(fetch);
    this.#dueAtMs = Infinity;
  }

  /** The parent of some leases is gone, and its connections broke. */
  parentDied(parent: SimHost): void {
    for (const fetch of this.#fetches.values())
      if (fetch.parent === parent) this.#fail(fetch, "short");
  }

  #begin(
    leaseId: string,
    lease: Lease | undefined,
    parent: SimHost | undefined,
    pieces: readonly number[],
    durationMs: number,
  ): void {
    const { nowMs } = this.#world.queue;
    const patienceMs = Math.max(durationMs, BEGIN_MS + this.pieceBytes / SLOWEST_BYTES_PER_MS);
    const fetch = newFetch({ leaseId, lease, parent, pieces, patienceMs, beganAtMs: nowMs });
    this.#fetches.set(leaseId, fetch);
    for (const piece of pieces) this.#claims.change(piece, 1);
    this.#patience.ringBy(nowMs + patienceMs);
    this.#world.queue.after(2 * this.#world.scenario.network.latencyMs, () => this.#connect(fetch));
  }

  /** The request is at the source: it serves, or says why not. */
  #connect(fetch: Fetch): void {
    if (fetch.isOver) return;
    const refusal = this.#refusal(fetch);
    if (refusal === undefined) {
      fetch.isServed = true;
      if (fetch.parent !== undefined) fetch.parent.servingCount++;
      fetch.parent?.children.add(this);
      this.#next(fetch);
    } else this.#fail(fetch, refusal);
  }

  #refusal({ parent, pieces, lease }: Fetch): FailureReason | undefined {
    if (parent === undefined) return this.#world.isOriginUp ? undefined : "origin_refused";
    if (!parent.endpoint.isAlive) return "unreachable";
    if (parent.endpoint.isStalled) return undefined;
    const slots = parent.spec.uploadSlots * (lease === undefined ? 0.5 : 1);
    if (parent.servingCount >= slots || parent.refuses()) return "busy";
    if (lease?.isAhead === true) return undefined;
    const held = parent.downloads.get(this.copy.task)?.copy;
    const first = pieces.find((piece) => !this.copy.has(piece));
    return first === undefined || held?.has(first) === true ? undefined : "not_held";
  }

  #next(fetch: Fetch): void {
    if (fetch.isEnding && fetch.at < fetch.pieces.length) {
      this.#fail(fetch, "cancelled");
      return;
    }
    let piece = fetch.pieces[fetch.at];
    while (piece !== undefined && this.copy.has(piece)) {
      this.#claims.change(piece, -1);
      piece = fetch.pieces[++fetch.at];
    }
    if (piece === undefined) {
      this.#finish(fetch);
      return;
    }
    const { parent } = fetch;
    const { network } = this.#world;
    if (fetch.lease?.isAhead === true && parent?.holds(this.copy.task, piece) === false) {
      parent.downloads.get(this.copy.task)?.awaited.add(piece, () => this.#goOn(fetch));
      return;
    }
    if (parent === undefined ? !this.#world.isOriginUp : !parent.holds(this.copy.task, piece)) {
      this.#fail(fetch, parent === undefined ? "origin_refused" : "not_held");
      return;
    }
    if (this.#carried.has(piece)) {
      this.#waiting.add(fetch);
      return;
    }
    const bytes = this.bytesOf(piece);
    this.#carried.add(piece);
    const source = parent?.endpoint ?? network.origin;
    fetch.job = network.carry(source, this.#host.endpoint, bytes, () => {
      fetch.job = undefined;
      this.#verify(fetch, piece, bytes);
    });
  }

  /** What it waited for is there. */
  #goOn(fetch: Fetch): void {
    this.#world.queue.after(0, () => (fetch.isOver ? undefined : this.#next(fetch)));
  }

  #verify(fetch: Fetch, piece: number, bytes: number): void {
    const take = (): void => {
      fetch.isUnverified = false;
      if (fetch.isOver) this.#world.wastedBytes += bytes;
      else this.#arrived(fetch, piece, bytes);
    };
    fetch.isUnverified = fetch.lease?.isAhead === true && !this.#knownDigests.has(piece);
    if (fetch.isUnverified) this.#lateDigests.add(piece, take);
    else take();
  }

  /** Somebody brings the piece no longer: who waited for that looks again. */
  #release(piece: number): void {
    this.#carried.delete(piece);
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const fetch of waiting) this.#goOn(fetch);
  }

  #arrived(fetch: Fetch, piece: number, bytes: number): void {
    this.#release(piece);
    const { nowMs } = this.#world.queue;
    if (fetch.parent?.isCorrupt === true) {
      this.#world.wastedBytes += bytes;
      this.#fail(fetch, "digest_mismatch", piece);
      return;
    }
    fetch.bytes += bytes;
    fetch.progressAtMs = nowMs;
    fetch.at++;
    this.#claims.change(piece, -1);
    if (this.copy.add(piece, nowMs)) {
      this.#world.pieceHeld(this.copy, piece);
      this.isDirty = true;
      if (fetch.parent === undefined) this.originPieces.add(piece);
      this.#host.flushSoon();
    } else this.#world.wastedBytes += bytes;
    this.awaited.wake(piece);
    if (this.copy.isFull) this.#host.completed(this);
    else this.#read();
    if (!fetch.isOver) this.#next(fetch);
  }

  /** The client reads on, as far as it can. */
  #read(): void {
    const { cursor } = this.copy;
    if (this.requestId === undefined || this.#claims.has(cursor)) return;
    if (this.#reader.waits(cursor, this.#world.queue.nowMs)) this.#host.readerBlocked(this);
  }

  #finish(fetch: Fetch): void {
    this.#stop(fetch);
    if (fetch.lease !== undefined) {
      const durationMs = this.#world.queue.nowMs - fetch.beganAtMs;
      this.leasesEnded.push({ leaseId: fetch.leaseId, bytes: fetch.bytes, durationMs });
      this.isDirty = true;
      this.#host.flushSoon();
    }
    this.#expectBy(NEXT_WORD_MS);
  }

  #fail(fetch: Fetch, reason: FailureReason, wrongPiece?: number): void {
    this.#stop(fetch);
    if (reason !== "cancelled" && fetch.parent !== undefined)
      this.#knownParents.delete(fetch.parent);
    if (fetch.lease !== undefined) {
      const { leaseId, bytes, lease, beganAtMs } = fetch;
      const { parentHostId } = lease;
      const durationMs = this.#world.queue.nowMs - beganAtMs;
      const missing = fetch.pieces.filter((piece) => !this.copy.has(piece));
      const pieces = wrongPiece === undefined ? missing : [wrongPiece];
      this.#report({ leaseId, parentHostId, pieces, reason, bytes, durationMs });
    }
    const { failureCounts } = this.#world;
    failureCounts.set(reason, (failureCounts.get(reason) ?? 0) + 1);
    const isAloneAtOrigin = fetch.lease === undefined && fetch.parent === undefined;
    this.#expectBy(isAloneAtOrigin ? ORIGIN_REST_MS : NEXT_WORD_MS);
  }

  #report(failed: Parameters<typeof failedPieces>[1]): void {
    this.#host.say([{ $case: "piecesFailed", value: failedPieces(this.taskId, failed) }]);
  }

  #stop(fetch: Fetch): void {
    fetch.isOver = true;
    this.#fetches.delete(fetch.leaseId);
    this.#recentLeaseIds.add(fetch.leaseId);
    dropOldest(this.#recentLeaseIds, RECENT_LEASES_MAX);
    for (const piece of fetch.pieces.slice(fetch.at)) this.#claims.change(piece, -1);
    if (fetch.job !== undefined || fetch.isUnverified) this.#release(fetch.pieces[fetch.at] ?? -1);
    if (fetch.job !== undefined) {
      const { parent } = fetch;
      const total = this.bytesOf(fetch.pieces[fetch.at] ?? 0);
      if (fetch.job.remainingBytes > 0) {
        this.#world.wastedBytes += total - fetch.job.remainingBytes;
        (parent?.endpoint ?? this.#world.network.origin).uplink.cancel(fetch.job);
      }
    }
    if (fetch.isServed && fetch.parent !== undefined) {
      fetch.parent.servingCount--;
      fetch.parent.children.delete(this);
      for (const other of this.#fetches.values()) {
        if (other.parent === fetch.parent && other.isServed) fetch.parent.children.add(this);
      }
    }
  }

  /** A read of the origin that the scheduler knows nothing of gives way to what peers hold. */
  #preferParents(): void {
    for (const fetch of this.#fetches.values()) {
      if (fetch.lease === undefined && fetch.parent === undefined) this.#stop(fetch);
    }
  }

  /** What brings nothing for too long is given up. */
  #losePatience(): void {
    const { nowMs } = this.#world.queue;
    for (const fetch of this.#fetches.values()) {
      const endsAtMs = fetch.progressAtMs + fetch.patienceMs;
      if (endsAtMs <= nowMs) this.#fail(fetch, "stalled");
      else this.#patience.ringBy(endsAtMs);
    }
  }

  #heard(): void {
    this.#hasAskedAgain = false;
    this.#expectBy(NEXT_WORD_MS);
  }

  #expectBy(ms: number): void {
    this.#dueAtMs = this.#world.queue.nowMs + ms;
    this.#word.ringBy(this.#dueAtMs);
  }

  #listen(): void {
    if (this.#world.queue.nowMs < this.#dueAtMs) this.#word.ringBy(this.#dueAtMs);
    else this.#look();
  }

  /** The scheduler's word is overdue: it is asked once more, then the host goes on alone. */
  #look(): void {
    if (this.requestId === undefined || this.#claims.missing().length === 0) return;
    if (!this.#hasAskedAgain) {
      this.#hasAskedAgain = true;
      this.#host.request(this, this.requestId);
      this.#expectBy(ASK_AGAIN_MS * (0.75 + this.#world.random() / 2));
      return;
    }
    this.#hasAskedAgain = false;
    if (this.#world.mayGoOnAlone) this.#goOnAlone();
  }

  #goOnAlone(): void {
    this.#world.aloneCount++;
    const missing = this.#claims.missing();
    const leaseId = `alone-${++this.#aloneCount}`;
    for (const parent of this.#knownParents) {
      const pieces = missing.filter((piece) => parent.holds(this.copy.task, piece));
      if (!parent.endpoint.isAlive || pieces.length === 0) continue;
      this.#begin(leaseId, undefined, parent, pieces.slice(0, ALONE_PIECES_MAX), 0);
      return;
    }
    if (this.#host.spec.canReadOrigin && this.#world.isOriginUp)
      this.#begin(leaseId, undefined, undefined, missing, 0);
    else this.#expectBy(ORIGIN_REST_MS);
  }

  bytesOf(piece: number): number {
    return piece === this.copy.pieceCount - 1 ? this.lastPieceBytes : this.pieceBytes;
  }
}
