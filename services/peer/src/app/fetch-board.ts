import type { Lease } from "@lacewing/contracts/gen/lacewing/assignments/v1/assignments.ts";
import { indexesOf } from "@lacewing/contracts/pieces.ts";
import type { Clock } from "@lacewing/runtime/clock.ts";
import { readableEnd, runsToFetch } from "../core/fetch-plan.ts";
import type { FetchTracer } from "./fetch-tracer.ts";
import { type FetchEnd, type FetchSource, runFetch } from "./lease-fetch.ts";
import type { PieceClient, StoredTask } from "./ports.ts";
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
  /** The pieces it had taken on. */
  readonly pieces: readonly number[];
  readonly end: FetchEnd;
  readonly durationMs: number;
}

/** What the board tells its owner. */
export interface FetchBoardEvents {
  received(order: FetchOrder, bytes: number): void;
  held(pieceIndex: number, order: FetchOrder): void;
  /** More bytes can be read. */
  progressed(): void;
}

interface ActiveFetch {
  readonly order: FetchOrder;
  readonly pieces: readonly number[];
  readonly abort: AbortController;
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

  get leaseIds(): Iterable<string> {
    return this.#fetches.keys();
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

  /** Whether this board brought at least one piece. */
  get hasBroughtPieces(): boolean {
    return this.#traffic.size > 0;
  }

  readableEnd(offset: number): number {
    return readableEnd(
      this.#stored.layout,
      this.#stored.held,
      (index) => this.#partial.get(index),
      offset,
    );
  }

  /** Breaks fetches off. */
  abort(reason: Error, which: (order: FetchOrder) => boolean = () => true): void {
    for (const fetch of this.#fetches.values()) if (which(fetch.order)) fetch.abort.abort(reason);
  }

  /**
   * Fetches those pieces of the order that are neither held nor claimed.
   *
   * @returns how it ended, after its claims are free again; `undefined` when there was nothing to do.
   */
  async run(order: FetchOrder): Promise<EndedFetch | undefined> {
    const { source } = order;
    const isTaken = (index: number): boolean =>
      this.#stored.held.has(index) || this.#claims.has(index);
    const runs = runsToFetch(order.pieces, isTaken);
    const pieces = [...indexesOf(runs)];
    if (pieces.length === 0) return undefined;
    const fetch: ActiveFetch = { order, pieces, abort: new AbortController() };
    this.#fetches.set(order.leaseId, fetch);
    for (const index of pieces) this.#claims.set(index, fetch);
    const { clock, pieceClient, tracer } = this.#services;
    const startedAtMs = clock.monotonic();
    const traced = tracer.fetchBegan(
      source,
      order.traceparent,
      this.#stored.description.taskId,
      order.lease,
    );
    const end = await runFetch({
      task: this.#stored,
      source,
      runs,
      pieceClient,
      traceparent: traced.traceparent,
      signal: fetch.abort.signal,
      events: {
        received: (bytes) => this.#events.received(order, bytes),
        held: (index) => this.#held(index, fetch),
        partial: (index, endOffset) => {
          this.#partial.set(index, endOffset);
          this.#events.progressed();
        },
      },
    });
    traced.ended(end, pieces.length);
    for (const index of pieces) this.#release(index, fetch);
    return { order, pieces, end, durationMs: Math.round(clock.monotonic() - startedAtMs) };
  }

  /** Forgets an ended fetch: only now does the host no longer work on the lease. */
  remove(leaseId: string): void {
    this.#fetches.delete(leaseId);
  }

  #held(pieceIndex: number, fetch: ActiveFetch): void {
    this.#traffic.set(pieceIndex, trafficOf(fetch.order.source));
    this.#release(pieceIndex, fetch);
    this.#events.held(pieceIndex, fetch.order);
  }

  #release(pieceIndex: number, fetch: ActiveFetch): void {
    if (this.#claims.get(pieceIndex) !== fetch) return;
    this.#claims.delete(pieceIndex);
    this.#partial.delete(pieceIndex);
  }
}

/** The traffic that bytes of a source count as. */
export function trafficOf(source: FetchSource): Traffic {
  return source.kind === "origin" ? "backToSource" : "remotePeer";
}
