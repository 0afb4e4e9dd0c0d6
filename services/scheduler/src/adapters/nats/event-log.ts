import { EVENTS_STREAM } from "@lacewing/contracts/subjects.ts";
import type { EventLog, StoredEvents } from "../../app/ports.ts";
import { boundsOf, type NatsTools, readStream } from "./stream-reader.ts";

/** The log of observations in JetStream. */
export class NatsEventLog implements EventLog {
  readonly #tools: NatsTools;

  constructor(tools: NatsTools) {
    this.#tools = tools;
  }

  bounds(): Promise<{ readonly first: number; readonly last: number }> {
    return boundsOf(this.#tools, EVENTS_STREAM);
  }

  async *read(fromSequence: number, signal: AbortSignal): AsyncGenerator<StoredEvents> {
    for await (const message of readStream(this.#tools, EVENTS_STREAM, fromSequence, signal)) {
      yield {
        subject: message.subject,
        data: message.data,
        streamSequence: message.seq,
        messageId: message.headers?.get("Nats-Msg-Id") ?? "",
        storedAtMs: message.time.getTime(),
      };
    }
  }
}
