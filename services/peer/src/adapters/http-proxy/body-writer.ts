import type { ServerResponse } from "node:http";
import { setImmediate } from "node:timers/promises";
import { PortError } from "@lacewing/runtime/errors.ts";
import type { Pace } from "../../app/pace.ts";
import type { DeliveryEnd, PullBody } from "../../app/ports.ts";
import type { DeliveryBuffers } from "./delivery-buffers.ts";

/** One is written while the next is filled. More would only hold memory: the kernel's own buffer follows. */
const WRITES_OUTSTANDING_MAX = 2;
/** A body up to this length is gathered before the head is written, and both leave in one write. */
const WHOLE_BYTES_MAX = 128 * 1024;
/** Of a longer body, what is read before its head is written: enough to know that it comes. */
const FIRST_BYTES_MAX = 16 * 1024;
/** When nothing more of it comes for so long, the rest follows as it comes: the client is not kept waiting for the first byte. */
const GATHER_MS = 200;
/**
 * A client that takes everything at once would keep the thread for itself: after so many bytes everybody else has a turn. About
 * 2 ms.
 */
const TURN_BYTES_MAX = 4 * 2 ** 20;
/** A client that takes no byte for this long has lost interest, and its download pins content and memory. */
const CLIENT_STALL_TIMEOUT_MS = 10 * 60_000;

/** Sends a body that is there as a whole. @returns how it ended, as {@link deliverBody}. */
export async function deliverWhole(
  response: ServerResponse,
  whole: Uint8Array,
  pace?: Pace,
): Promise<DeliveryEnd> {
  const pause = pace?.(whole.length);
  const isOpen = pause === undefined ? !response.destroyed : await isOpenAfter(response, pause);
  if (!isOpen) return "client_gone";
  return new Promise((resolve) => sendWhole(response, whole, resolve));
}

/** Waits for a pause, but not for a client that is gone. @returns whether the client is there. */
export async function isOpenAfter(
  response: ServerResponse,
  pause: Promise<void>,
): Promise<boolean> {
  const gone = Promise.withResolvers<void>();
  response.once("close", gone.resolve);
  try {
    if (!response.destroyed) await Promise.race([pause, gone.promise]);
  } finally {
    response.off("close", gone.resolve);
  }
  return !response.destroyed;
}

/** Sends a body that is there as a whole, to a client that is there. @param ended told once how it ended. */
export function sendWhole(
  response: ServerResponse,
  whole: Uint8Array,
  ended: (how: "complete" | "client_gone") => void,
): void {
  let stall: NodeJS.Timeout | undefined;
  response.once("close", () => {
    clearTimeout(stall);
    ended(response.writableFinished ? "complete" : "client_gone");
  });
  response.end(whole);
  // As a rule the kernel has taken all of it by now, and nobody waits for the client.
  if (response.writableLength > 0) {
    stall = setTimeout(() => {
      // One that waits for its turn behind another answer on the connection has no socket yet.
      if (response.socket === null) stall?.refresh();
      else response.destroy();
    }, CLIENT_STALL_TIMEOUT_MS);
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
  readonly pool: DeliveryBuffers;
  /** Asked before bytes are written; default: as fast as the client takes them. */
  readonly pace?: Pace | undefined;
}): Promise<DeliveryEnd> {
  const { response, body, bodyLength, pool, pace } = delivery;
  const writes = new Writes(response);
  const buffers = Array.from({ length: WRITES_OUTSTANDING_MAX }, () => pool.take());
  let deliveredBytes = 0;
  let turnEndBytes = TURN_BYTES_MAX;
  try {
    for (let turn = 0; ; turn++) {
      await writes.room(WRITES_OUTSTANDING_MAX);
      if (deliveredBytes >= turnEndBytes) {
        await setImmediate();
        turnEndBytes = deliveredBytes + TURN_BYTES_MAX;
      }
      if (writes.isClosed) return "client_gone";
      const buffer = buffers[turn % WRITES_OUTSTANDING_MAX] ?? NOTHING;
      const count = await body.read(buffer);
      if (count === 0) break;
      deliveredBytes += count;
      if (bodyLength !== undefined && deliveredBytes > bodyLength) break;
      const pause = pace?.(count);
      if (pause !== undefined) await pause;
      if (writes.isClosed) return "client_gone";
      writes.start(buffer.subarray(0, count));
    }
    await writes.room(1);
    if (writes.isClosed) return "client_gone";
    if (bodyLength !== undefined && deliveredBytes !== bodyLength) return "broken_off";
    // Buffers of a broken delivery may still be in the hands of the kernel: those are left to the collector.
    for (const buffer of buffers.splice(0)) pool.give(buffer);
    return (await writes.end()) ? "complete" : "client_gone";
  } catch (error) {
    if (writes.isClosed) return "client_gone";
    throw error;
  } finally {
    for (const buffer of buffers) pool.forget(buffer);
    if (!response.writableFinished) response.destroy();
    writes.dispose();
  }
}

/** A body whose first bytes are there. */
export interface BegunBody extends PullBody {
  /** All of it, when that is there already. */
  readonly whole: Uint8Array | undefined;
}

/**
 * Waits for the first bytes of a body, and for all of a small one: only then the head of the answer can promise them. It ends with
 * the body's own failure, or with a time-out when no byte comes within `timeoutMs`; `abort` is told then, so that nobody goes on
 * waiting.
 */
export async function begun(
  body: PullBody,
  bodyLength: number | undefined,
  timeoutMs: number,
  abort: (reason: PortError) => void,
): Promise<BegunBody> {
  const isSmall = bodyLength !== undefined && bodyLength <= WHOLE_BYTES_MAX;
  const whole = isSmall ? body.takeWhole?.() : undefined;
  if (whole !== undefined) return { whole, read: async () => 0 };
  // One byte more: a body that goes on beyond its length is not whole.
  const first = Buffer.allocUnsafe(isSmall ? bodyLength + 1 : FIRST_BYTES_MAX);
  let length = await inTime(body.read(first), timeoutMs, () => {
    const text = `no byte of the content came within ${timeoutMs} ms`;
    const reason = new PortError("content_timeout", text, { retryable: true });
    abort(reason);
    throw reason;
  });
  let isAtEnd = length === 0;
  let reading: Promise<number> | undefined;
  while (isSmall && !isAtEnd && reading === undefined && length < first.length) {
    const next = body.read(first.subarray(length));
    const count = await inTime<number | undefined>(next, GATHER_MS, () => undefined);
    if (count === undefined) reading = next;
    isAtEnd = count === 0;
    length += count ?? 0;
  }
  const rest = new Rest(body, first.subarray(0, length), reading && { first, length, reading });
  return {
    whole: isAtEnd && length === bodyLength ? first.subarray(0, length) : undefined,
    read: (into) => rest.read(into),
  };
}

const NOTHING = new Uint8Array(0);

/** What was read ahead of a body, then the body itself. */
class Rest {
  readonly #body: PullBody;
  #bytes: Uint8Array;
  #reading:
    | {
        readonly first: Uint8Array;
        readonly length: number;
        readonly reading: Promise<number>;
      }
    | undefined;

  constructor(
    body: PullBody,
    bytes: Uint8Array,
    reading:
      | {
          readonly first: Uint8Array;
          readonly length: number;
          readonly reading: Promise<number>;
        }
      | undefined,
  ) {
    this.#body = body;
    this.#bytes = bytes;
    this.#reading = reading;
  }

  async read(into: Uint8Array): Promise<number> {
    if (this.#bytes.length === 0 && this.#reading !== undefined) {
      const { first, length, reading } = this.#reading;
      this.#bytes = first.subarray(length, length + (await reading));
      this.#reading = undefined;
    }
    if (this.#bytes.length === 0) return this.#body.read(into);
    const count = Math.min(into.length, this.#bytes.length);
    into.set(this.#bytes.subarray(0, count));
    // A view of no length would keep the memory behind it for as long as the delivery takes.
    this.#bytes = count === this.#bytes.length ? NOTHING : this.#bytes.subarray(count);
    return count;
  }
}

/** What `work` comes to, or what `late` says when it takes longer than `ms`. */
function inTime<T>(work: Promise<T>, ms: number, late: () => T): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      try {
        resolve(late());
      } catch (error) {
        reject(error);
      }
    }, ms);
    // Whoever loses the race has nobody to tell.
    work.then(resolve, reject).finally(() => clearTimeout(timer));
  });
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
