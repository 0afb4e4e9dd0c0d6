import { Agent, request as httpRequest } from "node:http";
import { messageOf } from "@lacewing/runtime/errors.ts";
import { parseTaskId } from "@lacewing/contracts/ids.ts";
import { type ParentRead, TransferError, type TransferSink } from "../../app/ports.ts";
import {
  BULK_BYTES_MAX,
  BULK_COUNT_MAX,
  type BulkFrame,
  encodeBulkRequest,
  parseBulkFrames,
} from "../../core/bulk-frames.ts";

/** Reads up to this length travel together. */
export const BULK_CONTENT_BYTES_MAX = 128 * 1024;
/** Exchanges with one parent at once. */
const EXCHANGE_COUNT_MAX = 2;
/** From its queueing to its last byte; at 128 KiB each, a parent that sends less than half a MB/s is read piece by piece instead. */
const EXCHANGE_MS_MAX = 10_000;
/** A line of the request; a longer one, with the token of a lease of many ranges, travels alone. */
const LINE_BYTES_MAX = 1024;
/** Heads of the frames, on top of the content. */
const ANSWER_BYTES_MAX = BULK_BYTES_MAX + BULK_COUNT_MAX * 16;
/** A parent that does not know the exchange is not asked for it again. As many as a host has parents. */
const PLAIN_PARENT_COUNT_MAX = 1024;

/** A read that waits to travel with others. */
interface Waiting {
  readonly request: ParentRead;
  readonly sink: TransferSink;
  readonly signal: AbortSignal;
  readonly done: PromiseWithResolvers<undefined>;
}

/** Times in milliseconds, as for single reads. */
interface BulkLimits {
  readonly connectTimeoutMs: number;
  readonly stallTimeoutMs: number;
  readonly idleTimeoutMs: number;
}

/** The parent answered, but not to the exchange. */
class NotUnderstood extends Error {}

/**
 * Puts reads of small contents from one parent that come at the same time into one exchange: for each of a batch of small files a
 * round trip of its own would cost more than its bytes.
 */
export class BulkReader {
  readonly #readAlone: (
    request: ParentRead,
    sink: TransferSink,
    signal: AbortSignal,
  ) => Promise<void>;
  readonly #limits: BulkLimits;
  readonly #agent: Agent;
  readonly #waiting = new Map<string, Waiting[]>();
  readonly #plainParents = new Set<string>();

  constructor(
    readAlone: (request: ParentRead, sink: TransferSink, signal: AbortSignal) => Promise<void>,
    limits: BulkLimits,
  ) {
    this.#readAlone = readAlone;
    this.#limits = limits;
    this.#agent = new Agent({
      keepAlive: true,
      maxSockets: EXCHANGE_COUNT_MAX,
      maxFreeSockets: 1,
      timeout: limits.idleTimeoutMs,
    });
  }

  /** As `PieceClient.read`, for a read of a whole small content. */
  async read(request: ParentRead, sink: TransferSink, signal: AbortSignal): Promise<void> {
    const { address, taskId, token, traceparent } = request;
    const lineBytes = taskId.length + token.length + traceparent.length;
    const fits = token !== "" && lineBytes <= LINE_BYTES_MAX;
    if (!fits || this.#plainParents.has(address)) return this.#readAlone(request, sink, signal);
    const done = Promise.withResolvers<undefined>();
    const waiting = this.#waiting.get(address);
    if (waiting === undefined) {
      this.#waiting.set(address, [{ request, sink, signal, done }]);
      setImmediate(() => this.#send(address));
    } else waiting.push({ request, sink, signal, done });
    const onAbort = (): void => done.reject(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    try {
      await done.promise;
    } finally {
      signal.removeEventListener("abort", onAbort);
    }
  }

  close(): void {
    this.#agent.destroy();
  }

  #send(address: string): void {
    const waiting = (this.#waiting.get(address) ?? []).filter(({ signal }) => !signal.aborted);
    this.#waiting.delete(address);
    for (let at = 0; at < waiting.length; at += BULK_COUNT_MAX) {
      const together = waiting.slice(at, at + BULK_COUNT_MAX);
      const [first] = together;
      if (together.length === 1 && first !== undefined) this.#alone(first);
      else void this.#exchange(address, together);
    }
  }

  async #exchange(address: string, reads: readonly Waiting[]): Promise<void> {
    const unwanted = new AbortController();
    const noteAborts = (): void => {
      if (reads.every(({ signal }) => signal.aborted)) unwanted.abort();
    };
    for (const { signal } of reads) signal.addEventListener("abort", noteAborts, { once: true });
    try {
      const frames = await this.#ask(address, reads, unwanted.signal);
      await Promise.all(
        reads.map(async (read, at) => {
          const frame = frames[at];
          if (frame === undefined || frame.code === "alone") this.#alone(read);
          else await hand(frame, read);
        }),
      );
    } catch (error) {
      if (error instanceof NotUnderstood) {
        if (this.#plainParents.size < PLAIN_PARENT_COUNT_MAX) this.#plainParents.add(address);
        for (const read of reads) this.#alone(read);
      } else for (const { done } of reads) done.reject(error);
    } finally {
      for (const { signal } of reads) signal.removeEventListener("abort", noteAborts);
    }
  }

  #alone({ request, sink, signal, done }: Waiting): void {
    this.#readAlone(request, sink, signal).then(() => done.resolve(undefined), done.reject);
  }

  async #ask(
    address: string,
    reads: readonly Waiting[],
    signal: AbortSignal,
  ): Promise<readonly BulkFrame[]> {
    const entries = reads.flatMap(({ request: { taskId, token, traceparent } }) => {
      const parsed = parseTaskId(taskId);
      return parsed === undefined ? [] : [{ taskId: parsed, token, traceparent }];
    });
    const body = encodeBulkRequest(entries);
    const answer = await this.#post(address, body, signal);
    if (answer.status === 404 || answer.status === 405) throw new NotUnderstood();
    if (answer.status === 503) throw new TransferError("busy", "the parent has no free slot");
    const frames = answer.status === 200 ? parseBulkFrames(answer.body, entries.length) : undefined;
    if (frames !== undefined && entries.length === reads.length) return frames;
    throw new TransferError("malformed", `the parent's answer (${answer.status}) is refused`);
  }

  async #post(
    address: string,
    body: string,
    signal: AbortSignal,
  ): Promise<{ status: number; body: Buffer }> {
    const { connectTimeoutMs, stallTimeoutMs } = this.#limits;
    return new Promise((resolve, reject) => {
      const failed = (error: Error): void =>
        reject(
          error instanceof TransferError
            ? error
            : new TransferError("unreachable", `${address}: ${messageOf(error)}`, error),
        );
      const outgoing = httpRequest(`http://${address}/v1/contents`, {
        method: "POST",
        agent: this.#agent,
        timeout: stallTimeoutMs,
        signal,
        headers: { "content-type": "text/plain", "content-length": Buffer.byteLength(body) },
      });
      outgoing.on("timeout", () =>
        outgoing.destroy(new TransferError("stalled", `${address}: nothing came`)),
      );
      outgoing.on("error", failed);
      const overdue = setTimeout(
        () => outgoing.destroy(new TransferError("stalled", `${address}: too slow`)),
        EXCHANGE_MS_MAX,
      );
      outgoing.once("close", () => clearTimeout(overdue));
      outgoing.once("socket", (socket) => {
        if (!socket.connecting) return;
        const connecting = setTimeout(() => {
          const text = `${address}: no connection within ${connectTimeoutMs} ms`;
          outgoing.destroy(new TransferError("unreachable", text));
        }, connectTimeoutMs);
        socket.once("connect", () => clearTimeout(connecting));
        socket.once("close", () => clearTimeout(connecting));
      });
      outgoing.on("response", (answer) => {
        const chunks: Buffer[] = [];
        let bytes = 0;
        answer.on("data", (chunk: Buffer) => {
          bytes += chunk.length;
          if (bytes <= ANSWER_BYTES_MAX) chunks.push(chunk);
          else outgoing.destroy(new TransferError("malformed", `${address}: answer too long`));
        });
        answer.on("error", failed);
        answer.on("end", () =>
          resolve({ status: answer.statusCode ?? 0, body: Buffer.concat(chunks) }),
        );
      });
      outgoing.end(body);
    });
  }
}

async function hand(frame: BulkFrame, { request, sink, signal, done }: Waiting): Promise<void> {
  const { span } = request;
  if (signal.aborted) return;
  if (frame.code !== "content") {
    const reason = frame.code === "refused" || frame.code === "alone" ? "malformed" : frame.code;
    done.reject(new TransferError(reason, `the parent answered ${frame.code}`));
    return;
  }
  if (frame.content.length !== span.end - span.start) {
    const text = `the parent sent ${frame.content.length} of ${span.end - span.start} bytes`;
    done.reject(new TransferError("malformed", text));
    return;
  }
  try {
    await sink.write(frame.content, span.start);
    sink.written(span.end);
    done.resolve(undefined);
  } catch (error) {
    const text = `cannot store received bytes: ${messageOf(error)}`;
    done.reject(new TransferError("storage", text, error));
  }
}
