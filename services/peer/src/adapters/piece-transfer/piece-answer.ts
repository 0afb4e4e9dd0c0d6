import type { ServerResponse } from "node:http";
import { setImmediate } from "node:timers/promises";
import { type ByteSpan, pieceAt, pieceSpan } from "@lacewing/contracts/pieces.ts";
import type { Pace } from "../../app/pace.ts";
import type { StoredTask } from "../../app/ports.ts";
import { type BufferPool, TRANSFER_BUFFER_BYTES } from "../buffer-pool.ts";

/** Buffers handed to one socket and not yet taken by the kernel: enough to keep it busy while the next one is read. */
const OUTSTANDING_COUNT_MAX = 3;
/** A child that takes everything at once would keep the thread for itself: after so many bytes everybody else has a turn. */
const TURN_BYTES_MAX = 4 * 2 ** 20;
/** A child that takes less than one buffer in this time holds a slot for nothing: 8.7 kB/s. */
export const SLOW_READER_MS = 30_000;

/** One write when sending is limited: slots that share a low limit must each send something before their child gives up. */
export const PACED_BYTES_MAX = 64 * 1024;

/** How an answer's body ended; `bytes` were handed to the socket. */
export interface SentBody {
  readonly bytes: number;
  readonly end: "complete" | "child_gone" | "slow_reader" | "damaged" | "read_failed";
}

/**
 * Sends bytes of held pieces as a response's body and ends the response. Each piece is proven before its first byte goes
 * out; when one turns out damaged, or cannot be read, the connection is broken off, never ended cleanly.
 */
export async function sendBody(
  response: ServerResponse,
  task: StoredTask,
  span: ByteSpan,
  pool: BufferPool,
  slowReaderMs = SLOW_READER_MS,
  pace?: Pace,
): Promise<SentBody> {
  const flow = new Flow(response, pool, slowReaderMs);
  let at = span.start;
  let turnStart = at;
  let failure: SentBody["end"] | undefined;
  while (at < span.end && failure === undefined && (await flow.mayGoOn())) {
    const pieceIndex = pieceAt(task.layout, at);
    failure = await flawOf(task, pieceIndex);
    if (failure !== undefined) break;
    const pieceEnd = pieceSpan(task.layout, pieceIndex).end;
    const lengthMax = pace === undefined ? TRANSFER_BUFFER_BYTES : PACED_BYTES_MAX;
    const length = Math.min(lengthMax, span.end - at, pieceEnd - at);
    const pause = pace?.(length);
    if (pause !== undefined) await pause;
    const buffer = pool.take();
    try {
      await task.read(buffer, at, length);
    } catch {
      pool.give(buffer);
      failure = "read_failed";
      break;
    }
    flow.send(buffer, length);
    at += length;
    if (at - turnStart >= TURN_BYTES_MAX) {
      await setImmediate();
      turnStart = at;
    }
  }
  const isComplete = failure === undefined && (await flow.drained());
  flow.end();
  const bytes = at - span.start;
  if (isComplete && at === span.end) {
    response.end();
    return { bytes, end: "complete" };
  }
  response.destroy();
  return { bytes, end: failure ?? (flow.wasSlow ? "slow_reader" : "child_gone") };
}

/** Why a piece must not be sent; a disk that fails may do so while it is hashed. */
async function flawOf(
  task: StoredTask,
  pieceIndex: number,
): Promise<"damaged" | "read_failed" | undefined> {
  if (task.isProven(pieceIndex)) return undefined;
  try {
    return (await task.prove(pieceIndex)) ? undefined : "damaged";
  } catch {
    return "read_failed";
  }
}

/** The socket's side of one answer: what it still has to take, whether it takes anything at all. */
class Flow {
  wasSlow = false;
  readonly #response: ServerResponse;
  readonly #pool: BufferPool;
  readonly #slowTimer: NodeJS.Timeout;
  readonly #onClose: () => void;
  #outstandingCount = 0;
  #isClosed: boolean;
  #wake: (() => void) | undefined;

  constructor(response: ServerResponse, pool: BufferPool, slowReaderMs: number) {
    this.#response = response;
    this.#pool = pool;
    this.#isClosed = response.destroyed || response.closed;
    this.#onClose = () => {
      this.#isClosed = true;
      this.#wake?.();
    };
    response.on("close", this.#onClose);
    this.#slowTimer = setTimeout(() => {
      // Nothing is on its way to the child: we are slow, not the child.
      if (this.#outstandingCount === 0) {
        this.#slowTimer.refresh();
        return;
      }
      this.wasSlow = true;
      this.#onClose();
    }, slowReaderMs);
  }

  /** Waits until there is room for another buffer. @returns false when nobody reads any more. */
  async mayGoOn(): Promise<boolean> {
    return this.#below(OUTSTANDING_COUNT_MAX);
  }

  /** Waits until the kernel has taken everything. @returns false when nobody reads any more. */
  async drained(): Promise<boolean> {
    return this.#below(1);
  }

  send(buffer: Buffer, length: number): void {
    this.#outstandingCount++;
    this.#response.write(buffer.subarray(0, length), () => {
      this.#outstandingCount--;
      this.#pool.give(buffer);
      this.#slowTimer.refresh();
      this.#wake?.();
    });
  }

  end(): void {
    clearTimeout(this.#slowTimer);
    this.#response.off("close", this.#onClose);
  }

  async #below(count: number): Promise<boolean> {
    while (!this.#isClosed && this.#outstandingCount >= count) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    return !this.#isClosed;
  }
}
