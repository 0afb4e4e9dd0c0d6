import type { PieceRange } from "@lacewing/contracts/gen/lacewing/decisions/v1/decisions.ts";
import { indexesOf, pieceAt, pieceSpan } from "@lacewing/contracts/pieces.ts";
import type { Clock } from "@lacewing/runtime/clock.ts";
import { runsToFetch } from "../core/fetch-plan.ts";
import {
  cancelled,
  type EndedFetch,
  type FetchOrder,
  fruitless,
  isAhead,
  trafficOf,
} from "./fetch-order.ts";
import { type ActiveFetch, newFetch } from "./active-fetch.ts";
import type { FetchTracer } from "./fetch-tracer.ts";
import { type FetchEnd, type FetchSource, runFetch } from "./lease-fetch.ts";
import { openSpan } from "./origin-access.ts";
import type { Paces } from "./pace.ts";
import { PaceWatch } from "./pace-watch.ts";
import { PiecePatience } from "./piece-patience.ts";
import { type PieceClient, type StoredTask, TransferError } from "./ports.ts";
import { DIGEST_MS_MAX } from "./late-digests.ts";
import { patienceMs, silenceMs } from "../core/lease-fit.ts";
import { Progress } from "./progress.ts";
import { readsInTurn } from "./reads-in-turn.ts";
import { NEAR_MS_MAX, Stretch } from "./stretch.ts";
import type { Traffic } from "./task-reader.ts";

/** A read that brings less is no progress: an origin that gives a byte at a time must not be asked for ever. */
const ADVANCE_BYTES_MIN = 64 * 1024;

/** An answer whose content is all here ends within this, or is broken off. */
const END_MS_MAX = 100;

/** Reads of the origin for one task at once, as readers of far parts need them: download tools open no more themselves. */
const ORIGIN_READ_COUNT_MAX = 8;

/** What the board tells its owner. */
export interface FetchBoardEvents {
  received(order: FetchOrder, bytes: number): void;
  held(pieceIndex: number, order: FetchOrder): void;
  /** More bytes can be read. */
  progressed(): void;
  /** Asked before bytes are written: how long to wait for others first. */
  giveWay(): Promise<void> | undefined;
}

interface FetchServices {
  readonly pieceClient: PieceClient;
  readonly paces?: Paces;
  readonly tracer: FetchTracer;
  readonly clock: Clock;
}

interface ReadHow {
  readonly source: FetchSource;
  readonly traceparent: string;
}

/** The fetches of one task under way: which pieces they have taken on, and how far the origin has written into a piece. */
export class FetchBoard {
  readonly #stored: StoredTask;
  readonly #services: FetchServices;
  readonly #events: FetchBoardEvents;
  readonly #fetches = new Map<string, ActiveFetch>();
  readonly #claims = new Map<number, ActiveFetch>();
  readonly #partial = new Map<number, number>();
  readonly #traffic = new Map<number, Traffic>();
  /** Up to where the origin wrote pieces before its read was broken off. */
  readonly #brokenOff = new Map<number, number>();
  /** Whether bytes were, or will be, written over others that readers may have handed on. */
  hasRewritten = false;
  /** Pieces got free, or are held. */
  readonly #released = new Progress();
  readonly #watch: PaceWatch;
  #originReadCount = 0;
  #secondLook: NodeJS.Timeout | undefined;

  constructor(stored: StoredTask, services: FetchServices, events: FetchBoardEvents) {
    this.#stored = stored;
    this.#services = services;
    this.#events = events;
    this.#watch = new PaceWatch(services.clock);
  }

  get isIdle(): boolean {
    return this.#fetches.size === 0;
  }

  /** Leases under way; what was begun without one is not listed. */
  *leaseIds(): Generator<string> {
    for (const [leaseId, { order }] of this.#fetches) if (order.lease !== undefined) yield leaseId;
  }

  has(leaseId: string): boolean {
    return this.#fetches.has(leaseId);
  }

  /** Whether some fetch has taken the piece on. */
  isClaimed(pieceIndex: number): boolean {
    return this.#claims.has(pieceIndex);
  }

  /** Where a piece came, or is coming, from since the board exists. */
  trafficOf(pieceIndex: number): Traffic | undefined {
    const claim = this.#claims.get(pieceIndex);
    return (
      this.#traffic.get(pieceIndex) ??
      (claim === undefined ? undefined : trafficOf(claim.order.source))
    );
  }

  /**
   * How far a reader at `offset` can read within its piece: all of a held one, and of one that the origin is writing what is
   * written (bytes of the origin may be shown before their piece is complete; bytes of a parent may not).
   */
  readableEnd(offset: number): number {
    const { layout, held } = this.#stored;
    const index = pieceAt(layout, offset);
    if (held.has(index)) return pieceSpan(layout, index).end;
    return Math.max(offset, this.#partial.get(index) ?? offset);
  }

  /** Whether some fetch of a kind is under way. */
  some(which: (order: FetchOrder) => boolean): boolean {
    return [...this.#fetches.values()].some(({ order }) => which(order));
  }

  /**
   * A reader waits for a piece that a fetch has taken on. When a read of the origin would be long in coming to it, the end of
   * that read is given to another one, which begins at the piece.
   */
  hurry(pieceIndex: number): void {
    const fetch = this.#claims.get(pieceIndex);
    const source = fetch?.order.source;
    if (fetch === undefined || source?.kind !== "origin") return;
    const isAtMost = this.#originReadCount >= ORIGIN_READ_COUNT_MAX;
    if (fetch.isSplitting || !source.access.hasRanges || isAtMost) return;
    // How fast it is shows in a moment, also when nothing at all comes until then.
    this.#secondLook ??= setTimeout(() => {
      this.#secondLook = undefined;
      this.#events.progressed();
    }, NEAR_MS_MAX);
    const nowMs = this.#services.clock.monotonic();
    for (const stretch of fetch.stretches) {
      if (!stretch.covers(pieceIndex) || !stretch.isFarFrom(pieceIndex, nowMs)) continue;
      fetch.isSplitting = true;
      void this.#split(fetch, source, stretch, pieceIndex);
      return;
    }
  }

  /** Breaks fetches off. */
  abort(reason: Error, which: (order: FetchOrder) => boolean = () => true): void {
    for (const fetch of this.#fetches.values()) if (which(fetch.order)) fetch.abort.abort(reason);
  }

  /** Breaks fetches off too, but lets the origin finish a piece that it has begun: a reader of small ranges comes back for it. */
  windDown(reason: Error, which: (order: FetchOrder) => boolean): void {
    for (const fetch of this.#fetches.values()) {
      if (!which(fetch.order)) continue;
      if (this.#hasAll(fetch.order)) {
        this.#endSoon(fetch, reason);
        continue;
      }
      const isInPiece = [...this.#partial.keys()].some(
        (index) => this.#claims.get(index) === fetch,
      );
      if (isInPiece) fetch.lastPieceReason = reason;
      else fetch.abort.abort(reason);
    }
  }

  /** It has brought everything, and most ends by itself now; an origin that does not end its answer is not waited for. */
  #endSoon(fetch: ActiveFetch, reason: Error): void {
    const end = (): void => {
      if (this.#fetches.get(fetch.order.leaseId) === fetch) fetch.abort.abort(reason);
    };
    setTimeout(end, END_MS_MAX).unref();
  }

  /** The scheduler ends a lease: at once, or, when others read a part of the origin too, with the next piece, whoever joins. */
  revoke(leaseId: string, why: string): void {
    const fetch = this.#fetches.get(leaseId);
    // A slow origin is the only one there is.
    if (fetch === undefined || (why === "expired" && fetch.order.source.kind === "origin")) return;
    const error = new Error(`lease ended by the scheduler: ${why}`);
    fetch.isEnding = why === "shared" && [...this.#claims.values()].includes(fetch);
    if (fetch.isEnding) fetch.lastPieceReason = error;
    else fetch.abort.abort(error);
  }

  /** Somebody wants again what was being wound down. */
  keepGoing(): void {
    for (const fetch of this.#fetches.values())
      if (!fetch.isEnding) fetch.lastPieceReason = undefined;
  }

  /**
   * Fetches the pieces of the order that are not held. Pieces that another fetch has under way are waited for, and taken
   * over when that one fails: a lease that ended before its pieces are here would be granted again at once.
   *
   * @returns how it ended, after its claims are free again.
   */
  async run(order: FetchOrder): Promise<EndedFetch> {
    const fetch = newFetch(order);
    this.#fetches.set(order.leaseId, fetch);
    const { clock } = this.#services;
    const startedAtMs = clock.monotonic();
    let end: FetchEnd | undefined;
    while (end === undefined) {
      const missing = order.pieces.filter((index) => !this.#stored.held.has(index));
      const isClaimed = (index: number): boolean => this.#claims.has(index);
      const runs = runsToFetch(missing, isClaimed, isAhead(order) ? 1 : Infinity);
      if (missing.length === 0) end = { ok: true, bytes: 0 };
      else if (fetch.abort.signal.aborted) end = cancelled(fetch.abort.signal.reason);
      else if (runs.length > 0) {
        const fetched = await this.#fetchRuns(fetch, runs);
        // Who breaks it off after its last piece was held is too late to make a failure of it.
        if (!fetched.ok && !this.#hasAll(order)) end = fetched;
        else if (missing.every((index) => !this.#stored.held.has(index))) end = fruitless();
      } else {
        // Ends by the abort as well; the loop then sees it.
        await this.#released.wait(fetch.abort.signal).catch(() => undefined);
      }
    }
    return {
      order,
      end: { ...end, bytes: fetch.bytes },
      hasAdvanced: fetch.hasAdvanced,
      durationMs: Math.round(clock.monotonic() - startedAtMs),
    };
  }

  #hasAll(order: FetchOrder): boolean {
    return order.pieces.every((index) => this.#stored.held.has(index));
  }

  async #fetchRuns(fetch: ActiveFetch, runs: readonly PieceRange[]): Promise<FetchEnd> {
    const { order } = fetch;
    const pieces = [...indexesOf(runs)];
    for (const index of pieces) {
      this.#claims.set(index, fetch);
      // Its bytes may come to lie over those of the origin.
      const isOver = order.source.kind === "parent" && this.#brokenOff.delete(index);
      if (isOver || this.#traffic.has(index)) this.hasRewritten = true;
    }
    const traced = this.#services.tracer.fetchBegan(
      order.source,
      order.traceparent,
      this.#stored.description,
      order.lease,
    );
    const stretches = runs.map((run) => new Stretch(this.#stored.layout, run));
    fetch.reads = [];
    this.#begin(fetch, stretches, { source: order.source, traceparent: traced.traceparent });
    try {
      const bytesBefore = fetch.bytes;
      for (let at = 0; at < fetch.reads.length; at++) await fetch.reads[at];
      const end = fetch.failed ?? { ok: true, bytes: 0 };
      traced.ended({ ...end, bytes: fetch.bytes - bytesBefore }, pieces.length);
      return end;
    } finally {
      fetch.stretches.clear();
      for (const index of pieces) this.#release(index, fetch);
    }
  }

  /** Reads stretches one after the other, beside whatever the fetch reads already. */
  #begin(fetch: ActiveFetch, stretches: readonly Stretch[], how: ReadHow): void {
    for (const stretch of stretches) fetch.stretches.add(stretch);
    const read = async (stretch: Stretch, arrived: () => void): Promise<FetchEnd> => {
      const { start, count } = stretch.run;
      // All of it may have been given away; a piece that was asked for long after it was promised may have come from elsewhere.
      if (count === 0 || (isAhead(fetch.order) && this.#stored.held.has(start)))
        return { ok: true, bytes: 0 };
      const end = await this.#read(fetch, stretch, { ...how, arrived });
      fetch.bytes += end.bytes;
      if (end.ok) return end;
      fetch.failed ??= end;
      fetch.abort.abort(new TransferError(end.reason, end.detail, undefined, end.retryAfterMs));
      return end;
    };
    fetch.reads.push(readsInTurn(stretches, read));
  }

  async #read(
    fetch: ActiveFetch,
    stretch: Stretch,
    { arrived, ...how }: ReadHow & { readonly arrived: () => void },
  ): Promise<FetchEnd> {
    const { order } = fetch;
    const { layout } = this.#stored;
    const isFromOrigin = how.source.kind === "origin";
    const waitMs = patienceMs(layout.pieceLengthBytes, order.lease?.durationMs ?? 0);
    // A slow origin is the only one there is: its pace is watched, not its pieces.
    const patience = isFromOrigin
      ? undefined
      : new PiecePatience(waitMs, (error) => fetch.abort.abort(error));
    if (isFromOrigin) this.#originReadCount++;
    try {
      return await runFetch({
        task: this.#stored,
        ...how,
        run: stretch.run,
        writtenBefore: (index) => this.#brokenOff.get(index),
        pieceClient: this.#services.pieceClient,
        paces: this.#services.paces,
        watch: this.#watch,
        silenceMs: isFromOrigin ? undefined : silenceMs(order.lease?.durationMs ?? 0),
        ahead: isAhead(order) ? { digestMsMax: Math.min(waitMs, DIGEST_MS_MAX) } : undefined,
        signal: fetch.abort.signal,
        events: {
          arrived: isAhead(order) ? arrived : () => undefined,
          received: (bytes) => this.#events.received(order, bytes),
          giveWay: () => this.#events.giveWay(),
          writing: (count) => patience?.writing(count),
          held: (index) => {
            patience?.pieceCame();
            this.#held(index, fetch);
          },
          partial: (index, endOffset) => {
            stretch.reached(endOffset, this.#services.clock.monotonic());
            this.#partial.set(index, endOffset);
            const from = this.#brokenOff.get(index) ?? pieceSpan(layout, index).start;
            if (endOffset - from >= ADVANCE_BYTES_MIN) fetch.hasAdvanced = true;
            this.#events.progressed();
          },
        },
      });
    } finally {
      patience?.stop();
      fetch.stretches.delete(stretch);
      if (isFromOrigin) this.#originReadCount--;
    }
  }

  /** Asks the origin for the end of a stretch, and has it read beside the rest once it is there: until then nothing is lost. */
  async #split(
    fetch: ActiveFetch,
    source: FetchSource & { readonly kind: "origin" },
    stretch: Stretch,
    pieceIndex: number,
  ): Promise<void> {
    const { signal } = fetch.abort;
    const span = stretch.spanFrom(pieceIndex);
    const start = this.#brokenOff.get(pieceIndex) ?? span.start;
    try {
      const { description } = this.#stored;
      const answer = await openSpan(source.access, description, { start, end: span.end }, signal);
      const isStillFar =
        fetch.stretches.has(stretch) &&
        stretch.covers(pieceIndex) &&
        stretch.isFarFrom(pieceIndex, this.#services.clock.monotonic());
      if (answer.start !== start || !isStillFar || signal.aborted) {
        answer.response.discard();
        // An origin that sends the whole after all is not asked for parts again.
        fetch.isSplitting = answer.start !== start;
        return;
      }
      const how = { source: { ...source, answer }, traceparent: fetch.order.traceparent };
      this.#begin(fetch, [stretch.splitAt(pieceIndex)], how);
      fetch.isSplitting = false;
      this.#events.progressed();
    } catch (error) {
      // It stays so: an origin that refuses a second read goes on with the first.
      if (!(error instanceof TransferError) && !signal.aborted) throw error;
    }
  }

  /** Forgets an ended fetch: only now does the host no longer work on the lease. */
  remove(leaseId: string): void {
    this.#fetches.delete(leaseId);
    if (!this.isIdle) return;
    clearTimeout(this.#secondLook);
    this.#secondLook = undefined;
  }

  #held(pieceIndex: number, fetch: ActiveFetch): void {
    this.#traffic.set(pieceIndex, trafficOf(fetch.order.source));
    fetch.hasAdvanced = true;
    this.#release(pieceIndex, fetch);
    this.#events.held(pieceIndex, fetch.order);
    if (fetch.lastPieceReason !== undefined) fetch.abort.abort(fetch.lastPieceReason);
  }

  #release(pieceIndex: number, fetch: ActiveFetch): void {
    if (this.#claims.get(pieceIndex) !== fetch) return;
    this.#claims.delete(pieceIndex);
    const writtenEnd = this.#partial.get(pieceIndex);
    this.#partial.delete(pieceIndex);
    if (this.#stored.held.has(pieceIndex)) this.#brokenOff.delete(pieceIndex);
    else if (writtenEnd !== undefined) this.#brokenOff.set(pieceIndex, writtenEnd);
    this.#released.notify();
  }
}
