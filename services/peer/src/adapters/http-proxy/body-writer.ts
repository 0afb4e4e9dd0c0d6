import type { ServerResponse } from "node:http";
import { PortError } from "@lacewing/runtime/errors.ts";
import type { DeliveryEnd, PullBody } from "../../app/ports.ts";

/** One read of the flow and one write to the socket. */
export const BUFFER_BYTES = 256 * 1024;
/** One is written while the next is filled. More would only hold memory: the kernel's own buffer follows. */
const WRITES_OUTSTANDING_MAX = 2;
/** Read before the head is written: most small objects as a whole. */
const FIRST_BYTES_MAX = 32 * 1024;
/** Buffers kept for the next download: 16 MiB. */
const POOLED_BUFFER_COUNT_MAX = 64;
/** A client that takes no byte for this long has lost interest, and its download pins content and memory. */
const CLIENT_STALL_TIMEOUT_MS = 10 * 60_000;

/** Buffers of {@link BUFFER_BYTES}, used again so that downloads do not feed the garbage collector. */
export class BufferPool {
  readonly #free: Uint8Array[] = [];

  take(): Uint8Array {
    return this.#free.pop() ?? Buffer.allocUnsafeSlow(BUFFER_BYTES);
  }

  give(buffer: Uint8Array): void {
    if (this.#free.length < POOLED_BUFFER_COUNT_MAX) this.#free.push(buffer);
  }
}

/**
 * Pulls a body into two buffers in turn and writes them to the client, never more than {@link WRITES_OUTSTANDING_MAX} at a time.
 *
 * The response ends cleanly only when the body ended and had the length it promised; in every other case the connection is
 * destroyed, so that no client takes a part for the whole.
 *
 * @returns how it ended, after the connection has taken the last byte or is gone. Rejects with what the body rejected with,
 *   after the connection was destroyed, unless the client was gone first.
 */
export async function deliverBody(delivery: {
  readonly response: ServerResponse;
  readonly body: PullBody;
  readonly bodyLength: number | undefined;
  readonly pool: BufferPool;
}): Promise<DeliveryEnd> {
  const { response, body, bodyLength, pool } = delivery;
  const writes = new Writes(response);
  const buffers = Array.from({ length: WRITES_OUTSTANDING_MAX }, () => pool.take());
  let deliveredBytes = 0;
  try {
    for (let turn = 0; ; turn++) {
      await writes.room(WRITES_OUTSTANDING_MAX);
      if (writes.isClosed) return "client_gone";
      const buffer = buffers[turn % WRITES_OUTSTANDING_MAX] ?? pool.take();
      const count = await body.read(buffer);
      if (count === 0) break;
      deliveredBytes += count;
      if (bodyLength !== undefined && deliveredBytes > bodyLength) break;
      writes.start(buffer.subarray(0, count));
    }
    await writes.room(1);
    if (writes.isClosed) return "client_gone";
    if (bodyLength !== undefined && deliveredBytes !== bodyLength) return "broken_off";
    // Buffers of a broken delivery may still be in the hands of the kernel: those are left to the collector.
    for (const buffer of buffers) pool.give(buffer);
    return (await writes.end()) ? "complete" : "client_gone";
  } catch (error) {
    if (writes.isClosed) return "client_gone";
    throw error;
  } finally {
    if (!response.writableFinished) response.destroy();
    writes.dispose();
  }
}

/**
 * A body whose first bytes are there: only then the head of the answer can promise them. It ends with the body's own failure,
 * or with a time-out when no byte comes within `timeoutMs`; `abort` is told then, so that nobody goes on waiting.
 */
export async function begun(
  body: PullBody,
  timeoutMs: number,
  abort: (reason: PortError) => void,
): Promise<PullBody> {
  const first = new Uint8Array(FIRST_BYTES_MAX);
  const silence = Promise.withResolvers<never>();
  const timer = setTimeout(() => {
    const text = `no byte of the content came within ${timeoutMs} ms`;
    const reason = new PortError("content_timeout", text, { retryable: true });
    abort(reason);
    silence.reject(reason);
  }, timeoutMs);
  let rest: Uint8Array;
  try {
    const reading = body.read(first);
    // Whoever loses the race has nobody to tell.
    reading.catch(() => {});
    rest = first.subarray(0, await Promise.race([reading, silence.promise]));
  } finally {
    clearTimeout(timer);
  }
  return {
    read: async (into) => {
      if (rest.length === 0) return body.read(into);
      const count = Math.min(into.length, rest.length);
      into.set(rest.subarray(0, count));
      rest = rest.subarray(count);
      return count;
    },
  };
}

/** Counts writes that the kernel has not taken yet and wakes the one who waits for room, or for the end of the connection. */
class Writes {
  readonly #response: ServerResponse;
  readonly #onClose: () => void;
  readonly #stall: NodeJS.Timeout;
  #outstanding = 0;
  #isClosed = false;
  #wake: () => void = () => {};

  constructor(response: ServerResponse) {
    this.#response = response;
    this.#isClosed = response.closed || response.destroyed;
    this.#onClose = () => {
      this.#isClosed = true;
      this.#wake();
    };
    response.on("close", this.#onClose);
    // What went wrong with the connection shows as its closing.
    response.on("error", this.#onClose);
    this.#stall = setTimeout(() => {
      if (this.#outstanding > 0) response.destroy();
    }, CLIENT_STALL_TIMEOUT_MS);
  }

  /** Whether the connection is gone. */
  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Resolves when fewer than `limit` writes are outstanding, or the connection is gone. */
  async room(limit: number): Promise<void> {
    while (this.#outstanding >= limit && !this.#isClosed) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  start(chunk: Uint8Array): void {
    this.#outstanding += 1;
    this.#stall.refresh();
    this.#response.write(chunk, () => {
      this.#outstanding -= 1;
      this.#stall.refresh();
      this.#wake();
    });
  }

  /** Ends the response. @returns whether the kernel took everything. */
  async end(): Promise<boolean> {
    let isFinished = false;
    this.#outstanding += 1;
    this.#response.once("finish", () => {
      isFinished = true;
      this.#outstanding -= 1;
      this.#wake();
    });
    this.#response.end();
    await this.room(1);
    return isFinished;
  }

  dispose(): void {
    clearTimeout(this.#stall);
    this.#response.off("close", this.#onClose);
  }
}
