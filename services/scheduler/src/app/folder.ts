import { decodeEventMessage } from "@lacewing/contracts/events/decode.ts";
import type { Event, EventMessage } from "@lacewing/contracts/gen/lacewing/events/v1/events.ts";
import { EVENTS_STREAM } from "@lacewing/contracts/subjects.ts";
import type { Log } from "@lacewing/observability/log.ts";
import { messageOf } from "@lacewing/runtime/errors.ts";
import type { EventContext } from "../core/event-context.ts";
import { evolveEvent, evolveMessage } from "../core/evolve-event.ts";
import type { State } from "../core/state.ts";
import { DEAD_LETTERS_MAX } from "./limits.ts";
import type { DeadLetterRow, StoredEvents } from "./ports.ts";

/** Folds stored event messages; parks those with something that cannot be read or folded, so that it stops nothing else. */
export class Folder {
  readonly state: State;
  readonly #log: Log;
  readonly #onEvent: (event: Event, hostId: string) => Event;
  #deadLetters: DeadLetterRow[] = [];
  /** Stream sequence of the newest message that the state includes. */
  sequence = 0;
  lastMessageId = "";
  /** Facts folded since the projection last asked. */
  factCount = 0;

  /** @param onEvent sees each event before it is folded, and may put its trace context in. */
  constructor(state: State, log: Log, onEvent: (event: Event, hostId: string) => Event) {
    this.state = state;
    this.#log = log;
    this.#onEvent = onEvent;
  }

  /** @param atMs the time it counts as heard: now, or on a replay when the broker stored it. */
  fold(stored: StoredEvents, atMs: number): void {
    const decoded = decodeEventMessage(stored.subject, stored.data);
    const misfit = decoded.ok
      ? (this.#foldMessage(decoded.message, atMs) ?? decoded.refused)
      : decoded.reason;
    if (misfit !== undefined) this.#park(stored, misfit);
    this.sequence = stored.streamSequence;
    this.lastMessageId = stored.messageId;
  }

  takeDeadLetters(): readonly DeadLetterRow[] {
    return this.#deadLetters.splice(0);
  }

  get hasDeadLetters(): boolean {
    return this.#deadLetters.length > 0;
  }

  /** @returns why not all of it could be folded. */
  #foldMessage(message: EventMessage, atMs: number): string | undefined {
    const context: EventContext = {
      hostId: message.hostId,
      bootId: message.bootId,
      sequence: message.sequence,
      atMs,
    };
    try {
      evolveMessage(this.state, context);
      for (const event of message.events)
        evolveEvent(this.state, this.#onEvent(event, context.hostId), context);
      this.factCount += message.events.length;
      return undefined;
    } catch (error) {
      // Events before the bad one stay folded: each is a fact by itself.
      return `cannot be folded: ${messageOf(error)}`;
    }
  }

  #park(stored: StoredEvents, reason: string): void {
    const { subject, streamSequence } = stored;
    this.#log.warn("event parked", { subject, streamSequence, reason });
    if (this.#deadLetters.length >= DEAD_LETTERS_MAX) return;
    this.#deadLetters.push({
      stream: EVENTS_STREAM,
      streamSequence,
      subject,
      reason,
      payload: stored.data,
    });
  }
}
