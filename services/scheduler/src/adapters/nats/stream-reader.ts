import {
  DeliverPolicy,
  type JetStreamClient,
  type JetStreamManager,
  type JsMsg,
} from "@nats-io/jetstream";
import { backoffMs } from "@lacewing/runtime/backoff.ts";
import { systemClock } from "@lacewing/runtime/clock.ts";
import { PortError } from "@lacewing/runtime/errors.ts";
import type { ConnectionWatch } from "./connection-watch.ts";
import { isApiError, STREAM_NOT_FOUND } from "./nats-errors.ts";
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
 * sequences that come a second time.
 *
 * @throws {PortError} retryable: `event_log_gap` when the stream does not continue there, `log_lost` when it was gone.
 */
export async function* readStream(
  tools: NatsTools,
  stream: string,
  fromSequence: number,
  signal: AbortSignal,
): AsyncGenerator<JsMsg> {
  let next = fromSequence;
  let failureCount = 0;
  while (!signal.aborted) {
    await tools.watch.connected(signal);
    if (signal.aborted) return;
    try {
      for await (const message of readUntilBreak(tools, stream, next, signal)) {
        failureCount = 0;
        next = message.seq + 1;
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

async function* readUntilBreak(
  tools: NatsTools,
  stream: string,
  next: number,
  signal: AbortSignal,
): AsyncGenerator<JsMsg> {
  const { state } = await tools.manager.streams.info(stream);
  if (next > state.last_seq + 1 || next < state.first_seq) {
    const message = `${stream} has ${state.first_seq} to ${state.last_seq}, wanted from ${next}`;
    throw new PortError("event_log_gap", message, { retryable: true });
  }
  const consumer = await tools.client.consumers.get(stream, {
    deliver_policy: DeliverPolicy.StartSequence,
    opt_start_seq: next,
  });
  const messages = await consumer.consume({ max_messages: BUFFERED_MESSAGES_MAX });
  const stop = () => messages.stop();
  const offBreak = tools.watch.onBreak(stop);
  signal.addEventListener("abort", stop, { once: true });
  try {
    if (!signal.aborted) yield* messages;
  } finally {
    offBreak();
    signal.removeEventListener("abort", stop);
    stop();
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
