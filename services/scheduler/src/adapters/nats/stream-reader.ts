import {
  type ConsumerMessages,
  DeliverPolicy,
  type JetStreamClient,
  type JetStreamManager,
  type JsMsg,
  type StreamInfo,
} from "@nats-io/jetstream";
import { backoffMs } from "@lacewing/runtime/backoff.ts";
import { systemClock } from "@lacewing/runtime/clock.ts";
import { PortError } from "@lacewing/runtime/errors.ts";
import type { ConnectionWatch } from "./connection-watch.ts";
import { isApiError, MESSAGE_NOT_FOUND, STREAM_NOT_FOUND } from "./nats-errors.ts";
import type { StreamRestore } from "./stream-restore.ts";

/** What reads and writes of the logs share. */
export interface NatsTools {
  readonly client: JetStreamClient;
  readonly manager: JetStreamManager;
  readonly watch: ConnectionWatch;
  readonly restore: StreamRestore;
}

/** Messages the client holds ready: at 1 MiB each the worst case is as large as the client's own limit of 64 MB allows. */
const BUFFERED_MESSAGES_MAX = 1_000;
/**
 * How often a reader looks whether its stream is still the one it reads: a stream that was deleted and made anew while the connection
 * stands would let it wait for sequences that come a second time.
 */
const STREAM_CHECK_MS = 5_000;
/** Waits between tries to open a reader. */
const REOPEN_BACKOFF = { firstMs: 50, maxMs: 2_000 } as const;

/** @throws {PortError} retryable; `log_lost` when the stream was gone. */
export async function boundsOf(
  tools: NatsTools,
  stream: string,
): Promise<{ readonly first: number; readonly last: number }> {
  try {
    const { state } = await tools.manager.streams.info(stream);
    return { first: Math.max(1, state.first_seq), last: state.last_seq };
  } catch (error) {
    throw await tools.restore.failureOf(`bounds of ${stream}`, error);
  }
}

/**
 * Messages of a stream from a sequence on, in order, for ever. After every break of the connection a new reader is opened where
 * the last one stood, because a server that was killed may have lost the end of the stream and would let an old reader wait for
 * sequences that come a second time. That the stream still continues what was read is made sure by the last message itself.
 *
 * @throws {PortError} retryable: `event_log_gap` when the stream does not continue there, `log_lost` when it was gone.
 */
export async function* readStream(
  tools: NatsTools,
  stream: string,
  fromSequence: number,
  signal: AbortSignal,
): AsyncGenerator<JsMsg> {
  const position: Position = { next: fromSequence, created: undefined, last: undefined };
  let failureCount = 0;
  while (!signal.aborted) {
    await tools.watch.connected(signal);
    if (signal.aborted) return;
    try {
      for await (const message of readUntilBreak(tools, stream, position, signal)) {
        failureCount = 0;
        position.next = message.seq + 1;
        position.last = { sequence: message.seq, atMs: message.time.getTime() };
        yield message;
      }
    } catch (error) {
      if (error instanceof PortError) throw error;
      if (isApiError(error, STREAM_NOT_FOUND)) {
        throw await tools.restore.failureOf(`read ${stream}`, error);
      }
      await pause(failureCount++, signal);
    }
  }
}

/** Where a reader stands, and what tells its stream from another one of the same name. */
interface Position {
  next: number;
  /** When the stream was made, as the server says it. */
  created: string | undefined;
  last: { readonly sequence: number; readonly atMs: number } | undefined;
}

async function* readUntilBreak(
  tools: NatsTools,
  stream: string,
  position: Position,
  signal: AbortSignal,
): AsyncGenerator<JsMsg> {
  const info = await tools.manager.streams.info(stream);
  position.created ??= info.created;
  const problem = gapIn(info, position) ?? (await overwritten(tools, stream, position));
  if (problem !== undefined) {
    throw new PortError("event_log_gap", `${stream} ${problem}`, { retryable: true });
  }
  const consumer = await tools.client.consumers.get(stream, {
    deliver_policy: DeliverPolicy.StartSequence,
    opt_start_seq: position.next,
  });
  const messages = new StoppableMessages(
    await consumer.consume({ max_messages: BUFFERED_MESSAGES_MAX }),
  );
  const stop = () => messages.stop();
  const offBreak = tools.watch.onBreak(stop);
  signal.addEventListener("abort", stop, { once: true });
  const checking = setInterval(() => {
    // Stopped, it is opened again, and finds out what is wrong.
    isOther(tools, stream, position).then(
      (isIt) => isIt && stop(),
      () => stop(),
    );
  }, STREAM_CHECK_MS);
  try {
    while (!signal.aborted) {
      const message = await messages.next();
      if (message === undefined) return;
      yield message;
    }
  } finally {
    clearInterval(checking);
    offBreak();
    signal.removeEventListener("abort", stop);
    stop();
  }
}

/** Messages of a consumer that end at once when they are stopped, also while the client tries to make the consumer again. */
class StoppableMessages {
  readonly #messages: ConsumerMessages;
  readonly #iterator: AsyncIterator<JsMsg>;
  #isStopped = false;
  #wake: () => void = () => {};

  constructor(messages: ConsumerMessages) {
    this.#messages = messages;
    this.#iterator = messages[Symbol.asyncIterator]();
  }

  stop(): void {
    this.#isStopped = true;
    this.#messages.stop();
    this.#wake();
  }

  /** @returns undefined at the end. */
  async next(): Promise<JsMsg | undefined> {
    if (this.#isStopped) return undefined;
    const { promise, resolve, reject } = Promise.withResolvers<JsMsg | undefined>();
    this.#wake = () => resolve(undefined);
    this.#iterator
      .next()
      .then((result) => resolve(result.done === true ? undefined : result.value), reject);
    return promise;
  }
}

async function isOther(tools: NatsTools, stream: string, position: Position): Promise<boolean> {
  // Read before the question: messages that come in between only make the stream longer.
  const { next } = position;
  const info = await tools.manager.streams.info(stream);
  return info.created !== position.created || info.state.last_seq + 1 < next;
}

function gapIn({ state, created }: StreamInfo, position: Position): string | undefined {
  const { next } = position;
  if (created !== position.created) return "was made anew";
  if (next <= state.last_seq + 1 && next >= state.first_seq) return undefined;
  return `has ${state.first_seq} to ${state.last_seq}, wanted from ${next}`;
}

/** Whether another message stands where the last one was read: the end was lost, and its sequences were given again. */
async function overwritten(
  tools: NatsTools,
  stream: string,
  { last }: Position,
): Promise<string | undefined> {
  if (last === undefined) return undefined;
  const found = await storedAtMs(tools, stream, last.sequence);
  if (found === undefined || found === last.atMs) return undefined;
  return `has another message ${last.sequence} than the one that was read`;
}

/** @returns undefined when the message is not stored any more. */
async function storedAtMs(
  tools: NatsTools,
  stream: string,
  sequence: number,
): Promise<number | undefined> {
  try {
    return (await tools.manager.streams.getMessage(stream, { seq: sequence }))?.time.getTime();
  } catch (error) {
    if (isApiError(error, MESSAGE_NOT_FOUND)) return undefined;
    throw error;
  }
}

async function pause(failureCount: number, signal: AbortSignal): Promise<void> {
  try {
    // Readers are few, and the connection's own jitter has spread them: no randomness needed.
    await systemClock.sleep(backoffMs(failureCount, REOPEN_BACKOFF, 1), signal);
  } catch {
    // Aborted: the loop sees it.
  }
}
