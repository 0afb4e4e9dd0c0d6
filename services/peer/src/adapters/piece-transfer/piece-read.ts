import type { ByteSpan } from "@lacewing/contracts/pieces.ts";
import { messageOf } from "@lacewing/runtime/errors.ts";
import { TransferError, type TransferSink } from "../../app/ports.ts";
import {
  type ResponseHead,
  ResponseHeadParser,
  spanMismatch,
} from "../../core/piece-http-response.ts";
import { WrittenPrefix } from "./written-prefix.ts";

/** Writes under way per read; beyond, the socket is not read until one has ended. */
export const WRITES_IN_FLIGHT_MAX = 4;
/** The body of a refusal is read to keep the connection; a longer one costs more than a new connection. */
const REFUSAL_BODY_BYTES_MAX = 4 * 1024;

/** What became of the bytes that were handed in. */
export interface Taken {
  /** The buffer belongs to a write until {@link ReadEvents.onWriteEnded}. */
  readonly isHeld: boolean;
}

export interface ReadEvents {
  /** A write of part of `owner` has ended, well or not: the buffer is free. */
  onWriteEnded(owner: Buffer): void;
  /** The read is over; with an error, the connection is of no more use unless `isClean`. */
  onEnd(error: Error | undefined, isClean: boolean): void;
}

/** The answer to one request: takes the head apart, checks that it is what was asked for, writes the body down. */
export class PieceRead {
  readonly #span: ByteSpan;
  readonly #sink: TransferSink;
  readonly #events: ReadEvents;
  readonly #parser = new ResponseHeadParser();
  readonly #prefix = new WrittenPrefix();
  #head: ResponseHead | undefined;
  /** Offset in the content of the next body byte. */
  #nextOffset: number;
  /** Bytes of a refusal's body still to come. */
  #refusalLeft = 0;
  #writeCount = 0;
  #isOver = false;

  constructor(span: ByteSpan, sink: TransferSink, events: ReadEvents) {
    this.#span = span;
    this.#sink = sink;
    this.#events = events;
    this.#nextOffset = span.start;
  }

  /** Whether the parent has answered with anything at all. */
  get hasStarted(): boolean {
    return this.#parser.hasStarted;
  }

  /** Whether our own writing is what holds the read up. */
  get isFull(): boolean {
    return this.#writeCount >= WRITES_IN_FLIGHT_MAX;
  }

  /** Every byte has arrived; only our own writes are still under way. */
  get hasAllBytes(): boolean {
    return this.#head?.status === 206 && this.#nextOffset === this.#span.end;
  }

  /** How far the body has come, for messages. */
  get progress(): string {
    return `${this.#nextOffset - this.#span.start} of ${this.#span.end - this.#span.start} bytes`;
  }

  /** Takes the next bytes of the connection, which lie in `owner`. */
  push(bytes: Buffer, owner: Buffer): Taken {
    if (this.#isOver) return { isHeld: false };
    let body = bytes;
    if (this.#head === undefined) {
      const progress = this.#parser.push(bytes);
      if (progress.kind === "more") return { isHeld: false };
      if (progress.kind === "refused") return this.#fail("malformed", progress.why);
      this.#head = progress.head;
      body = bytes.subarray(progress.consumed);
      const refusal = this.#begin(progress.head);
      if (refusal !== undefined) return this.#fail("malformed", refusal);
    }
    return this.#head.status === 206 ? this.#takeContent(body, owner) : this.#takeRefusal(body);
  }

  /** Ends the read from outside: the connection was lost, or nobody wants it any more. */
  abort(error: Error): void {
    this.#end(error, false);
  }

  /** @returns why the head cannot be the answer to what was asked. */
  #begin(head: ResponseHead): string | undefined {
    if (head.status === 206) return spanMismatch(head, this.#span);
    if (head.contentLength > REFUSAL_BODY_BYTES_MAX) {
      return `status ${head.status} with a body of ${head.contentLength} bytes`;
    }
    this.#refusalLeft = head.contentLength;
    return undefined;
  }

  #takeContent(body: Buffer, owner: Buffer): Taken {
    if (body.length > this.#span.end - this.#nextOffset) {
      return this.#fail("malformed", "more bytes than Content-Length says");
    }
    if (body.length === 0) return { isHeld: false };
    const offset = this.#nextOffset;
    this.#nextOffset += body.length;
    void this.#write(body, offset, owner);
    return { isHeld: true };
  }

  async #write(body: Buffer, offset: number, owner: Buffer): Promise<void> {
    this.#writeCount++;
    const ended = this.#prefix.begin(offset + body.length);
    try {
      await this.#sink.write(body, offset);
      const reached = ended();
      if (reached !== undefined && !this.#isOver) this.#sink.written(reached);
    } catch (error) {
      const why = `cannot store received bytes: ${messageOf(error)}`;
      this.#end(new TransferError("storage", why, error), false);
    }
    this.#writeCount--;
    this.#events.onWriteEnded(owner);
    if (this.#writeCount === 0 && this.hasAllBytes) {
      this.#end(undefined, this.#head?.closes === false);
    }
  }

  #takeRefusal(body: Buffer): Taken {
    const status = this.#head?.status ?? 0;
    if (body.length > this.#refusalLeft) {
      return this.#fail("malformed", `status ${status} with more bytes than Content-Length says`);
    }
    this.#refusalLeft -= body.length;
    if (this.#refusalLeft > 0) return { isHeld: false };
    const retryAfter = this.#head?.retryAfterSeconds;
    const wait = retryAfter === undefined ? "" : `, retry after ${retryAfter} s`;
    const reason = status === 404 ? "not_held" : status === 503 ? "busy" : "malformed";
    const error = new TransferError(reason, `the parent answered with status ${status}${wait}`);
    this.#end(error, this.#head?.closes === false);
    return { isHeld: false };
  }

  #fail(reason: "malformed", why: string): Taken {
    this.#end(new TransferError(reason, `the parent's answer is refused: ${why}`), false);
    return { isHeld: false };
  }

  #end(error: Error | undefined, isClean: boolean): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#events.onEnd(error, isClean);
  }
}
