import type { ServerResponse } from "node:http";
import type { TaskId } from "@lacewing/contracts/ids.ts";
import type { PieceArrivals } from "../../app/piece-arrivals.ts";

/** A read ahead waits so long for its piece; less than a child waits for the first byte of an answer. */
export const PARK_MS_MAX = 8_000;
/** Reads that wait at once, each with a connection and a timer; those beyond are refused at once. */
export const PARKED_COUNT_MAX = 512;

export interface ParkedReadsOptions {
  readonly arrivals: PieceArrivals;
  /** See {@link PARK_MS_MAX}. */
  readonly parkMsMax?: number | undefined;
  /** See {@link PARKED_COUNT_MAX}. */
  readonly parkedCountMax?: number | undefined;
}

/** Requests of children that were told to ask for a piece before it is here. */
export class ParkedReads {
  readonly #arrivals: PieceArrivals;
  readonly #parkMsMax: number;
  readonly #parkedCountMax: number;
  /** How to end each wait without its piece. */
  readonly #parked = new Set<() => void>();
  #isClosed = false;

  constructor({ arrivals, parkMsMax, parkedCountMax }: ParkedReadsOptions) {
    this.#arrivals = arrivals;
    this.#parkMsMax = parkMsMax ?? PARK_MS_MAX;
    this.#parkedCountMax = parkedCountMax ?? PARKED_COUNT_MAX;
  }

  get count(): number {
    return this.#parked.size;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /**
   * Resolves when `isReady`, which is asked again with every piece of the task that comes; or when there is no more waiting: it took
   * too long, too many wait, the child is gone or the server closes.
   */
  async until(isReady: () => boolean, taskId: TaskId, response: ServerResponse): Promise<void> {
    if (isReady() || response.destroyed || this.#isClosed) return;
    if (this.#parked.size >= this.#parkedCountMax) return;
    await new Promise<void>((resolve) => {
      const end = (): void => {
        clearTimeout(timer);
        unlisten();
        response.off("close", end);
        this.#parked.delete(end);
        resolve();
      };
      const timer = setTimeout(end, this.#parkMsMax);
      const unlisten = this.#arrivals.listen(taskId, () => {
        if (isReady()) end();
      });
      response.on("close", end);
      this.#parked.add(end);
    });
  }

  /** Ends all waits; nothing waits here any more. */
  close(): void {
    this.#isClosed = true;
    for (const end of this.#parked) end();
  }
}
