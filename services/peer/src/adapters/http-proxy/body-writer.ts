import type { ServerResponse } from "node:http";
import type { DeliveryEnd, PullBody } from "../../app/ports.ts";

/** One read of the flow and one write to the socket. */
export const BUFFER_BYTES = 256 * 1024;
/** One is written while the next is filled. More would only hold memory: the kernel's own buffer follows. */
const WRITES_OUTSTANDING_MAX = 2;
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
