import type { ByteSpan } from "@lacewing/contracts/pieces.ts";
import { type OriginAccess, readFromOrigin } from "./origin-access.ts";
import type { TaskDescription } from "./ports.ts";
import type { ReaderRest } from "./task-reader.ts";

/** One read of the origin under way, handed over chunk by chunk: nothing is read ahead of the client. */
interface Read {
  readonly end: number;
  /** Where the client stands. */
  offset: number;
  chunk: Uint8Array;
  /** The chunk was handed over: the next may come. */
  taken: PromiseWithResolvers<void>;
  /** A chunk came, or the read failed. */
  came: PromiseWithResolvers<void>;
  readonly abort: AbortController;
}

/**
 * The rest of a client's content straight from the origin, past a store that failed under it: as the client would have got it
 * without us. Nothing but the validator tells that it is still the same content, anchored or not.
 */
export class OriginRest implements ReaderRest {
  readonly #access: OriginAccess;
  readonly #description: TaskDescription;
  readonly #signal: AbortSignal;
  readonly #received: (bytes: number) => void;
  #read: Read | undefined;

  /** @param options `received`: told every content byte that arrived. */
  constructor(options: {
    readonly access: OriginAccess;
    readonly description: TaskDescription;
    readonly signal: AbortSignal;
    readonly received: (bytes: number) => void;
  }) {
    this.#access = options.access;
    this.#description = options.description;
    this.#signal = options.signal;
    this.#received = options.received;
  }

  /** Whether the client's own origin has named a validator to hold it to. */
  get canContinue(): boolean {
    return this.#etag !== "";
  }

  delivering(): undefined {
    return undefined;
  }

  async confirm(): Promise<void> {}

  /**
   * Fills `into` with the next bytes of the span.
   * @returns bytes filled, at least one.
   * @throws {TransferError} when the origin refuses, changed, stalls or ends early; the signal's reason when it aborts.
   */
  async read(span: ByteSpan, into: Uint8Array): Promise<number> {
    if (this.#read?.end !== span.end || this.#read.offset !== span.start) {
      this.close();
      this.#read = this.#begin(span);
    }
    const read = this.#read;
    while (read.chunk.length === 0) await read.came.promise;
    const length = Math.min(into.length, read.chunk.length);
    into.set(read.chunk.subarray(0, length));
    read.chunk = read.chunk.subarray(length);
    read.offset += length;
    if (read.chunk.length === 0) {
      read.came = Promise.withResolvers();
      read.came.promise.catch(() => {});
      read.taken.resolve();
    }
    return length;
  }

  /** Nobody wants more. */
  close(): void {
    this.#read?.abort.abort(new Error("nobody wants more"));
    this.#read = undefined;
  }

  /** What another client's origin said of anchored content holds for that origin only. */
  get #etag(): string {
    const { anchor, etag } = this.#description;
    return this.#access.validator ?? (anchor === undefined ? etag : "");
  }

  #begin(span: ByteSpan): Read {
    const read: Read = {
      end: span.end,
      offset: span.start,
      chunk: new Uint8Array(0),
      taken: Promise.withResolvers(),
      came: Promise.withResolvers(),
      abort: new AbortController(),
    };
    read.came.promise.catch(() => {});
    const signal = AbortSignal.any([this.#signal, read.abort.signal]);
    readFromOrigin({
      access: this.#access,
      // Without its anchor: the validator is asked for and compared.
      description: { ...this.#description, anchor: undefined, etag: this.#etag },
      answer: undefined,
      start: span.start,
      end: () => span.end,
      signal,
      received: this.#received,
      sink: {
        write: async (bytes) => {
          read.chunk = bytes;
          read.taken = Promise.withResolvers();
          signal.addEventListener("abort", () => read.taken.resolve(), { once: true });
          read.came.resolve();
          await read.taken.promise;
        },
        written: () => {},
      },
    }).catch((error: unknown) => read.came.reject(error));
    return read;
  }
}
