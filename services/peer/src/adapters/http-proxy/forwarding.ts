import type { IncomingMessage, ServerResponse } from "node:http";
import type { Log } from "@lacewing/observability/log.ts";
import type { Pace } from "../../app/pace.ts";
import type { DownloadPort, HeaderList } from "../../app/ports.ts";
import { redirectedUrl } from "../../app/redirected-url.ts";
import { showsConnectionCredentials } from "../../core/connection-auth.ts";
import { endToEndHeaders, headerOf, withoutHeaders, withVia } from "../../core/http-headers.ts";
import { matchRule, type Rule } from "../../core/rules.ts";
import { urlWithoutQuery } from "@lacewing/contracts/url-parts.ts";
import type { OriginConnections } from "../origin/origin-connections.ts";
import { type OwnedConnection, OwnedConnections } from "../origin/owned-connections.ts";
import { DeliveryBuffers } from "./delivery-buffers.ts";
import { serveDownload } from "./download-delivery.ts";
import type { HotAnswers } from "./hot-answers.ts";
import { foretoldContent, isLfsBatch, readBatchAnswer } from "./lfs-batch.ts";
import { hasBody, passThrough } from "./pass-through.ts";
import { answerWithText, gatewayFailure } from "./plain-answers.ts";
import { withOneForwardLess } from "./request-checks.ts";
import type { RequestTarget } from "./request-target.ts";
import { ruledUrl } from "./ruled-url.ts";
import type { UnsharedHosts } from "./unshared-hosts.ts";

type OriginTarget = Extract<RequestTarget, { kind: "origin" }>;

export interface ForwardingOptions {
  readonly rules: readonly Rule[];
  readonly downloads: DownloadPort;
  /** For what is passed through. */
  readonly connections: OriginConnections;
  readonly viaName: string;
  /** Bytes of a request's content that are passed on at most; `undefined`: any number. */
  readonly requestBodyBytesMax: number | undefined;
  readonly unshared: UnsharedHosts;
  readonly hot: HotAnswers;
  readonly log: Log;
}

/** An admitted request for an origin. */
export interface OriginBound {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly received: HeaderList;
  readonly target: OriginTarget;
  readonly rule: Rule | undefined;
  readonly pace: Pace | undefined;
  readonly receivedAtMs: number;
}

/** Sends admitted requests to where their answers come from: the download flow, or the origin itself. */
export class Forwarding {
  readonly #options: ForwardingOptions;
  readonly #pool = new DeliveryBuffers();
  readonly #owned = new OwnedConnections();

  constructor(options: ForwardingOptions) {
    this.#options = options;
  }

  /** Whether the client's connection has a connection to that origin for itself: then nothing is shared on it. */
  isOwned(request: IncomingMessage, url: URL, rule: Rule | undefined): boolean {
    return this.#owned.of(request.socket, ruledUrl(url, rule)) !== undefined;
  }

  forward(asked: OriginBound): void {
    const { request, response, received, target, rule } = asked;
    const { unshared, viaName, log } = this.#options;
    const headers = headersToSend(request, received, target, viaName);
    const url = ruledUrl(target.url, rule);
    let owned = this.#owned.of(request.socket, url);
    if (owned === undefined && showsConnectionCredentials(headers)) {
      if (request.socket.destroyed) return;
      try {
        owned = this.#owned.begin(request.socket, url);
      } catch (error) {
        const { status, text, headers: more } = gatewayFailure(error);
        log.warn("origin_not_reached", { host: url.host, status, error });
        response.shouldKeepAlive = false;
        answerWithText(response, status, text, more);
        return;
      }
    }
    const isRead = (request.method === "GET" || request.method === "HEAD") && !hasBody(request);
    const example = urlWithoutQuery(target.url);
    if (owned !== undefined) unshared.tell("connection_credentials", target.url.host, example);
    else if (rule !== undefined && !rule.direct && isRead) {
      this.#download(asked, headers, rule);
      return;
    } else if (rule === undefined && isRead) unshared.tell("no_rule", target.url.host, example);
    this.#passThrough(asked, headers, url, owned);
  }

  #download(asked: OriginBound, headers: HeaderList, rule: Rule): void {
    const { request, response, target, pace, receivedAtMs } = asked;
    const { downloads, hot, viaName, log } = this.#options;
    const url = redirectedUrl(target.url, rule);
    const pool = this.#pool;
    const exchange = { request, response, url, headers, rule, downloads, pool, pace, viaName };
    const remember = hot.memoryOf(request, target, rule);
    // Rejects for a fault of ours only, which ends the process.
    void serveDownload({ ...exchange, path: target.path, receivedAtMs, remember, log });
  }

  #passThrough(
    { request, response, target, pace }: OriginBound,
    headers: HeaderList,
    url: URL,
    owned: OwnedConnection | undefined,
  ): void {
    const { connections, requestBodyBytesMax, viaName, log } = this.#options;
    // An answer that the connection earned tells nothing of what the credentials alone would open.
    const onAnswer =
      owned === undefined && isLfsBatch(request, target.path)
        ? (answer: IncomingMessage) =>
            this.#readBatch(answer, url, headers, request.socket.remoteAddress)
        : undefined;
    const path = request.method === "OPTIONS" && target.isWholeServer ? "*" : target.path;
    const exchange = { request, response, url, path, headers, connections, viaName, log, onAnswer };
    passThrough({ ...exchange, owned, pace, requestBodyBytesMax });
  }

  /** The objects of a batch are what the client asks for next. */
  #readBatch(
    answer: IncomingMessage,
    batchUrl: URL,
    sent: HeaderList,
    client: string | undefined,
  ): void {
    const { rules, downloads } = this.#options;
    readBatchAnswer(answer, (objects) => {
      const contents = objects.flatMap((object) => {
        const rule = matchRule(rules, object.href);
        if (rule === undefined || rule.direct) return [];
        const content = foretoldContent(object, { rule, batchUrl, sent });
        return showsConnectionCredentials(content.headers) ? [] : [{ ...content, client }];
      });
      downloads.foretell(contents, headerOf(sent, "traceparent") ?? "");
    });
  }
}

/** The URL's own authority counts, whatever `Host` says (RFC 9112 section 3.2.2). */
const HOST: ReadonlySet<string> = new Set(["host"]);

/** End-to-end headers without `Host`, with this proxy's `Via`, and with the credentials of the URL where there are no others. */
export function headersToSend(
  request: IncomingMessage,
  received: HeaderList,
  target: OriginTarget,
  viaName: string,
): HeaderList {
  const headers = withVia(
    withOneForwardLess(withoutHeaders(endToEndHeaders(received), HOST), request.method ?? ""),
    request.httpVersion,
    viaName,
  );
  const isAuthorized = request.headers.authorization !== undefined;
  return target.authorization === undefined || isAuthorized
    ? headers
    : [...headers, ["Authorization", target.authorization]];
}
