import { BufferPool, TRANSFER_BUFFER_BYTES } from "../buffer-pool.ts";

/**
 * Buffers of full length in use at once: 128 MiB for 256 clients. More clients go on with short ones, so that memory stays within
 * bounds however slowly they read, and nobody waits for the buffers of those who do not.
 */
const FULL_BUFFER_COUNT_MAX = 512;
/** Two for each of the 4096 clients that are connected at most by default: another 128 MiB. */
const SHORT_BUFFER_BYTES = 16 * 1024;

/** The memory that all deliveries share. */
export class DeliveryBuffers {
  readonly #pool = new BufferPool();
  #fullCount = 0;

  /** A buffer for one delivery, to be given back or forgotten. */
  take(): Buffer {
    if (this.#fullCount >= FULL_BUFFER_COUNT_MAX) return Buffer.allocUnsafeSlow(SHORT_BUFFER_BYTES);
    this.#fullCount++;
    return this.#pool.take();
  }

  /** Nobody reads or writes it any more. */
  give(buffer: Buffer): void {
    this.forget(buffer);
    if (buffer.length === TRANSFER_BUFFER_BYTES) this.#pool.give(buffer);
  }

  /** Somebody may still write it, whose connection is being broken off: it is left to the collector. */
  forget(buffer: Buffer): void {
    if (buffer.length === TRANSFER_BUFFER_BYTES) this.#fullCount--;
  }
}
