import type { Bitmap } from "@lacewing/contracts/bitmap.ts";
import { type ByteSpan, pieceAt, pieceSpan } from "@lacewing/contracts/pieces.ts";
import type { StoredTask } from "./ports.ts";

/** Where a byte came from. */
export type Traffic = "localPeer" | "remotePeer" | "backToSource";

/** Bytes by traffic. */
export type TrafficBytes = Record<Traffic, number>;

export function noBytes(): TrafficBytes {
  return { localPeer: 0, remotePeer: 0, backToSource: 0 };
}

/** What a reader needs of the download it reads from. */
export interface ReadableTask {
  readonly stored: StoredTask;
  /** Absolute offset up to which bytes can be read from `offset` without waiting. */
  readableEnd(offset: number): number;
  /** How the host came by a piece during this download; `undefined` when it was there before. */
  trafficOf(pieceIndex: number): Traffic | undefined;
  /** The failure that ends every reader. */
  readonly failure: Error | undefined;
  /** A piece that was held turned out damaged and must be fetched again. */
  pieceLost(pieceIndex: number): void;
  /** Resolves when something changed. */
  changed(signal: AbortSignal): Promise<void>;
  detach(reader: TaskReader): void;
}

/** One client's way through a task's bytes, in order, waiting for what is not there yet. */
export class TaskReader {
  /** The request it serves. */
  readonly requestId: string;
  readonly span: ByteSpan;
  /** Handed to the client so far. */
  readonly delivered: TrafficBytes = noBytes();
  readonly #task: ReadableTask;
  readonly #heldBefore: Bitmap;
  readonly #signal: AbortSignal;
  /** Bytes at and after this offset wait until the content is verified; `undefined`: none do. */
  readonly #withheldFrom: number | undefined;
  #cursor: number;
  #isDetached = false;

  constructor(options: {
    readonly requestId: string;
    readonly span: ByteSpan;
    readonly task: ReadableTask;
    readonly withheldFrom: number | undefined;
    readonly signal: AbortSignal;
  }) {
    this.requestId = options.requestId;
    this.span = options.span;
    this.#task = options.task;
    this.#withheldFrom = options.withheldFrom;
    this.#signal = options.signal;
    this.#cursor = options.span.start;
    this.#heldBefore = options.task.stored.held.clone();
  }

  /** What is still to be handed over. */
  get remaining(): ByteSpan {
    return { start: this.#cursor, end: this.span.end };
  }

  /** Goes to another place in the content, for the next part of a multi-range answer. */
  seek(offset: number): void {
    this.#cursor = offset;
  }

  /**
   * Fills `into` with the next bytes before `end`, waiting for them when necessary.
   *
   * @returns bytes filled; 0 at `end`.
   * @throws the download's failure: the client's connection must be broken off.
   */
  async read(into: Uint8Array, end: number = this.span.end): Promise<number> {
    const { stored } = this.#task;
    for (;;) {
      if (this.#cursor >= end) return 0;
      if (this.#task.failure !== undefined) throw this.#task.failure;
      const pieceIndex = pieceAt(stored.layout, this.#cursor);
      const readable = Math.min(end, this.#limit(), this.#task.readableEnd(this.#cursor));
      if (readable <= this.#cursor) {
        await this.#task.changed(this.#signal);
        continue;
      }
      if (!(await this.#isSound(pieceIndex))) continue;
      const pieceEnd = pieceSpan(stored.layout, pieceIndex).end;
      const length = Math.min(into.length, readable - this.#cursor, pieceEnd - this.#cursor);
      await stored.read(into, this.#cursor, length);
      this.#cursor += length;
      this.delivered[this.#trafficOf(pieceIndex)] += length;
      return length;
    }
  }

  detach(): void {
    if (this.#isDetached) return;
    this.#isDetached = true;
    this.#task.detach(this);
  }

  #limit(): number {
    if (this.#withheldFrom === undefined || this.#task.stored.isVerified)
      return Number.MAX_SAFE_INTEGER;
    return this.#withheldFrom;
  }

  /** Bytes that were stored before this process may have rotted: they are hashed before they are shown. */
  async #isSound(pieceIndex: number): Promise<boolean> {
    const { stored } = this.#task;
    if (!stored.held.has(pieceIndex) || stored.isProven(pieceIndex)) return true;
    if (await stored.prove(pieceIndex)) return true;
    this.#task.pieceLost(pieceIndex);
    return false;
  }

  #trafficOf(pieceIndex: number): Traffic {
    if (this.#heldBefore.has(pieceIndex)) return "localPeer";
    return this.#task.trafficOf(pieceIndex) ?? "localPeer";
  }
}
