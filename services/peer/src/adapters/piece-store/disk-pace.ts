/** An operation that takes longer was not served from the page cache, or its thread had to wait for a core. */
const SLOW_MS = 4;
/** After a slow operation, bytes that go through the thread pool until the main thread tries again. */
const DETOUR_BYTES_MIN = 4 * 2 ** 20;
/** Each try that is slow again doubles the detour, up to this: a slow disk holds the main thread up for 4 ms in a second or more. */
const DETOUR_BYTES_MAX = 512 * 2 ** 20;

/**
 * Whether files are read, or written, on the main thread. While the page cache takes and gives the bytes that is half the CPU
 * time of the way through the thread pool (256 KiB cached: 0.06 ms against 0.13 ms and two context switches; 1 GiB to a
 * client: 0.35 CPU seconds against 0.7). A disk that keeps us waiting shows by the time an operation takes, and is left to
 * the pool for a while.
 */
export class DiskPace {
  #detourBytes = DETOUR_BYTES_MIN;
  #detourLeftBytes = 0;

  /** Whether the next operation, of `length` bytes, may be made on the main thread. */
  mayBlock(length: number): boolean {
    if (this.#detourLeftBytes <= 0) return true;
    this.#detourLeftBytes -= length;
    return false;
  }

  /** An operation on the main thread took so long. */
  took(ms: number): void {
    if (ms < SLOW_MS) {
      this.#detourBytes = DETOUR_BYTES_MIN;
      return;
    }
    this.#detourLeftBytes = this.#detourBytes;
    this.#detourBytes = Math.min(2 * this.#detourBytes, DETOUR_BYTES_MAX);
  }
}
