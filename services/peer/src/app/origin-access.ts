import type { ByteSpan } from "@lacewing/contracts/pieces.ts";
import { InvariantViolation, messageOf } from "@lacewing/runtime/errors.ts";
import { followingAbort } from "./following-abort.ts";
import { isEncoded } from "../core/identity.ts";
import { retryAfterMs } from "../core/retry-after.ts";
import { refusalOf } from "./origin-refusal.ts";
import type {
  HeaderList,
  OriginClient,
  OriginResponse,
  TaskDescription,
  TransferSink,
} from "./ports.ts";
import { TransferError } from "./ports.ts";

/** No byte from the origin for this long ends the read; it is resumed by range. Clients such as git-lfs give up after 30 s. */
const ORIGIN_STALL_MS = 10_000;

/** An answer of the origin that is open and not read yet; its body begins at `start` of the content. */
export interface OpenAnswer {
  readonly response: OriginResponse;
  readonly start: number;
}

/** What it takes to read an origin in a client's name: secret, all of it. */
export interface OriginMeans {
  readonly url: URL;
  /** Path and query as the client wrote them; `undefined`: those of the URL. */
  readonly path?: string | undefined;
  readonly headers: HeaderList;
  readonly useTls: boolean | "auto";
}

/**
 * The right to read the origin for one client request: its URL and credentials. They leave this host to the origin, and, where
 * the operator allows it, sealed to one seed host. May carry the opening answer, whose body is the first bytes of the download.
 */
export class OriginAccess {
  readonly requestId: string;
  readonly #origin: OriginClient;
  readonly #means: OriginMeans;
  readonly #client: string | undefined;
  #open: OpenAnswer | undefined;
  /** The validator under which this client's origin knows the content; mirrors of one anchored content may differ. */
  #validator: string | undefined;
  #hasRanges = false;
  #letGo: () => void = () => {};

  constructor(
    options: OriginMeans & {
      readonly requestId: string;
      readonly origin: OriginClient;
      /** Whose connections are counted. */
      readonly client?: string | undefined;
    },
  ) {
    const { requestId, origin, client, url, path, headers, useTls } = options;
    this.requestId = requestId;
    this.#origin = origin;
    this.#client = client;
    this.#means = { url, path, headers, useTls };
  }

  get hasOpenAnswer(): boolean {
    return this.#open !== undefined;
  }

  get validator(): string | undefined {
    return this.#validator;
  }

  /** Whether the origin has shown that it answers ranges of this content. */
  get hasRanges(): boolean {
    return this.#hasRanges;
  }

  noteValidator(etag: string | undefined): void {
    this.#validator = etag;
  }

  /** The opening request. It ends when its client leaves, unless the answer was {@link keepOpen kept} before. */
  async open(
    range: { readonly start: number; readonly end: number } | undefined,
    client: AbortSignal,
  ): Promise<OriginResponse> {
    client.throwIfAborted();
    const opening = new AbortController();
    const onGone = (): void => opening.abort(client.reason);
    client.addEventListener("abort", onGone, { once: true });
    this.#letGo = () => client.removeEventListener("abort", onGone);
    try {
      return await this.request(range, undefined, opening.signal);
    } catch (error) {
      this.#letGo();
      throw error;
    }
  }

  /** For handing them to a seed host, and for nothing else. */
  revealMeans(): OriginMeans {
    return this.#means;
  }

  /** The answer is the task's from now on: other clients may read from it when this one is gone. */
  keepOpen(answer: OpenAnswer): void {
    this.#letGo();
    this.#open = answer;
  }

  /** The opening answer when its body begins at `start`; it is the caller's then. */
  takeOpen(start: number): OpenAnswer | undefined {
    const open = this.#open?.start === start ? this.#open : undefined;
    if (open !== undefined) this.#open = undefined;
    return open;
  }

  /** Breaks the opening answer off: the bytes come from elsewhere. */
  dropOpen(): void {
    this.#open?.response.discard();
    this.#open = undefined;
  }

  /** Asks for [start, end), or the whole content with neither. */
  async request(
    range: { readonly start: number; readonly end: number | undefined } | undefined,
    ifRange: string | undefined,
    signal: AbortSignal,
  ): Promise<OriginResponse> {
    const request = { method: "GET", ...this.#means, client: this.#client } as const;
    const response = await this.#origin.open({ ...request, range, ifRange }, signal);
    // A refusal says nothing about it; the whole in answer to a range does.
    if (response.status === 206) this.#hasRanges = true;
    else if (response.status === 200) {
      const offered = /\bbytes\b/i.test(response.header("accept-ranges") ?? "");
      this.#hasRanges = range === undefined && offered;
    }
    return response;
  }
}

/**
 * Reads a span of the content from the origin into the sink, in order.
 *
 * @param answer one that is open for it already; the reader's from now on.
 * @param end of the span, an absolute offset: it may become less while the read goes on.
 * @param received told every content byte that arrived, those included that had to be skipped.
 * @throws {TransferError} when the origin refuses, changed, stalls or ends early.
 */
export async function readFromOrigin(options: {
  readonly access: OriginAccess;
  readonly description: TaskDescription;
  readonly answer: OpenAnswer | undefined;
  readonly start: number;
  readonly end: () => number;
  readonly sink: TransferSink;
  readonly received: (bytes: number) => void;
  readonly signal: AbortSignal;
}): Promise<void> {
  const { access, description, start, end, sink, received } = options;
  const stall = followingAbort(options.signal);
  const { signal } = stall;
  // The head of an answer has a limit of its own, in the adapter.
  const answer =
    options.answer ??
    access.takeOpen(start) ??
    (await openSpan(access, description, { start, end: end() }, signal));
  const abandon = (): void => answer.response.discard();
  signal.addEventListener("abort", abandon, { once: true });
  // Time in which our own disk or our own limit was behind is not the origin's.
  let isOurs = false;
  const timer = setTimeout(() => {
    if (isOurs) timer.refresh();
    else
      stall.abort(
        new TransferError("stalled", `the origin sent nothing for ${ORIGIN_STALL_MS} ms`),
      );
  }, ORIGIN_STALL_MS);
  try {
    signal.throwIfAborted();
    await pump(answer, { start, end }, sink, {
      received: (bytes) => {
        timer.refresh();
        received(bytes);
      },
      waiting: (isWaiting) => {
        isOurs = isWaiting;
        timer.refresh();
      },
    });
  } catch (error) {
    signal.throwIfAborted();
    throw error;
  } finally {
    clearTimeout(timer);
    stall.release();
    signal.removeEventListener("abort", abandon);
    answer.response.discard();
  }
}

/**
 * Asks the origin for a span of the content.
 *
 * @returns the answer; its body begins at the span's start, or with the content when the origin ignores ranges.
 * @throws {TransferError} when it is not the wanted bytes of the task; the signal's reason when it aborts.
 */
export async function openSpan(
  access: OriginAccess,
  description: TaskDescription,
  span: ByteSpan,
  signal: AbortSignal,
): Promise<OpenAnswer> {
  const isWhole = span.start === 0 && span.end === description.lengthBytes;
  const range = isWhole ? undefined : { start: span.start, end: span.end };
  // Anchored content is told right from wrong by its digest: mirrors and back ends may well validate it differently.
  const etag = description.anchor === undefined ? (access.validator ?? description.etag) : "";
  const ifRange = isWhole || etag === "" ? undefined : etag;
  let response: OriginResponse;
  try {
    response = await access.request(range, ifRange, signal);
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof InvariantViolation) throw error;
    throw new TransferError(
      "unreachable",
      `the origin cannot be reached: ${messageOf(error)}`,
      error,
    );
  }
  const problem = problemOf(response, { ...description, etag }, span);
  if (problem === undefined) return { response, start: response.status === 206 ? span.start : 0 };
  const refusal = await refusalOf(response);
  signal.throwIfAborted();
  response.discard();
  if (refusal === undefined) throw problem;
  const { reason, message } = problem;
  throw new TransferError(reason, message, undefined, problem.retryAfterMs, refusal);
}

/** How long an answer of an origin asks to be left alone, milliseconds. */
export function retryAfterOf(response: OriginResponse): number {
  const { status } = response;
  return retryAfterMs(status, response.header("retry-after"), response.header("date"));
}

/** Why an answer is not the wanted bytes of the task. */
function problemOf(
  response: OriginResponse,
  description: TaskDescription,
  span: ByteSpan,
): TransferError | undefined {
  const etag = response.header("etag");
  if (description.etag !== "" && etag !== undefined && etag !== description.etag) {
    return new TransferError("origin_changed", "the origin's validator is no longer the task's");
  }
  if (isEncoded(response.headers)) {
    return new TransferError(
      "malformed",
      "the origin answered with an encoding that was not asked for",
    );
  }
  if (response.status === 206) {
    const range = /^bytes (\d+)-(\d+)\/(\d+|\*)$/.exec(response.header("content-range") ?? "");
    if (range === null || Number(range[1]) !== span.start) {
      return new TransferError("malformed", "the origin answered another range than was asked for");
    }
    const total = range[3] === "*" ? description.lengthBytes : Number(range[3]);
    return total === description.lengthBytes ? undefined : lengthChanged(total, description);
  }
  if (response.status === 200) {
    // A 206 repeats what `If-Range` asked for; a whole answer has to say itself that it is still the same.
    if (description.etag !== "" && etag === undefined) {
      return new TransferError("origin_changed", "the origin no longer says which content it is");
    }
    const length = response.bodyLength;
    return length === undefined || length === description.lengthBytes
      ? undefined
      : lengthChanged(length, description);
  }
  const text = `the origin answered ${response.status}`;
  return new TransferError("origin_refused", text, undefined, retryAfterOf(response));
}

function lengthChanged(actual: number, description: TaskDescription): TransferError {
  return new TransferError(
    "origin_changed",
    `the origin has ${actual} bytes, the task ${description.lengthBytes} bytes`,
  );
}

async function pump(
  answer: OpenAnswer,
  span: { readonly start: number; readonly end: () => number },
  sink: TransferSink,
  told: {
    readonly received: (bytes: number) => void;
    /** Whether it waits for the sink from now on. */
    readonly waiting: (isWaiting: boolean) => void;
  },
): Promise<void> {
  let offset = answer.start;
  // One write is under way while the next bytes are read.
  let writing: Promise<void> = Promise.resolve();
  const chunks = answer.response.body[Symbol.asyncIterator]();
  try {
    for (;;) {
      const chunk = await chunkOf(chunks);
      if (chunk === undefined) break;
      told.received(chunk.length);
      const end = Math.min(offset + chunk.length, span.end());
      const from = Math.max(offset, span.start);
      if (end > from) {
        const bytes = chunk.subarray(from - offset, end - offset);
        told.waiting(true);
        await writing;
        told.waiting(false);
        writing = sink.write(bytes, from).then(() => sink.written(end));
        // The rejection is seen at the next await; until then it must not count as unhandled.
        writing.catch(() => undefined);
      }
      offset += chunk.length;
      // An answer that has no more to give is read to its end, so that its connection can be used again.
      if (offset >= span.end() && offset - answer.start !== answer.response.bodyLength) break;
    }
  } finally {
    await chunks.return?.();
  }
  await writing;
  if (offset < span.end()) {
    throw new TransferError("short", `the origin ended at byte ${offset} of ${span.end()}`);
  }
}

/** The body's next chunk; only its own failure is the origin's, not that of whoever takes it. */
async function chunkOf(chunks: AsyncIterator<Uint8Array>): Promise<Uint8Array | undefined> {
  try {
    const next = await chunks.next();
    return next.done === true ? undefined : next.value;
  } catch (error) {
    if (error instanceof InvariantViolation) throw error;
    throw new TransferError("short", `the origin broke off: ${messageOf(error)}`, error);
  }
}
