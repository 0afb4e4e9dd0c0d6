/** One read of the flow and one write to the socket. */
const BUFFER_BYTES = 256 * 1024;
/**
 * Buffers of full length in use at once: 128 MiB for 256 clients. More clients go on with short ones, so that memory stays within
 * bounds however slowly they read, and nobody waits for the buffers of those who do not.
 */
const FULL_BUFFER_COUNT_MAX = 512;
/** Two for each of the 4096 clients that are connected at most by default: another 128 MiB. */
const SHORT_BUFFER_BYTES = 16 * 1024;
/** Buffers kept for the next download: 16 MiB. */
const POOLED_BUFFER_COUNT_MAX = 64;

/** The memory that all deliveries share; buffers are used again so that downloads do not feed the garbage collector. */
export class BufferPool {
  readonly #free: Uint8Array[] = [];
  #fullCount = 0;

  /** A buffer for one delivery, to be given back or forgotten. */
  take(): Uint8Array {
    if (this.#fullCount >= FULL_BUFFER_COUNT_MAX) return Buffer.allocUnsafeSlow(SHORT_BUFFER_BYTES);
    this.#fullCount++;
    return this.#free.pop() ?? Buffer.allocUnsafeSlow(BUFFER_BYTES);
  }

  /** Nobody reads or writes it any more. */
  give(buffer: Uint8Array): void {
    this.forget(buffer);
    const isKept = buffer.length === BUFFER_BYTES && this.#free.length < POOLED_BUFFER_COUNT_MAX;
    if (isKept) this.#free.push(buffer);
  }

  /** Somebody may still write it, whose connection is being broken off: it is left to the collector. */
  forget(buffer: Uint8Array): void {
    if (buffer.length === BUFFER_BYTES) this.#fullCount--;
  }
}
