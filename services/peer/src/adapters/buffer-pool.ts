/**
 * The size of every transfer buffer: 256 KiB moved most bytes per second of CPU time of 64 KiB, 256 KiB and 1 MiB, reading a
 * cached file into a socket.
 */
export const TRANSFER_BUFFER_BYTES = 256 * 1024;

/** Buffers kept for the next user; more are left to the garbage collector. 16 MiB. */
const KEPT_COUNT_MAX = 64;

/** Buffers outside the JavaScript heap, used again and again: allocating one per read lets memory balloon between collections. */
export class BufferPool {
  readonly #kept: Buffer[] = [];

  take(): Buffer {
    return this.#kept.pop() ?? Buffer.allocUnsafeSlow(TRANSFER_BUFFER_BYTES);
  }

  /** Nobody may use the buffer any more. */
  give(buffer: Buffer): void {
    if (this.#kept.length < KEPT_COUNT_MAX) this.#kept.push(buffer);
  }
}
