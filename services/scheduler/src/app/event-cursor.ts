import { PortError } from "@lacewing/runtime/errors.ts";
import type { EventLog, StoredEvents } from "./ports.ts";

/** Reads the event log one message at a time, with a look at the next. One reader. */
export class EventCursor {
  readonly #iterator: AsyncIterator<StoredEvents>;
  #next: StoredEvents | undefined;
  /** What is read does not continue what the state includes. */
  hasGap = false;

  constructor(log: EventLog, fromSequence: number, signal: AbortSignal) {
    this.#iterator = log.read(fromSequence, signal)[Symbol.asyncIterator]();
  }

  /** The next message; waits for one. @throws {PortError} when the log ends, which it does when the signal aborts. */
  async peek(): Promise<StoredEvents> {
    if (this.#next !== undefined) return this.#next;
    const result = await this.#iterator.next();
    if (result.done === true) {
      throw new PortError("event_log_ended", "the event log ended", { retryable: false });
    }
    this.#next = result.value;
    return result.value;
  }

  /** Leaves behind what {@link peek} gave. */
  take(): void {
    this.#next = undefined;
  }

  async close(): Promise<void> {
    await this.#iterator.return?.();
  }
}
