import type { Event } from "@lacewing/contracts/gen/lacewing/events/v1/events.ts";
import { SLICE_COUNT } from "@lacewing/contracts/slices.ts";
import { description } from "./scheduler-world.ts";

/** A content that hosts exchange: no bytes of it exist. */
export interface SwarmTask {
  readonly taskId: string;
  readonly pieceCount: number;
  readonly pieceLengthBytes: number;
}

/** An uplink that sends one piece after another, in real time. */
export class Uplink {
  readonly #pieceMs: number;
  #freeAtMs = 0;

  constructor(pieceMs: number) {
    this.#pieceMs = pieceMs;
  }

  /** When it has sent another piece, and everything before. */
  send(): number {
    this.#freeAtMs = Math.max(performance.now(), this.#freeAtMs) + this.#pieceMs;
    return this.#freeAtMs;
  }
}

/** The event that describes it. */
export function describing(task: SwarmTask): NonNullable<Event["kind"]> {
  const { taskId, pieceCount, pieceLengthBytes } = task;
  const value = description({
    taskId,
    pieceLengthBytes,
    lengthBytes: pieceCount * pieceLengthBytes,
  });
  return { $case: "taskDescribed", value };
}

export function sliceOfTask({ taskId }: SwarmTask): number {
  return Number.parseInt(taskId.slice(0, 2), 16) % SLICE_COUNT;
}
