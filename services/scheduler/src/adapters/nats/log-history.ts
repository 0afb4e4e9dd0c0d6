import { type Consumer, DeliverPolicy, type JsMsg } from "@nats-io/jetstream";
import { DecisionMessage } from "@lacewing/contracts/gen/lacewing/decisions/v1/decisions.ts";
import {
  DECISIONS_STREAM,
  decisionsSubject,
  EVENTS_STREAM,
  sliceEventsFilters,
} from "@lacewing/contracts/subjects.ts";
import { PortError } from "@lacewing/runtime/errors.ts";
import type { LogHistory } from "../../app/explain/ports.ts";
import type { StoredDecisions, StoredEvents } from "../../app/ports.ts";
import { mergedInOrder } from "./merged-in-order.ts";
import { natsError } from "./nats-errors.ts";
import { boundsOf, type NatsTools } from "./stream-reader.ts";

/** Messages of one pull: at 1 MiB each the worst case is what the client's own limit of 64 MB allows. */
const PULL_MESSAGES_MAX = 64;
/** A pull is answered at once when the log has something; this long when it has lost it in between. */
const PULL_EXPIRES_MS = 1_000;

/** The logs of one slice, with what hosts said of several, as JetStream keeps them, through readers that live for one question. */
export class NatsLogHistory implements LogHistory {
  readonly #tools: NatsTools;

  constructor(tools: NatsTools) {
    this.#tools = tools;
  }

  async *decisions(slice: number, fromMs: number): AsyncGenerator<StoredDecisions> {
    for await (const stored of this.#read(DECISIONS_STREAM, decisionsSubject(slice), fromMs)) {
      yield { message: DecisionMessage.decode(stored.data), streamSequence: stored.seq };
    }
  }

  async *events(slice: number, fromMs: number): AsyncGenerator<StoredEvents> {
    this.#mustBeConnected();
    const { last } = await boundsOf(this.#tools, EVENTS_STREAM);
    // A reader of one filter each, as the oldest brokers take no second one; all to the same end.
    const readings = sliceEventsFilters(slice).map((filter) =>
      this.#read(EVENTS_STREAM, filter, fromMs, last),
    );
    for await (const stored of mergedInOrder(readings, ({ seq }) => seq)) {
      yield {
        subject: stored.subject,
        data: stored.data,
        streamSequence: stored.seq,
        messageId: stored.headers?.get("Nats-Msg-Id") ?? "",
        storedAtMs: stored.time.getTime(),
      };
    }
  }

  /** A request to a broker that is away would wait for its time-out; whoever asks here waits too. */
  #mustBeConnected(): void {
    if (this.#tools.watch.isConnected()) return;
    throw new PortError("nats_failed", "the broker is away", { retryable: true });
  }

  /** Messages of a subject stored since a point in time, up to a sequence, or to the end that the log has when it is met. */
  async *#read(
    stream: string,
    subject: string,
    fromMs: number,
    toSequence = Infinity,
  ): AsyncGenerator<JsMsg> {
    const { client } = this.#tools;
    this.#mustBeConnected();
    let consumer: Consumer | undefined;
    try {
      consumer = await client.consumers.get(stream, {
        filter_subjects: subject,
        deliver_policy: DeliverPolicy.StartTime,
        opt_start_time: new Date(Math.max(0, fromMs)).toISOString(),
      });
      for (let isAtEnd = (await consumer.info()).num_pending === 0; !isAtEnd;) {
        isAtEnd = true;
        const pulled = await consumer.fetch({
          max_messages: PULL_MESSAGES_MAX,
          expires: PULL_EXPIRES_MS,
        });
        for await (const message of pulled) {
          isAtEnd = message.info.pending === 0 || message.seq >= toSequence;
          if (message.seq <= toSequence) yield message;
          if (isAtEnd) break;
        }
      }
    } catch (error) {
      throw natsError(`history of ${subject}`, error);
    } finally {
      // What the broker does not hear of it forgets by itself after a while.
      consumer?.delete().catch(() => {});
    }
  }
}
