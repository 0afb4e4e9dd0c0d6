import type { Clock } from "@lacewing/runtime/clock.ts";

/** Contents that this host completes at once without a client that waits; more are left as they are. */
const BACKGROUND_COUNT_MAX = 4;
/** A content that is not complete by then is left as it is: the credentials of a client that is gone are used no longer. */
export const BACKGROUND_MS_MAX = 4 * 3_600_000;
/** While a client of this host waits for bytes, what no client waits for takes a chunk of some 64 KiB this often. */
const GIVE_WAY_MS = 50;

/** What this host fetches although no client waits for it: how much at once, and how it gives way to clients. */
export class Background {
  readonly #clock: Clock;
  #count = 0;
  #waitingCount = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** @returns whether there is room for another; then {@link ended} must follow. */
  begin(): boolean {
    if (this.#count >= BACKGROUND_COUNT_MAX) return false;
    this.#count++;
    return true;
  }

  ended(): void {
    this.#count--;
  }

  /** A client of this host waits for `bytes` to come. */
  async clientWaits(bytes: Promise<void>): Promise<void> {
    this.#waitingCount++;
    try {
      await bytes;
    } finally {
      this.#waitingCount--;
    }
  }

  /** A moment's wait while a client waits; `undefined`: none. */
  giveWay(): Promise<void> | undefined {
    return this.#waitingCount > 0 ? this.#clock.sleep(GIVE_WAY_MS) : undefined;
  }
}
