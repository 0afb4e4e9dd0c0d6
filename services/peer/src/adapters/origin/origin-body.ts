import type { IncomingMessage } from "node:http";
import { gatheredChunks, shortChunks } from "./gathered-chunks.ts";
import { OriginError, originErrorOf } from "./origin-error.ts";

/** No byte for this long while somebody waits for one ends the body. */
const BODY_STALL_TIMEOUT_MS = 60_000;

/** From this length on a body's chunks are put together in buffers of their own. */
const LONG_BODY_BYTES_MIN = 2 ** 20;

/** A body that nobody wants is read to its end when it is no longer than this: the one byte of a probe, an error's text. */
const DRAINED_BYTES_MAX = 64 * 1024;
const DRAIN_TIMEOUT_MS = 5_000;

/**
 * The body of an answer and the way to break it off.
 *
 * An error is remembered and thrown when the body is read, since nobody may be listening when the connection breaks.
 *
 * @param expectedBytes what `Content-Length` promised; `undefined`: the framing alone says where the body ends.
 */
export function readBody(options: {
  readonly message: IncomingMessage;
  readonly url: URL;
  readonly expectedBytes: number | undefined;
  readonly signal: AbortSignal;
}): { readonly body: AsyncIterable<Uint8Array>; discard(): void } {
  const { message, signal } = options;
  const abort = (): void => {
    message.destroy();
  };
  const stop = (): void => signal.removeEventListener("abort", abort);
  signal.addEventListener("abort", abort, { once: true });
  message.once("close", stop);
  message.on("error", () => {});
  if (signal.aborted) abort();
  if (options.expectedBytes === 0) {
    // Nothing will come: the connection is free for the next request, whether or not somebody reads.
    message.resume();
    return { body: nothing(), discard: () => {} };
  }
  return {
    body: chunksOf(options),
    discard: () => discard(message, options.expectedBytes),
  };
}

/** Reading a short rest costs less than a new connection; a long one, or one of unknown length, is broken off. */
function discard(message: IncomingMessage, expectedBytes: number | undefined): void {
  if (message.readableEnded) return;
  if (expectedBytes === undefined || expectedBytes > DRAINED_BYTES_MAX) {
    message.destroy();
    return;
  }
  const patience = setTimeout(() => message.destroy(), DRAIN_TIMEOUT_MS);
  message.once("close", () => clearTimeout(patience));
  message.resume();
}

async function* nothing(): AsyncGenerator<Uint8Array> {}

async function* chunksOf(options: {
  readonly message: IncomingMessage;
  readonly url: URL;
  readonly expectedBytes: number | undefined;
  readonly signal: AbortSignal;
}): AsyncGenerator<Uint8Array> {
  const { message, url, expectedBytes, signal } = options;
  let receivedBytes = 0;
  let isWaiting = false;
  const timer = setTimeout(() => {
    // A slow reader is not the origin's fault: the time counts only while a byte is wanted.
    if (!isWaiting) return;
    const text = `${url.host} sent nothing for ${BODY_STALL_TIMEOUT_MS} ms`;
    message.destroy(new OriginError("origin_timeout", text));
  }, BODY_STALL_TIMEOUT_MS);
  try {
    const isShort = expectedBytes !== undefined && expectedBytes < LONG_BODY_BYTES_MIN;
    const chunks = isShort ? shortChunks(message) : gatheredChunks(message);
    for (;;) {
      isWaiting = true;
      timer.refresh();
      const next = await chunks.next();
      isWaiting = false;
      if (next.done === true) break;
      receivedBytes += next.value.length;
      yield next.value;
    }
  } catch (error) {
    signal.throwIfAborted();
    throw originErrorOf(error, url, "origin_broken_off");
  } finally {
    clearTimeout(timer);
    message.destroy();
  }
  signal.throwIfAborted();
  // The parser calls a message complete when its framing is satisfied: length, last chunk, or the end of the connection.
  if (message.complete) return;
  const promised = expectedBytes === undefined ? "" : ` of ${expectedBytes}`;
  throw new OriginError(
    "origin_broken_off",
    `answer broke off ${url.host}: it ended after ${receivedBytes}${promised} bytes`,
  );
}
