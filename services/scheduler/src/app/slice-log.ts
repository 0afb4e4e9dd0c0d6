import {
  type Decision,
  DecisionMessage,
} from "@lacewing/contracts/gen/lacewing/decisions/v1/decisions.ts";
import { SLICE_COUNT } from "@lacewing/contracts/slices.ts";
import { PortError } from "@lacewing/runtime/errors.ts";
import { DECISION_MESSAGE_BYTES_MAX, FENCE_ATTEMPTS_MAX } from "./limits.ts";
import type { DecisionLog } from "./ports.ts";
import { retrying, type RetryTools } from "./retry.ts";

/** The format of decision messages that this code writes. */
export const DECISION_VERSION = 1;

/**
 * One slice's end of the decision log. At most one append is under way; whoever appends in between has fenced us.
 */
export class SliceLog {
  readonly slice: number;
  readonly epoch: number;
  readonly #log: DecisionLog;
  readonly #tools: RetryTools;
  /** Prefix of message ids: of this process and session, so that a retry repeats an id and nothing else does. */
  readonly #writerId: string;
  #lastSequence = 0;
  #appendCount = 0;
  #isBusy = false;

  constructor(
    slice: number,
    epoch: number,
    ports: { readonly log: DecisionLog; readonly writerId: string; readonly tools: RetryTools },
  ) {
    this.slice = slice;
    this.epoch = epoch;
    this.#log = ports.log;
    this.#writerId = ports.writerId;
    this.#tools = ports.tools;
  }

  get isBusy(): boolean {
    return this.#isBusy;
  }

  /** Stream sequence of the slice's newest message. */
  get lastSequence(): number {
    return this.#lastSequence;
  }

  /**
   * Makes us the newest writer: after this no append of a former owner succeeds.
   *
   * @returns false when somebody else keeps appending.
   */
  async acquire(
    ownerId: string,
    eventsSequence: number,
    nowMs: number,
    signal: AbortSignal,
  ): Promise<boolean> {
    for (let attempt = 0; attempt < FENCE_ATTEMPTS_MAX; attempt++) {
      const last = await retrying("read decision log", this.#tools, signal, () =>
        this.#log.last(this.slice),
      );
      this.#lastSequence = last.sequence;
      const acquired: Decision = { kind: { $case: "sliceAcquired", value: { ownerId } } };
      const result = await this.append([acquired], eventsSequence, nowMs, signal);
      if (result === "appended") return true;
    }
    return false;
  }

  /** Appends decisions made after `eventsSequence`, in as many messages as their size needs. Repeats until it is known. */
  async append(
    decisions: readonly Decision[],
    eventsSequence: number,
    nowMs: number,
    signal: AbortSignal,
  ): Promise<"appended" | "fenced"> {
    this.#isBusy = true;
    try {
      for (const part of this.#parts(decisions, eventsSequence, nowMs)) {
        const messageId = `${this.#writerId}:${this.slice}:${this.epoch}:${++this.#appendCount}`;
        const result = await retrying("append decisions", this.#tools, signal, () =>
          this.#log.append(this.slice, part, this.#lastSequence, messageId),
        );
        if (result === "fenced") return "fenced";
        this.#lastSequence = result;
      }
      return "appended";
    } finally {
      this.#isBusy = false;
    }
  }

  #parts(
    decisions: readonly Decision[],
    eventsSequence: number,
    nowMs: number,
  ): readonly DecisionMessage[] {
    const message: DecisionMessage = {
      version: DECISION_VERSION,
      slice: this.slice,
      epoch: this.epoch,
      eventsSequence,
      decidedAtMs: Math.round(nowMs),
      decisions: [...decisions],
    };
    const isSmall = DecisionMessage.encode(message).finish().length <= DECISION_MESSAGE_BYTES_MAX;
    if (isSmall || decisions.length < 2) return [message];
    const middle = decisions.length >> 1;
    return [
      ...this.#parts(decisions.slice(0, middle), eventsSequence, nowMs),
      ...this.#parts(decisions.slice(middle), eventsSequence, nowMs),
    ];
  }
}

/** The epoch under which a slice is ours. @throws {PortError} when one is missing. */
export function epochOf(epochs: ReadonlyMap<number, number>, slice: number): number {
  const epoch = epochs.get(slice);
  if (epoch === undefined) {
    const message = `slice ${slice} of ${SLICE_COUNT} is not ours`;
    throw new PortError("slice_not_owned", message, { retryable: false });
  }
  return epoch;
}
