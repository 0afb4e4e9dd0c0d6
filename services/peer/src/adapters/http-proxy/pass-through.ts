import type { ClientRequest, IncomingMessage, InformationEvent, ServerResponse } from "node:http";
import { STATUS_CODES } from "node:http";
import { pipeline } from "node:stream/promises";
import type { Log } from "@lacewing/observability/log.ts";
import type { Pace } from "../../app/pace.ts";
import type { HeaderList } from "../../app/ports.ts";
import { withSessionSupport } from "../../core/connection-auth.ts";
import {
  endToEndHeaders,
  flatOfHeaders,
  forwardableTrailers,
  headerItems,
  headersOfFlat,
  withVia,
} from "../../core/http-headers.ts";
import { authorityOf } from "@lacewing/contracts/url-parts.ts";
import type { ConnectionSlots, FreeSlot } from "../origin/connection-slots.ts";
import type { OriginAgents, OriginConnections } from "../origin/origin-connections.ts";
import { codeOf, OriginError, originErrorOf } from "../origin/origin-error.ts";
import {
  codingProblem,
  limitConnectTime,
  limitInterimAnswers,
  startIn,
} from "../origin/origin-exchange.ts";
import type { OwnedConnection } from "../origin/owned-connections.ts";
import { giveBackParsed } from "../origin/spent-buffers.ts";
import { bodyProblem } from "./client-access.ts";
import { pacedStream } from "./client-paces.ts";
import { answerWithText, gatewayFailure } from "./plain-answers.ts";
import { type RequestProblem, sandboxed } from "./request-checks.ts";

/**
 * Neither a byte from the origin nor one for it for this long ends the exchange. It also bounds a client that stops sending its
 * body or taking the answer, since both stand still then. A git server may think for minutes before its first byte.
 */
export const PASS_THROUGH_IDLE_TIMEOUT_MS = 10 * 60_000;

/** Requests that may be sent again when a kept connection turns out to be closed (RFC 9110 section 9.2.2). */
const REPEATABLE: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS"]);

/** A request on its way to the origin as it came, and back. */
export interface PassThrough {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly url: URL;
  /** Path and query as the client wrote them. */
  readonly path: string;
  /** End-to-end headers without `Host`, with this proxy's `Via`. */
  readonly headers: HeaderList;
  readonly connections: OriginConnections;
  /** The connection that this client's has for itself; `undefined`: any of `connections`. */
  readonly owned?: OwnedConnection | undefined;
  readonly viaName: string;
  readonly log: Log;
  /** Bytes of the request's content that are passed on at most; a longer one is refused. `undefined`: any number. */
  readonly requestBodyBytesMax?: number | undefined;
  /** Asked before bytes of the answer are passed on. */
  readonly pace?: Pace | undefined;
  /** Told of the origin's answer before any of its body is relayed. */
  readonly onAnswer?: ((answer: IncomingMessage) => void) | undefined;
}

/** Streams a request to its origin and the answer back, both unchanged apart from what concerns one hop only. */
export function passThrough(exchange: PassThrough): void {
  send(exchange, "first");
}

/** A repeatable request is sent again when the first connection turned out to be closed. */
type Attempt = "first" | "again";

/** Whether a request has content, by its framing (RFC 9112 section 6). */
export function hasBody(request: IncomingMessage): boolean {
  const length = request.headers["content-length"];
  return request.headers["transfer-encoding"] !== undefined || Number(length ?? 0) > 0;
}

function canRepeat({ request }: PassThrough): boolean {
  return REPEATABLE.has(request.method ?? "") && !hasBody(request);
}

function connectionFor(exchange: PassThrough, attempt: Attempt): "kept" | "fresh" | OriginAgents {
  if (exchange.owned !== undefined) return exchange.owned.agents;
  return attempt === "first" && canRepeat(exchange) ? "kept" : "fresh";
}

function send(exchange: PassThrough, attempt: Attempt): void {
  const { request, url, connections, owned } = exchange;
  const slots = owned?.slots ?? connections.slots;
  const slot = slots.takeNow(url, request.socket.remoteAddress);
  if (slot === undefined) void sendInTurn(exchange, attempt, slots);
  else sendIn(slot, exchange, attempt);
}

async function sendInTurn(
  exchange: PassThrough,
  attempt: Attempt,
  slots: ConnectionSlots,
): Promise<void> {
  const { request, response, url } = exchange;
  const gone = new AbortController();
  const onClose = (): void => gone.abort();
  response.once("close", onClose);
  try {
    const client = request.socket.remoteAddress;
    const slot = await slots.wait(url, { client, signal: gone.signal });
    if (response.destroyed) slot();
    else sendIn(slot, exchange, attempt);
  } catch (error) {
    if (!response.destroyed) refuse(exchange, error);
  } finally {
    response.off("close", onClose);
  }
}

function sendIn(slot: FreeSlot, exchange: PassThrough, attempt: Attempt): void {
  const { request, response, url, connections } = exchange;
  const connection = connectionFor(exchange, attempt);
  const originRequest = startIn(slot, url, () => ({
    ...connections.optionsFor(url, connection),
    method: request.method ?? "GET",
    path: exchange.path,
    headers: flatOfHeaders(headersFor(exchange, connection === "fresh" ? "close" : "keep-alive")),
    timeout: PASS_THROUGH_IDLE_TIMEOUT_MS,
  }));
  giveBackParsed(originRequest);
  limitConnectTime(originRequest, url);
  limitInterimAnswers(originRequest, url);
  let isAnswered = false;
  let isFailed = false;
  const giveUp = (): void => {
    if (!response.writableFinished) originRequest.destroy();
  };
  response.once("close", giveUp);
  originRequest.on("timeout", () => {
    const text = `${url.host}: nothing moved for ${PASS_THROUGH_IDLE_TIMEOUT_MS} ms`;
    originRequest.destroy(new OriginError("origin_timeout", text));
  });
  originRequest.on("information", (information) => relayInformation(exchange, information));
  originRequest.once("response", (answer) => {
    // Given up in the middle of a packet that goes on with it.
    if (originRequest.destroyed) return;
    const problem = codingProblem(answer, url);
    if (problem !== undefined) {
      originRequest.destroy(problem);
      return;
    }
    if (exchange.owned === undefined) connections.settle(originRequest, answer);
    isAnswered = true;
    void relayAnswer(exchange, answer);
  });
  originRequest.on("error", (error) => {
    isFailed = true;
    request.unpipe(originRequest);
    // After the head an error shows in the answer's body; here it is only the upload that the origin did not want.
    if (isAnswered || response.destroyed) return;
    const isStale = originRequest.reusedSocket && ["ECONNRESET", "EPIPE"].includes(codeOf(error));
    if (isStale && attempt === "first" && canRepeat(exchange)) {
      response.off("close", giveUp);
      send(exchange, "again");
      return;
    }
    refuse(exchange, error);
  });
  originRequest.once("close", () => {
    // An answer that is none (an unasked 101) closes the connection without an error.
    if (isAnswered || isFailed || response.destroyed) return;
    refuse(exchange, new OriginError("origin_unreachable", `${url.host} did not answer in HTTP`));
  });
  sendBody(exchange, originRequest, (problem) => {
    isAnswered = true;
    originRequest.destroy();
    answerWithText(response, problem.status, `lacewing: ${problem.reason}`);
  });
}

function headersFor(exchange: PassThrough, connection: "keep-alive" | "close"): HeaderList {
  const { request } = exchange;
  const framing: [string, string][] = [];
  if (request.headers["transfer-encoding"] !== undefined) {
    framing.push(["Transfer-Encoding", "chunked"]);
  }
  const wanted = headerItems(headersOfFlat(request.rawHeaders), "te");
  const takesTrailers = wanted.some((item) => item.toLowerCase() === "trailers");
  const options = [connection, ...(takesTrailers ? ["TE"] : [])];
  return [
    ["Host", authorityOf(exchange.url)],
    ...exchange.headers,
    ...framing,
    ...(takesTrailers ? ([["TE", "trailers"]] as const) : []),
    ["Connection", options.join(", ")],
  ];
}

function sendBody(
  { request, requestBodyBytesMax }: PassThrough,
  originRequest: ClientRequest,
  tooLong: (problem: RequestProblem) => void,
): void {
  if (!hasBody(request)) {
    originRequest.end();
    return;
  }
  // The head goes first: the origin may want to answer before it sees the body (Expect, RFC 9110 section 10.1.1).
  originRequest.flushHeaders();
  request.once("error", () => originRequest.destroy());
  // Before `pipe`, so that the trailers are known when it ends the request.
  request.once("end", () => {
    const trailers = forwardableTrailers(headersOfFlat(request.rawTrailers));
    originRequest.addTrailers(pairsOf(trailers));
  });
  request.pipe(originRequest);
  if (requestBodyBytesMax === undefined) return;
  let bytes = 0;
  request.on("data", (chunk: Buffer) => {
    bytes += chunk.length;
    const problem = bodyProblem(requestBodyBytesMax, bytes);
    if (problem === undefined) return;
    request.unpipe(originRequest);
    request.removeAllListeners("data").resume();
    tooLong(problem);
  });
}

function refuse(exchange: PassThrough, error: unknown): void {
  const { request, response, url, log } = exchange;
  const failure = originErrorOf(error, url, "origin_unreachable");
  const { status, text, headers } = gatewayFailure(failure);
  log.warn("origin_not_reached", { host: url.host, status, error: failure });
  // What is still coming of the body is read away, or the client might never look at the answer.
  if (!request.complete) request.resume();
  answerWithText(response, status, text, headers);
}

async function relayAnswer(exchange: PassThrough, answer: IncomingMessage): Promise<void> {
  const { request, response, url, viaName, log } = exchange;
  exchange.onAnswer?.(answer);
  const headers = withVia(
    withSessionSupport(endToEndHeaders(headersOfFlat(answer.rawHeaders))),
    answer.httpVersion,
    viaName,
  );
  // The rest of an upload that was answered early would be read as the next request.
  if (!request.complete) response.shouldKeepAlive = false;
  answer.once("end", () => {
    response.addTrailers(pairsOf(forwardableTrailers(headersOfFlat(answer.rawTrailers))));
  });
  try {
    // Refuses a status or reason phrase that no server should send.
    response.writeHead(
      answer.statusCode ?? 502,
      answer.statusMessage ?? "",
      flatOfHeaders(sandboxed(headers, request.url, url)),
    );
    // An answer that trickles, such as events, is known to be coming before its first byte.
    response.flushHeaders();
    const { pace } = exchange;
    if (pace === undefined) await pipeline(answer, response);
    else await pipeline(answer, pacedStream(pace), response);
  } catch (error) {
    // The client sees a transfer that broke, never a clean end.
    answer.destroy();
    response.destroy();
    log.debug("pass_through_broken_off", { host: url.host, error });
  }
}

/** 102, 103 and others unknown to us; an HTTP/1.0 client takes none (RFC 9110 section 15.2). */
function relayInformation(exchange: PassThrough, information: InformationEvent): void {
  const { request, response } = exchange;
  const { socket } = response;
  if (request.httpVersion === "1.0" || response.headersSent || socket === null) return;
  if (information.statusCode === 100) {
    response.writeContinue();
    return;
  }
  const lines = endToEndHeaders(headersOfFlat(information.rawHeaders)).map(
    ([name, value]) => `${name}: ${value}\r\n`,
  );
  const reason = STATUS_CODES[information.statusCode] ?? "";
  socket.write(`HTTP/1.1 ${information.statusCode} ${reason}\r\n${lines.join("")}\r\n`, "latin1");
}

function pairsOf(headers: HeaderList): [string, string][] {
  return headers.map(([name, value]) => [name, value]);
}
