import type { ServerResponse } from "node:http";
import type { TaskId } from "@lacewing/contracts/ids.ts";
import type { PieceArrivals } from "../../app/piece-arrivals.ts";

/** A read ahead waits so long for its piece; less than a child waits for the first byte of an answer. */
export const PARK_MS_MAX = 8_000;
/** Reads that wait at once, each with a connection and a timer; those beyond are refused at once. */
export const PARKED_COUNT_MAX = 512;
/** Reads of one child that wait at once: it asks for one piece at a time under each of its leases. */
export const PARKED_OF_CHILD_MAX = 32;

export interface ParkedReadsOptions {
  readonly arrivals: PieceArrivals;
  /** See {@link PARK_MS_MAX}. */
  readonly parkMsMax?: number | undefined;
  /** See {@link PARKED_COUNT_MAX}. */
  readonly parkedCountMax?: number | undefined;
  /** See {@link PARKED_OF_CHILD_MAX}. */
  readonly parkedOfChildMax?: number | undefined;
}

/** What a child waits for. */
export interface ParkedRead {
  readonly taskId: TaskId;
  readonly childHostId: string;
  /** Its answer. */
  readonly response: ServerResponse;
  /** Whether waiting is over; asked again with every piece of the task that comes. */
  readonly isReady: () => boolean;
}

/** Requests of children that were told to ask for a piece before it is here. */
export class ParkedReads {
  readonly #arrivals: PieceArrivals;
  readonly #parkMsMax: number;
  readonly #parkedCountMax: number;
  readonly #parkedOfChildMax: number;
  readonly #countsByChild = new Map<string, number>();
  /** How to end each wait without its piece. */
  readonly #parked = new Set<() => void>();
  #isClosed = false;

  constructor(options: ParkedReadsOptions) {
    this.#arrivals = options.arrivals;
    this.#parkMsMax = options.parkMsMax ?? PARK_MS_MAX;
    this.#parkedCountMax = options.parkedCountMax ?? PARKED_COUNT_MAX;
    this.#parkedOfChildMax = options.parkedOfChildMax ?? PARKED_OF_CHILD_MAX;
  }

  get count(): number {
    return this.#parked.size;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Resolves when the read is ready, or there is no more waiting: it took too long, too many wait, the child is gone or the server closes. */
  async until({ isReady, taskId, childHostId, response }: ParkedRead): Promise<void> {
    if (isReady() || response.destroyed || this.#isClosed) return;
    const ofChild = this.#countsByChild.get(childHostId) ?? 0;
    if (this.#parked.size >= this.#parkedCountMax || ofChild >= this.#parkedOfChildMax) return;
    await new Promise<void>((resolve) => {
      const end = (): void => {
        clearTimeout(timer);
        unlisten();
        response.off("close", end);
        if (this.#parked.delete(end)) this.#count(childHostId, -1);
        resolve();
      };
      const timer = setTimeout(end, this.#parkMsMax);
      const unlisten = this.#arrivals.listen(taskId, () => {
        if (isReady()) end();
      });
      response.on("close", end);
      this.#parked.add(end);
      this.#count(childHostId, 1);
    });
  }

  /** Ends all waits; nothing waits here any more. */
  close(): void {
    this.#isClosed = true;
    for (const end of this.#parked) end();
  }

  #count(childHostId: string, change: 1 | -1): void {
    const count = (this.#countsByChild.get(childHostId) ?? 0) + change;
    if (count > 0) this.#countsByChild.set(childHostId, count);
    else this.#countsByChild.delete(childHostId);
  }
}
