import type { Lease } from "@lacewing/contracts/gen/lacewing/assignments/v1/assignments.ts";
import type { PieceRange } from "@lacewing/contracts/gen/lacewing/decisions/v1/decisions.ts";
import { indexesOf, pieceAt, pieceSpan } from "@lacewing/contracts/pieces.ts";
import type { Clock } from "@lacewing/runtime/clock.ts";
import { messageOf } from "@lacewing/runtime/errors.ts";
import { runsToFetch } from "../core/fetch-plan.ts";
import type { FetchTracer } from "./fetch-tracer.ts";
import { type FetchEnd, type FetchSource, runFetch } from "./lease-fetch.ts";
import { type PieceClient, type StoredTask, TransferError } from "./ports.ts";
import { patienceMs } from "../core/lease-fit.ts";
import { Progress } from "./progress.ts";
import type { Traffic } from "./task-reader.ts";

/** What is to be fetched, and why. */
export interface FetchOrder {
  /** A lease's id, or a name of our own for what was not leased. */
  readonly leaseId: string;
  readonly source: FetchSource;
  readonly pieces: readonly number[];
  /** `undefined`: on our own account, because the scheduler is silent. */
  readonly lease: Lease | undefined;
  readonly traceparent: string;
}

/** How a fetch ended, with what it was. */
export interface EndedFetch {
  readonly order: FetchOrder;
  readonly end: FetchEnd;
  readonly durationMs: number;
  /** It brought at least {@link ADVANCE_BYTES_MIN} bytes that were not there before. */
  readonly hasAdvanced: boolean;
}

/** A read that brings less is no progress: an origin that gives a byte at a time must not be asked for ever. */
const ADVANCE_BYTES_MIN = 64 * 1024;

/** What the board tells its owner. */
export interface FetchBoardEvents {
  received(order: FetchOrder, bytes: number): void;
  held(pieceIndex: number, order: FetchOrder): void;
  /** More bytes can be read. */
  progressed(): void;
}

interface ActiveFetch {
  readonly order: FetchOrder;
  readonly abort: AbortController;
  /** Why it ends with the piece that is arriving. */
  lastPieceReason: Error | undefined;
  /** It brought enough that trying again makes sense. */
  hasAdvanced: boolean;
}

/** The fetches of one task under way: which pieces they have taken on, and how far the origin has written into a piece. */
export class FetchBoard {
  readonly #stored: StoredTask;
  readonly #services: {
    readonly pieceClient: PieceClient;
    readonly tracer: FetchTracer;
    readonly clock: Clock;
  };
  readonly #events: FetchBoardEvents;
  readonly #fetches = new Map<string, ActiveFetch>();
  readonly #claims = new Map<number, ActiveFetch>();
  readonly #partial = new Map<number, number>();
  readonly #traffic = new Map<number, Traffic>();
  /** Pieces got free, or are held. */
  /** Up to where the origin wrote pieces before its read was broken off. */
  readonly #brokenOff = new Map<number, number>();
  readonly #released = new Progress();

  constructor(
    stored: StoredTask,
    services: {
      readonly pieceClient: PieceClient;
      readonly tracer: FetchTracer;
      readonly clock: Clock;
    },
    events: FetchBoardEvents,
  ) {
    this.#stored = stored;
    this.#services = services;
    this.#events = events;
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
    for (const fetch of this.#fetches.values()) if (which(fetch.order)) return true;
    return false;
  }

  /** Breaks fetches off. */
  abort(reason: Error, which: (order: FetchOrder) => boolean = () => true): void {
    for (const fetch of this.#fetches.values()) if (which(fetch.order)) fetch.abort.abort(reason);
  }

  /** Breaks fetches off too, but lets the origin finish a piece that it has begun: a reader of small ranges comes back for it. */
  windDown(reason: Error, which: (order: FetchOrder) => boolean): void {
    for (const fetch of this.#fetches.values()) {
      if (!which(fetch.order)) continue;
      const isInPiece = [...this.#partial.keys()].some(
        (index) => this.#claims.get(index) === fetch,
      );
      if (isInPiece) fetch.lastPieceReason = reason;
      else fetch.abort.abort(reason);
    }
  }

  /** Somebody wants again what was being wound down. */
  keepGoing(): void {
    for (const fetch of this.#fetches.values()) fetch.lastPieceReason = undefined;
  }

  /**
   * Fetches the pieces of the order that are not held. Pieces that another fetch has under way are waited for, and taken
   * over when that one fails: a lease that ended before its pieces are here would be granted again at once.
   *
   * @returns how it ended, after its claims are free again.
   */
  async run(order: FetchOrder): Promise<EndedFetch> {
    const fetch: ActiveFetch = {
      order,
      abort: new AbortController(),
      lastPieceReason: undefined,
      hasAdvanced: false,
    };
    this.#fetches.set(order.leaseId, fetch);
    const { clock } = this.#services;
    const startedAtMs = clock.monotonic();
    let bytes = 0;
    let end: FetchEnd | undefined;
    while (end === undefined) {
      const missing = order.pieces.filter((index) => !this.#stored.held.has(index));
      const runs = runsToFetch(missing, (index) => this.#claims.has(index));
      if (missing.length === 0) end = { ok: true, bytes: 0 };
      else if (fetch.abort.signal.aborted) end = cancelled(fetch.abort.signal.reason);
      else if (runs.length > 0) {
        const fetched = await this.#fetchRuns(fetch, runs);
        bytes += fetched.bytes;
        // Whoever breaks a fetch off after its last piece was held comes too late to make a failure of it.
        const isDone = order.pieces.every((index) => this.#stored.held.has(index));
        if (!fetched.ok && !isDone) end = fetched;
        else if (missing.every((index) => !this.#stored.held.has(index))) end = fruitless();
      } else {
        // Ends by the abort as well; the loop then sees it.
        await this.#released.wait(fetch.abort.signal).catch(() => undefined);
      }
    }
    return {
      order,
      end: { ...end, bytes },
      hasAdvanced: fetch.hasAdvanced,
      durationMs: Math.round(clock.monotonic() - startedAtMs),
    };
  }

  async #fetchRuns(fetch: ActiveFetch, runs: readonly PieceRange[]): Promise<FetchEnd> {
    const { order } = fetch;
    const pieces = [...indexesOf(runs)];
    for (const index of pieces) {
      this.#claims.set(index, fetch);
      // Its bytes may come to lie over those of the origin.
      if (order.source.kind === "parent") this.#brokenOff.delete(index);
    }
    const { pieceClient, tracer } = this.#services;
    const { taskId } = this.#stored.description;
    const waitMs = patienceMs(this.#stored.layout.pieceLengthBytes, order.lease?.durationMs ?? 0);
    const patience = setTimeout(() => {
      const text = `no piece came for ${waitMs} ms`;
      fetch.abort.abort(new TransferError("stalled", text));
    }, waitMs);
    const traced = tracer.fetchBegan(order.source, order.traceparent, taskId, order.lease);
    try {
      const end = await runFetch({
        task: this.#stored,
        source: order.source,
        runs,
        writtenBefore: (index) => this.#brokenOff.get(index),
        pieceClient,
        traceparent: traced.traceparent,
        signal: fetch.abort.signal,
        events: {
          received: (bytes) => this.#events.received(order, bytes),
          held: (index) => {
            patience.refresh();
            this.#held(index, fetch);
          },
          partial: (index, endOffset) => {
            this.#partial.set(index, endOffset);
            const { start } = pieceSpan(this.#stored.layout, index);
            const from = this.#brokenOff.get(index) ?? start;
            if (endOffset - from >= ADVANCE_BYTES_MIN) fetch.hasAdvanced = true;
            this.#events.progressed();
          },
        },
      });
      traced.ended(end, pieces.length);
      return end;
    } finally {
      clearTimeout(patience);
      for (const index of pieces) this.#release(index, fetch);
    }
  }

  /** Forgets an ended fetch: only now does the host no longer work on the lease. */
  remove(leaseId: string): void {
    this.#fetches.delete(leaseId);
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

/** A source that says it is done and brought nothing would be asked again at once, for ever. */
function fruitless(): FetchEnd {
  const detail = "the read ended well and brought no piece";
  return { ok: false, bytes: 0, reason: "malformed", detail, wrongPiece: undefined };
}

function cancelled(reason: unknown): FetchEnd {
  const detail = messageOf(reason);
  return { ok: false, bytes: 0, reason: "cancelled", detail, wrongPiece: undefined };
}

/** The traffic that bytes of a source count as. */
export function trafficOf(source: FetchSource): Traffic {
  return source.kind === "origin" ? "backToSource" : "remotePeer";
}

/** Not what a seed host was given to keep a copy of its own. */
export function isForClients(order: FetchOrder): boolean {
  return order.lease === undefined || order.lease.requestId !== "";
}
