import type { IncomingMessage } from "node:http";
import { giveBack } from "./spent-buffers.ts";

/** Handed over at once: what the store writes and the client is sent in one go. */
const GATHERED_BYTES_MAX = 256 * 1024;
/** One is with the store while the next is filled; a third so that nobody has to be quick. */
const BUFFER_COUNT = 3;
/** What makes a gathering full may be as long as a read of the socket. */
const BUFFER_BYTES = GATHERED_BYTES_MAX + 64 * 1024;

/**
 * The chunks of a long body, put together: what arrives in one turn of the event loop is handed over as one chunk, so that each
 * wake-up of those who write it down and send it on is worth more bytes. Nothing waits for bytes that have not arrived.
 *
 * A chunk is good until the one after the next is asked for. Ends when the body ends or its connection closes; whether it was
 * complete is the message's to say. Rejects with the message's error.
 */
export async function* gatheredChunks(message: IncomingMessage): AsyncGenerator<Uint8Array> {
  const gathering = new Gathering(message);
  const buffers: Buffer[] = [];
  const lent: (Buffer | undefined)[] = [];
  for (let turn = 0; ; turn++) {
    const at = turn % BUFFER_COUNT;
    const spent = lent[at];
    lent[at] = undefined;
    if (spent !== undefined) giveBack(spent);
    const parts = await gathering.next();
    const [first] = parts;
    if (first === undefined) return;
    const bytes = parts.reduce((sum, part) => sum + part.length, 0);
    if (parts.length === 1 || bytes > BUFFER_BYTES) {
      const whole = parts.length === 1 ? first : Buffer.concat(parts);
      lent[at] = whole;
      yield whole;
      continue;
    }
    const buffer = (buffers[at] ??= Buffer.allocUnsafeSlow(BUFFER_BYTES));
    let length = 0;
    for (const part of parts) {
      length += part.copy(buffer, length);
      giveBack(part);
    }
    yield buffer.subarray(0, length);
  }
}

/**
 * The same of a short body: most of them are one chunk, and buffers to put a few together in would cost more than they save. A
 * chunk stays good.
 */
export function shortChunks(message: IncomingMessage): AsyncIterator<Uint8Array> {
  const gathering = new Gathering(message);
  return {
    next: async () => {
      const parts = await gathering.next();
      const [first] = parts;
      if (first === undefined) return { done: true, value: undefined };
      return { done: false, value: parts.length === 1 ? first : Buffer.concat(parts) };
    },
  };
}

/** Takes what the message gives, and lets it wait when nobody fetches that. */
class Gathering {
  readonly #message: IncomingMessage;
  #parts: Buffer[] = [];
  #bytes = 0;
  #isOver = false;
  #error: Error | undefined;
  #isDue = false;
  #wake: () => void = () => {};

  constructor(message: IncomingMessage) {
    this.#message = message;
    message.on("data", (part: Buffer) => this.#take(part));
    message.once("end", () => this.#end());
    message.once("close", () => this.#end());
    message.once("error", (error) => {
      this.#error = error;
      this.#end();
    });
    if (message.closed || message.readableEnded) this.#end();
  }

  /** What has arrived; nothing at the end. */
  async next(): Promise<readonly Buffer[]> {
    this.#message.resume();
    while (!this.#isDue && !this.#isOver) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    const parts = this.#parts;
    if (parts.length === 0 && this.#error !== undefined) throw this.#error;
    this.#parts = [];
    this.#bytes = 0;
    this.#isDue = false;
    return parts;
  }

  #take(part: Buffer): void {
    this.#parts.push(part);
    this.#bytes += part.length;
    if (this.#bytes >= GATHERED_BYTES_MAX) {
      this.#message.pause();
      this.#handOver();
    } else if (this.#parts.length === 1) {
      setImmediate(() => this.#handOver());
    }
  }

  #handOver(): void {
    if (this.#parts.length === 0) return;
    this.#isDue = true;
    this.#wake();
  }

  #end(): void {
    this.#isOver = true;
    this.#wake();
  }
}
