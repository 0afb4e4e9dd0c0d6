import type { Bitmap } from "@lacewing/contracts/bitmap.ts";
import { type ByteSpan, pieceAt, pieceCountOf } from "@lacewing/contracts/pieces.ts";
import { PortError } from "@lacewing/runtime/errors.ts";
import { StorageFailure } from "./download-errors.ts";
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
  /** Absolute offset, in the piece of `offset`, up to which bytes can be read without waiting. */
  readableEnd(offset: number): number;
  /** How the host came by a piece during this download; `undefined` when it was there before. */
  trafficOf(pieceIndex: number): Traffic | undefined;
  /** Whether bytes that a reader handed on may have been written over with others since. */
  readonly hasRewritten: boolean;
  /** The failure that ends every reader. */
  readonly failure: Error | undefined;
  /** A piece that was held turned out damaged and must be fetched again. */
  pieceLost(pieceIndex: number): void;
  /** A reader has come to a piece that it cannot read yet. Resolves when something changed. */
  changed(pieceIndex: number, signal: AbortSignal): Promise<void>;
  /** `isComplete`: the reader's client has everything it wanted. */
  detach(reader: TaskReader, isComplete: boolean): void;
}

/** Where a reader's bytes come from when the store fails under it. */
export interface ReaderRest {
  /** Whether what it brings is surely of the content that the client got so far, or is checked before its end. */
  readonly canContinue: boolean;
  /** A span is about to be read from the store. @returns to be told its bytes, if they are to be remembered. */
  delivering(span: ByteSpan): ((bytes: Uint8Array) => void) | undefined;
  /**
   * The client of a verified content is about to get its last bytes: what it got before has to be what is stored.
   *
   * @param isRewritten whether bytes of pieces that were not whole may have been written over since
   * @throws the reason why it is not.
   */
  confirm(isRewritten: boolean): Promise<void>;
  /** Fills `into` with the next bytes of the span. @returns bytes filled, at least one. */
  read(span: ByteSpan, into: Uint8Array): Promise<number>;
  close(): void;
}

/** One client's way through a task's bytes, in order, waiting for what is not there yet. */
export class TaskReader {
  /** What the client wants, in the order it is handed over. */
  readonly spans: readonly ByteSpan[];
  /** Handed to the client so far. */
  readonly delivered: TrafficBytes = noBytes();
  /** Pieces whose bytes count as this host's own. */
  readonly heldBefore: Bitmap;
  readonly #task: ReadableTask;
  readonly #signal: AbortSignal;
  /** Bytes at and after this offset wait until the content is verified; `undefined`: none do. */
  readonly #withheldFrom: number | undefined;
  /** Whether the whole was verified before the first byte was handed over. */
  readonly #wasVerified: boolean;
  /** Where its bytes come from when the store fails; `undefined`: nowhere. */
  readonly #rest: ReaderRest | undefined;
  #spanIndex = 0;
  #cursor: number;
  #isDetached = false;

  constructor(options: {
    readonly spans: readonly ByteSpan[];
    readonly task: ReadableTask;
    readonly withheldFrom: number | undefined;
    readonly signal: AbortSignal;
    /** Pieces that were here before anything was fetched for this client; default: those held now. */
    readonly heldBefore?: Bitmap | undefined;
    readonly rest?: ReaderRest | undefined;
  }) {
    this.spans = options.spans;
    this.#task = options.task;
    this.#withheldFrom = options.withheldFrom;
    this.#signal = options.signal;
    this.#rest = options.rest;
    this.#wasVerified = options.task.stored.isVerified;
    this.#cursor = options.spans[0]?.start ?? 0;
    this.heldBefore = (options.heldBefore ?? options.task.stored.held).clone();
  }

  /** Whether its last bytes wait for the whole content to be verified. */
  get isWithheld(): boolean {
    return this.#withheldFrom !== undefined && !this.#task.stored.isVerified;
  }

  /** What is still to be handed over. */
  get remaining(): readonly ByteSpan[] {
    const current = this.spans[this.#spanIndex];
    if (current === undefined) return [];
    const rest = { start: this.#cursor, end: current.end };
    return [rest, ...this.spans.slice(this.#spanIndex + 1)];
  }

  /** Goes on with another of the spans, for the next part of a multi-range answer. */
  enter(spanIndex: number): void {
    this.#spanIndex = spanIndex;
    this.#cursor = this.spans[spanIndex]?.start ?? 0;
  }

  /** A piece that was here before was lost: what comes instead is counted by where it comes from. */
  forgetHeld(pieceIndex: number): void {
    this.heldBefore.delete(pieceIndex);
  }

  /**
   * Fills `into` with the next bytes of the span, waiting for them when necessary.
   *
   * @returns bytes filled; 0 at the end of the span.
   * @throws the download's failure: the client's connection must be broken off.
   */
  async read(into: Uint8Array): Promise<number> {
    const { stored } = this.#task;
    for (;;) {
      const end = this.spans[this.#spanIndex]?.end ?? 0;
      if (this.#cursor >= end) return 0;
      const { failure } = this.#task;
      if (failure !== undefined) return this.#readPast(failure, end, into);
      const pieceIndex = pieceAt(stored.layout, this.#cursor);
      const readable = Math.min(end, this.#limit(), this.#task.readableEnd(this.#cursor));
      if (readable <= this.#cursor) {
        await this.#task.changed(pieceIndex, this.#signal);
        continue;
      }
      if (!this.#isSound(pieceIndex)) {
        // Whatever was true before the proof may not be true after it: look again.
        await this.#prove(pieceIndex);
        continue;
      }
      if (this.#cursor === this.#withheldFrom && !this.#wasVerified)
        await this.#rest?.confirm(this.#task.hasRewritten);
      const length = Math.min(into.length, readable - this.#cursor);
      // Asked before the read: a fetch that ends meanwhile would no longer be known.
      const traffic = this.#trafficOf(pieceIndex);
      const delivered = this.#rest?.delivering({ start: this.#cursor, end: this.#cursor + length });
      if (!(await this.#readStored(into, length, pieceIndex))) continue;
      delivered?.(into.subarray(0, length));
      this.#cursor += length;
      this.delivered[traffic] += length;
      return length;
    }
  }

  /** The whole content, when the client wants just that, and it is verified and in memory: it counts as handed over. Not to be changed. */
  takeWhole(): Uint8Array | undefined {
    const { stored, failure } = this.#task;
    const { lengthBytes } = stored.layout;
    const [span, ...others] = this.spans;
    const isWhole = span?.start === 0 && span.end === lengthBytes && others.length === 0;
    if (!isWhole || this.#cursor > 0 || failure !== undefined) return undefined;
    if (!stored.isVerified || !stored.held.isFull || pieceCountOf(stored.layout) > 1)
      return undefined;
    const whole = stored.inMemory?.();
    if (whole === undefined) return undefined;
    this.#cursor = lengthBytes;
    this.delivered[this.#trafficOf(0)] += lengthBytes;
    return whole;
  }

  detach(isComplete: boolean): void {
    if (this.#isDetached) return;
    this.#isDetached = true;
    this.#rest?.close();
    this.#task.detach(this, isComplete);
  }

  /** @returns false when the piece cannot be read any more and was given up: it is fetched again. */
  async #readStored(into: Uint8Array, length: number, pieceIndex: number): Promise<boolean> {
    const { stored } = this.#task;
    try {
      await stored.read(into, this.#cursor, length);
      return true;
    } catch (error) {
      if (!(error instanceof PortError) || !stored.held.has(pieceIndex)) throw error;
      await stored.recheck([pieceIndex]);
      if (stored.held.has(pieceIndex)) throw error;
      this.#task.pieceLost(pieceIndex);
      return false;
    }
  }

  /** A store that fails is no reason to fail the client: the rest comes straight from the origin. */
  async #readPast(failure: Error, end: number, into: Uint8Array): Promise<number> {
    if (!(failure instanceof StorageFailure) || this.#rest?.canContinue !== true) throw failure;
    const length = await this.#rest.read({ start: this.#cursor, end }, into);
    this.#cursor += length;
    this.delivered.backToSource += length;
    return length;
  }

  #limit(): number {
    const from = this.#withheldFrom ?? 0;
    // Before the last bytes there is something to confirm.
    const isStop = this.isWithheld || (!this.#wasVerified && this.#cursor < from);
    return isStop ? from : Number.MAX_SAFE_INTEGER;
  }

  /** Bytes that were stored before this process may have rotted: they are hashed before they are shown. */
  #isSound(pieceIndex: number): boolean {
    const { stored } = this.#task;
    return !stored.held.has(pieceIndex) || stored.isProven(pieceIndex);
  }

  async #prove(pieceIndex: number): Promise<void> {
    const { stored } = this.#task;
    if (await stored.prove(pieceIndex)) return;
    if (!stored.held.has(pieceIndex)) return this.#task.pieceLost(pieceIndex);
    throw new PortError("store_read_failed", "the task was removed from the store", {
      retryable: false,
    });
  }

  #trafficOf(pieceIndex: number): Traffic {
    if (this.heldBefore.has(pieceIndex)) return "localPeer";
    return this.#task.trafficOf(pieceIndex) ?? "localPeer";
  }
}
