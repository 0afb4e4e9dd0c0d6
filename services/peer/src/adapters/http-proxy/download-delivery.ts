import type { IncomingMessage, ServerResponse } from "node:http";
import { finished } from "node:stream/promises";
import type { Log } from "@lacewing/observability/log.ts";
import { InvariantViolation, PortError } from "@lacewing/runtime/errors.ts";
import { OriginRefused } from "../../app/download-errors.ts";
import type { Pace } from "../../app/pace.ts";
import type {
  ClientRequest,
  DeliveryEnd,
  DownloadAnswer,
  DownloadPort,
  HeaderList,
  OriginRefusal,
} from "../../app/ports.ts";
import { withSessionSupport } from "../../core/connection-auth.ts";
import {
  endToEndHeaders,
  flatOfHeaders,
  headerOf,
  withoutHeaders,
  withVia,
} from "../../core/http-headers.ts";
import { urlWithoutSecrets } from "../../core/identity.ts";
import type { Rule } from "../../core/rules.ts";
import { begun, deliverBody, deliverWhole } from "./body-writer.ts";
import type { DeliveryBuffers } from "./delivery-buffers.ts";
import type { WrittenAnswer } from "./hot-answers.ts";
import { answerWithText, gatewayFailure } from "./plain-answers.ts";
import { sandboxed } from "./request-checks.ts";

/** Clients such as git-lfs give up after 30 s without a byte; before that they are told why there is none. */
const FIRST_BYTE_TIMEOUT_MS = 25_000;

/** One GET or HEAD that a rule wants, from its head to the last byte of the answer. */
export interface DownloadExchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly url: URL;
  /** Path and query as the client wrote them. */
  readonly path: string;
  /** End-to-end headers with this proxy's `Via`. */
  readonly headers: HeaderList;
  readonly rule: Rule;
  readonly downloads: DownloadPort;
  readonly pool: DeliveryBuffers;
  /** Asked before content is delivered. */
  readonly pace: Pace | undefined;
  readonly viaName: string;
  readonly receivedAtMs: number;
  /** Told of an answer that can be given again. */
  readonly remember: (answer: WrittenAnswer) => void;
  readonly log: Log;
}

/** Asks the download flow and delivers what it answers. Rejects with an `InvariantViolation` only. */
export async function serveDownload(exchange: DownloadExchange): Promise<void> {
  const { request, response, url, path, headers, rule, log } = exchange;
  const client = new AbortController();
  response.once("close", () => {
    if (!response.writableFinished) {
      client.abort(new PortError("client_gone", "the client went away", { retryable: false }));
    }
  });
  const clientRequest: ClientRequest = {
    method: request.method === "HEAD" ? "HEAD" : "GET",
    url,
    path,
    headers,
    header: (name) => headerOf(headers, name),
    receivedAtMs: exchange.receivedAtMs,
    signal: client.signal,
    client: request.socket.remoteAddress,
  };
  let answer: DownloadAnswer;
  try {
    answer = await exchange.downloads.answer(clientRequest, rule);
  } catch (error) {
    refuse(exchange, client.signal, error);
    return;
  }
  let end: DeliveryEnd = "broken_off";
  try {
    end = await deliver(exchange, answer, client);
  } catch (error) {
    if (response.headersSent) {
      if (error instanceof InvariantViolation) throw error;
      log.warn("download_broken_off", { url: urlWithoutSecrets(url), error });
    } else refuse(exchange, client.signal, error, true);
  } finally {
    // A refusal is an answer of its own; content that is not complete must not end cleanly.
    if (end !== "complete" && !response.writableEnded) response.destroy();
    answer.ended(end);
  }
}

/** The content cannot be had: says so while that is still possible. */
function refuse(
  exchange: DownloadExchange,
  client: AbortSignal,
  error: unknown,
  hasBegun = false,
): void {
  const { response, url, log } = exchange;
  if (error instanceof InvariantViolation) throw error;
  if (response.destroyed || isGone(client)) return;
  // A client that looks at nothing but the transfer must not take a text for the content that it asked for by name.
  if (error instanceof PortError && error.code === "anchor_mismatch" && hasBegun) {
    log.warn("download_broken_off", { url: urlWithoutSecrets(url), error });
    response.destroy();
    return;
  }
  if (error instanceof OriginRefused) {
    log.info("origin_refused", { url: urlWithoutSecrets(url), status: error.refusal.status });
    handOn(exchange, error.refusal);
    return;
  }
  const { status, text, headers } = gatewayFailure(error);
  // Anything but a failure of the world is a fault of ours, which somebody has to look at.
  const level = error instanceof PortError ? "warn" : "error";
  log[level]("download_not_answered", { url: urlWithoutSecrets(url), status, error });
  answerWithText(response, status, text, headers);
}

/** The origin's own answer, where content had been expected. */
function handOn(exchange: DownloadExchange, { status, headers, body }: OriginRefusal): void {
  const { request, response, url } = exchange;
  if (response.headersSent) {
    response.destroy();
    return;
  }
  const framed = headersOf(exchange, { status, headers, bodyLength: body.length });
  response.writeHead(status, flatOfHeaders(sandboxed(framed, request.url, url)));
  response.end(body);
}

function isGone(client: AbortSignal): boolean {
  return (
    client.aborted && client.reason instanceof PortError && client.reason.code === "client_gone"
  );
}

async function deliver(
  exchange: DownloadExchange,
  answer: DownloadAnswer,
  client: AbortController,
): Promise<DeliveryEnd> {
  const { response, pool, pace } = exchange;
  if (response.destroyed) return "client_gone";
  const isHead = exchange.request.method === "HEAD";
  const body =
    answer.body === undefined || isHead
      ? undefined
      : await begun(answer.body, answer.bodyLength, FIRST_BYTE_TIMEOUT_MS, (reason) =>
          client.abort(reason),
        );
  if (response.destroyed) return "client_gone";
  const bodyLength = answer.body === undefined && !isHead ? 0 : answer.bodyLength;
  const framed = headersOf(exchange, { ...answer, bodyLength });
  const headers = sandboxed(framed, exchange.request.url, exchange.url);
  const flat = flatOfHeaders(headers);
  response.writeHead(answer.status, flat);
  if (body?.whole !== undefined) {
    const { status, again } = answer;
    if (again !== undefined) exchange.remember({ status, headers: flat, again });
    return deliverWhole(response, body.whole, pace);
  }
  if (body !== undefined) {
    return deliverBody({ response, body, bodyLength: answer.bodyLength, pool, pace });
  }
  response.end();
  try {
    await finished(response);
    return "complete";
  } catch {
    return "client_gone";
  }
}

const FRAMING: ReadonlySet<string> = new Set(["content-length"]);

/** The answer's headers with the framing that {@link DownloadAnswer.bodyLength} says, whatever they said before. */
function headersOf(
  exchange: DownloadExchange,
  answer: Pick<DownloadAnswer, "status" | "headers" | "bodyLength">,
): HeaderList {
  const answered = withSessionSupport(endToEndHeaders(answer.headers));
  const own = withVia(answered, "1.1", exchange.viaName);
  const isHead = exchange.request.method === "HEAD";
  const isBodiless = answer.status === 204 || answer.status === 304;
  // A HEAD and a 304 tell the length of what a GET would bring (RFC 9110 section 8.6).
  if (isBodiless || (isHead && headerOf(own, "content-length") !== undefined)) return own;
  const unframed = withoutHeaders(own, FRAMING);
  const { bodyLength } = answer;
  return bodyLength === undefined
    ? unframed
    : [...unframed, ["Content-Length", String(bodyLength)]];
}
