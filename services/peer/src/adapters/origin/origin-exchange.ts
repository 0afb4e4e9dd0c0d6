import { request as httpRequest, type ClientRequest, type IncomingMessage } from "node:http";
import { request as httpsRequest, type RequestOptions } from "node:https";
import {
  CONNECT_TIMEOUT_MS,
  HEAD_TIMEOUT_MS,
  type OriginConnections,
} from "./origin-connections.ts";
import type { FreeSlot } from "./connection-slots.ts";
import { codeOf, OriginError, originErrorOf } from "./origin-error.ts";
import { giveBackParsed } from "./spent-buffers.ts";

/**
 * Interim answers (1xx) before the answer itself. A server that works for long may say so now and then; one that says nothing
 * else would keep a client for ever.
 */
const INTERIM_ANSWER_COUNT_MAX = 64;

/** Destroys the request with an `OriginError` when the origin sends more than {@link INTERIM_ANSWER_COUNT_MAX} interim answers. */
export function limitInterimAnswers(request: ClientRequest, url: URL): void {
  let count = 0;
  const counted = (): void => {
    count += 1;
    if (count <= INTERIM_ANSWER_COUNT_MAX) return;
    const text = `${url.host} sent more than ${INTERIM_ANSWER_COUNT_MAX} interim answers and no answer`;
    request.destroy(new OriginError("origin_unreachable", text));
  };
  request.on("information", counted);
}

/**
 * Why an answer is not to be read: its transfer coding is one that nobody asked for, and without it the bytes are not the content.
 * Everything else that could be read in two ways is refused by the parser.
 */
export function codingProblem(answer: IncomingMessage, url: URL): OriginError | undefined {
  const coding = answer.headers["transfer-encoding"];
  if (coding === undefined || coding.trim().toLowerCase() === "chunked") return undefined;
  const text = `${url.host} answered with a transfer coding that was not asked for`;
  return new OriginError("origin_unreachable", text);
}

/** Starts a request by the URL's scheme; nothing is sent before its body is ended or its headers are flushed. */
export function startRequest(url: URL, options: RequestOptions): ClientRequest {
  return url.protocol === "https:" ? httpsRequest(options) : httpRequest(options);
}

/**
 * Destroys the request with an `OriginError` when no connection stands within {@link CONNECT_TIMEOUT_MS}.
 * The name lookup and the TLS handshake count.
 */
export function limitConnectTime(request: ClientRequest, url: URL): void {
  request.once("socket", (socket) => {
    if (!socket.connecting) return;
    const timer = setTimeout(() => {
      request.destroy(
        new OriginError(
          "origin_timeout",
          `cannot reach ${url.host}: no connection within ${CONNECT_TIMEOUT_MS} ms`,
        ),
      );
    }, CONNECT_TIMEOUT_MS);
    const stop = (): void => clearTimeout(timer);
    socket.once(url.protocol === "https:" ? "secureConnect" : "connect", stop);
    socket.once("close", stop);
  });
}

/** How a request without a body is sent. */
export interface HeadExchange {
  readonly connections: OriginConnections;
  /** By default one that may be used for others before and after; `fresh` for a request that nobody else's may follow. */
  readonly first: "kept" | "fresh";
  /** Whose connections it counts among. */
  readonly client: string | undefined;
  optionsFor(connection: "kept" | "fresh"): RequestOptions;
}

/**
 * Sends a request without a body and waits for the head of its answer. A kept connection that the origin closed just then
 * is replaced once: nothing was processed, and GET and HEAD may be repeated (RFC 9110 section 9.2.2).
 *
 * @throws {OriginError} `origin_unreachable`, `origin_timeout` or `origin_busy`; the signal's reason when it aborts.
 */
export async function exchangeHead(
  url: URL,
  exchange: HeadExchange,
  signal: AbortSignal,
): Promise<IncomingMessage> {
  const { connections } = exchange;
  const slot = await slotFor(url, exchange, signal);
  const first = startIn(slot, url, () => exchange.optionsFor(exchange.first));
  try {
    return await headOf(first, { url, connections, signal });
  } catch (error) {
    signal.throwIfAborted();
    const cause = error instanceof Error ? error.cause : undefined;
    const isStale = first.reusedSocket && ["ECONNRESET", "EPIPE"].includes(codeOf(cause));
    if (!isStale) throw error;
    const anew = await slotFor(url, exchange, signal);
    const again = startIn(anew, url, () => exchange.optionsFor("fresh"));
    return headOf(again, { url, connections, signal });
  }
}

async function slotFor(
  url: URL,
  { connections: { slots }, client }: Pick<HeadExchange, "connections" | "client">,
  signal: AbortSignal,
): Promise<FreeSlot> {
  signal.throwIfAborted();
  const slot = slots.takeNow(url, client);
  if (slot !== undefined) return slot;
  const waitedFor = await slots.wait(url, { client, signal });
  if (signal.aborted) waitedFor();
  signal.throwIfAborted();
  return waitedFor;
}

/** Starts a request that holds a slot until it is over. Its events must be listened to at once. */
export function startIn(slot: FreeSlot, url: URL, optionsFor: () => RequestOptions): ClientRequest {
  try {
    return startRequest(url, optionsFor()).once("close", slot);
  } catch (error) {
    slot();
    throw error;
  }
}

async function headOf(
  request: ClientRequest,
  exchange: {
    readonly url: URL;
    readonly connections: OriginConnections;
    readonly signal: AbortSignal;
  },
): Promise<IncomingMessage> {
  const { url, connections, signal } = exchange;
  giveBackParsed(request);
  limitConnectTime(request, url);
  limitInterimAnswers(request, url);
  let onAbort: () => void = () => {};
  let timer: NodeJS.Timeout | undefined;
  try {
    return await new Promise<IncomingMessage>((resolve, reject) => {
      onAbort = () => request.destroy();
      signal.addEventListener("abort", onAbort, { once: true });
      if (signal.aborted) onAbort();
      timer = setTimeout(() => {
        const message = `${url.host} did not answer within ${HEAD_TIMEOUT_MS} ms`;
        request.destroy(new OriginError("origin_timeout", message));
      }, HEAD_TIMEOUT_MS);
      let isAnswered = false;
      request.once("response", (answer) => {
        // Given up in the middle of a packet that goes on with it.
        if (request.destroyed) return;
        const problem = codingProblem(answer, url);
        if (problem !== undefined) {
          request.destroy(problem);
          return;
        }
        connections.settle(request, answer);
        isAnswered = true;
        resolve(answer);
      });
      // Stays for the life of the request: an error after the head also ends the body, which its reader sees.
      request.on("error", (error) => {
        reject(signal.aborted ? error : originErrorOf(error, url, "origin_unreachable"));
      });
      // An answer that is none (an unasked 101) closes the connection without an error.
      request.once("close", () => {
        if (isAnswered) return;
        const message = `cannot reach ${url.host}: it did not answer in HTTP`;
        reject(new OriginError("origin_unreachable", message));
      });
      request.end();
    });
  } catch (error) {
    signal.throwIfAborted();
    throw error;
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", onAbort);
  }
}
