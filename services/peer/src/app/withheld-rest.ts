import { createHash, type Hash } from "node:crypto";
import type { ByteSpan } from "@lacewing/contracts/pieces.ts";
import { DeliveredRecord } from "./delivered-record.ts";
import { AnchorMismatch } from "./download-errors.ts";
import type { OriginRest } from "./origin-rest.ts";
import type { StoredTask } from "./ports.ts";
import type { ReaderRest } from "./task-reader.ts";

/** What was delivered is read back from the store in such parts: each a turn of the event loop. */
const READ_BACK_BYTES = 256 * 1024;

/**
 * The rest of a whole, anchored content past a store that failed: its last bytes are handed over once everything together
 * has the anchor's digest. What the client got before is hashed as the store still has it.
 */
export class WithheldRest implements ReaderRest {
  /** The digest tells: no validator is needed. */
  readonly canContinue = true;
  readonly #rest: OriginRest;
  readonly #stored: StoredTask;
  readonly #withheldFrom: number;
  readonly #mismatched: (why: string) => void;
  /** Bytes of an incomplete piece may be written over after a client got them. */
  readonly #delivered: DeliveredRecord;
  #hash: Hash | undefined;
  /** The last bytes, once they may be handed over. */
  #last: Uint8Array | undefined;

  /** @param options `mismatched`: told when the client did not get what the anchor says. */
  constructor(
    rest: OriginRest,
    options: {
      readonly stored: StoredTask;
      readonly withheldFrom: number;
      readonly mismatched: (why: string) => void;
    },
  ) {
    this.#rest = rest;
    this.#stored = options.stored;
    this.#delivered = new DeliveredRecord(options.stored);
    this.#withheldFrom = options.withheldFrom;
    this.#mismatched = options.mismatched;
  }

  delivering(span: ByteSpan): (bytes: Uint8Array) => void {
    return this.#delivered.begin(span);
  }

  /** What is stored was checked; what the client got before a piece was lost or written over may have been something else. */
  async confirm(isRewritten: boolean): Promise<void> {
    if (!(await this.#delivered.isStored(isRewritten)))
      throw this.#mismatch("what was delivered is not stored any more");
  }

  /**
   * As {@link OriginRest.read}.
   * @throws {AnchorMismatch} when the content is not what its anchor says.
   * @throws {PortError} when the store does not return what was delivered.
   */
  async read(span: ByteSpan, into: Uint8Array): Promise<number> {
    const hash = (this.#hash ??= await this.#hashDelivered(span.start));
    const room = this.#withheldFrom - span.start;
    if (room > 0) {
      const length = await this.#rest.read(span, into.subarray(0, room));
      hash.update(into.subarray(0, length));
      return length;
    }
    this.#last ??= await this.#readLast(span, hash);
    const at = this.#last.length - (span.end - span.start);
    const length = Math.min(into.length, span.end - span.start);
    into.set(this.#last.subarray(at, at + length));
    return length;
  }

  close(): void {
    this.#rest.close();
  }

  async #hashDelivered(end: number): Promise<Hash> {
    await this.confirm(true);
    const hash = createHash("sha256");
    const buffer = Buffer.allocUnsafe(READ_BACK_BYTES);
    for (let at = 0; at < end;) {
      const length = Math.min(buffer.length, end - at);
      await this.#stored.read(buffer, at, length);
      hash.update(buffer.subarray(0, length));
      at += length;
    }
    return hash;
  }

  async #readLast(span: ByteSpan, hash: Hash): Promise<Uint8Array> {
    const last = new Uint8Array(span.end - span.start);
    for (let at = 0; at < last.length;) {
      at += await this.#rest.read({ start: span.start + at, end: span.end }, last.subarray(at));
    }
    const digest = `sha256:${hash.update(last).digest("hex")}`;
    const { anchor } = this.#stored.description;
    if (digest === anchor) return last;
    throw this.#mismatch(`the content has digest ${digest}, its anchor is ${anchor}`);
  }

  #mismatch(why: string): AnchorMismatch {
    this.#mismatched(why);
    return new AnchorMismatch(why);
  }
}
