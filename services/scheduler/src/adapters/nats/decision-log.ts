import { DecisionMessage } from "@lacewing/contracts/gen/lacewing/decisions/v1/decisions.ts";
import { DECISIONS_STREAM, decisionsSubject } from "@lacewing/contracts/subjects.ts";
import type { DecisionLog, StoredDecisions } from "../../app/ports.ts";
import { isApiError, natsError, WRONG_LAST_SEQUENCE } from "./nats-errors.ts";
import { boundsOf, type NatsTools, readStream } from "./stream-reader.ts";

/** An append that is not acknowledged for so long is repeated: an acknowledgement takes about a millisecond. */
const APPEND_TIMEOUT_MS = 2_000;

/** The log of decisions in JetStream, fenced by the expected last sequence of a slice's subject. */
export class NatsDecisionLog implements DecisionLog {
  readonly #tools: NatsTools;

  constructor(tools: NatsTools) {
    this.#tools = tools;
  }

  bounds(): Promise<{ readonly first: number; readonly last: number }> {
    return boundsOf(this.#tools, DECISIONS_STREAM);
  }

  async *readRange(fromSequence: number, toSequence: number): AsyncGenerator<StoredDecisions> {
    const { first, last } = await this.bounds();
    const from = Math.max(first, fromSequence);
    const to = Math.min(last, toSequence);
    if (from > to) return;
    const done = new AbortController();
    try {
      for await (const stored of readStream(this.#tools, DECISIONS_STREAM, from, done.signal)) {
        if (stored.seq > to) return;
        yield { message: DecisionMessage.decode(stored.data), streamSequence: stored.seq };
        if (stored.seq === to || stored.info.pending === 0) return;
      }
    } finally {
      done.abort();
    }
  }

  async last(slice: number): Promise<{ readonly sequence: number; readonly epoch: number }> {
    const found = await this.#lastMessage(slice);
    if (found === undefined) return { sequence: 0, epoch: 0 };
    return { sequence: found.sequence, epoch: DecisionMessage.decode(found.data).epoch };
  }

  async append(
    slice: number,
    message: DecisionMessage,
    expectedLastSequence: number,
    messageId: string,
  ): Promise<number | "fenced"> {
    const data = DecisionMessage.encode(message).finish();
    try {
      const ack = await this.#tools.client.publish(decisionsSubject(slice), data, {
        msgID: messageId,
        timeout: APPEND_TIMEOUT_MS,
        expect: { lastSubjectSequence: expectedLastSequence },
      });
      // A duplicate is our own append of before, whose acknowledgement was lost; the sequence is that one's.
      return ack.seq;
    } catch (error) {
      // Nobody listens on the subject: so it is also when the stream is gone, which asking for its bounds finds out.
      if (error instanceof Error && error.name === "JetStreamNotEnabled") await this.bounds();
      if (!isApiError(error, WRONG_LAST_SEQUENCE))
        throw natsError(`append to slice ${slice}`, error);
    }
    // Ours may be the message that moved the log: stored, its acknowledgement lost, its id out of the server's memory.
    const last = await this.#lastMessage(slice);
    return last?.messageId === messageId ? last.sequence : "fenced";
  }

  async #lastMessage(
    slice: number,
  ): Promise<
    { readonly sequence: number; readonly messageId: string; readonly data: Uint8Array } | undefined
  > {
    try {
      const found = await this.#tools.manager.streams.getMessage(DECISIONS_STREAM, {
        last_by_subj: decisionsSubject(slice),
      });
      return found === null
        ? undefined
        : { sequence: found.seq, messageId: found.header.get("Nats-Msg-Id"), data: found.data };
    } catch (error) {
      throw await this.#tools.restore.failureOf(`last decision of slice ${slice}`, error);
    }
  }
}
