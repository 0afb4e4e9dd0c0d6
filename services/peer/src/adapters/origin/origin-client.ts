import type { IncomingMessage } from "node:http";
import type { Clock } from "@lacewing/runtime/clock.ts";
import type { OriginClient, OriginRequest, OriginResponse } from "../../app/ports.ts";
import { showsConnectionCredentials } from "../../core/connection-auth.ts";
import {
  endToEndHeaders,
  flatOfHeaders,
  headerOf,
  headersOfFlat,
  withoutHeaders,
  type HeaderList,
} from "../../core/http-headers.ts";
import { NAMES_DIGEST } from "../../core/identity.ts";
import { authorityOf } from "../../core/url-parts.ts";
import { readBody } from "./origin-body.ts";
import type { OriginConnections } from "./origin-connections.ts";
import { OriginError } from "./origin-error.ts";
import { exchangeHead } from "./origin-exchange.ts";
import { TlsChoice } from "./tls-choice.ts";

/** Redirects followed for one request: hubs and registries need two. */
export const REDIRECT_COUNT_MAX = 5;
/** A redirect's own body is read to keep its connection when it is no longer than this. */
const REDIRECT_BODY_BYTES_MAX = 64 * 1024;

const REDIRECT_STATUS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);
/**
 * What a redirect to another origin takes along. Everything else may be a credential of the first one, whatever its name:
 * `authorization`, `cookie`, `private-token`, `x-api-key`, …
 */
const OTHER_ORIGIN_KEEPS: ReadonlySet<string> = new Set([
  "accept",
  "accept-encoding",
  "accept-language",
  "cache-control",
  "if-match",
  "if-modified-since",
  "if-none-match",
  "if-range",
  "if-unmodified-since",
  "pragma",
  "range",
  "traceparent",
  "tracestate",
  "user-agent",
  // A circle of proxies is noticed by it.
  "via",
]);
/**
 * Ours to say. Content is asked for as it is stored (no encoding), and the client's own range, replaced by the request's, would
 * contradict it.
 */
const OURS: ReadonlySet<string> = new Set([
  "accept-encoding",
  "content-length",
  "expect",
  "host",
  "if-range",
  "range",
]);
/** What a hub or registry says about content when it redirects to the storage that sends it; the storage does not repeat it. */
const CARRIED_OVER_REDIRECTS = [...NAMES_DIGEST, "x-linked-size", "x-repo-commit"] as const;
/** Not believed when another server than the one that was asked says it: its word would name content of the asked one's. */
const ONLY_OF_THE_ASKED: ReadonlySet<string> = new Set(CARRIED_OVER_REDIRECTS);

/** Reads origins over `node:http` and `node:https`; see the port for what it promises. */
export function createOriginClient(options: {
  /** Closed with the client. */
  readonly connections: OriginConnections;
  readonly clock: Clock;
}): OriginClient {
  const { connections, clock } = options;
  const tls = new TlsChoice(clock, (hostname, timeoutMs) =>
    connections.speaksTls(hostname, timeoutMs),
  );
  return {
    open: async (request, signal) => openFollowing({ request, connections, tls, signal }),
    close: () => connections.close(),
  };
}

async function openFollowing(context: {
  readonly request: OriginRequest;
  readonly connections: OriginConnections;
  readonly tls: TlsChoice;
  readonly signal: AbortSignal;
}): Promise<OriginResponse> {
  const { request, connections, tls, signal } = context;
  // The port that is asked counts; by "auto" the plain one, as the one of TLS is only tried where nothing is against it.
  const asked = request.useTls === true ? await tls.urlFor(request.url, true) : request.url;
  const denial = connections.problemOf(asked);
  if (denial !== undefined) throw new OriginError("origin_denied", denial);
  let url = await tls.urlFor(asked, request.useTls);
  let headers = headersToSend(request);
  const carried = new Map<string, string>();
  for (let redirectCount = 0; ; redirectCount++) {
    const target = url;
    const sent = flatOfHeaders([["Host", authorityOf(target)], ...headers]);
    const message = await exchangeHead(
      target,
      {
        connections,
        first: showsConnectionCredentials(headers) ? "fresh" : "kept",
        optionsFor: (connection) => ({
          ...connections.optionsFor(target, connection),
          method: request.method,
          path: `${target.pathname}${target.search}`,
          headers: sent,
        }),
      },
      signal,
    );
    const next = redirectTarget(message, target, request.url);
    const isElsewhere = authorityOf(target) !== authorityOf(request.url);
    // Where we must not go ourselves, the client may: it is told of the redirect as of any other answer.
    if (next === undefined || connections.problemOf(next) !== undefined) {
      const { method } = request;
      return responseOf({ message, carried, url: target, isElsewhere, method, signal });
    }
    if (!isElsewhere) carry(message, carried);
    discardRedirect(message);
    if (redirectCount === REDIRECT_COUNT_MAX) {
      const from = request.url.host;
      const text = `${from} redirects more than ${REDIRECT_COUNT_MAX} times`;
      throw new OriginError("origin_redirect_loop", text);
    }
    if (next.protocol === "http:" && target.protocol === "https:") tls.prefersPlain(next.hostname);
    if (next.origin !== target.origin)
      headers = headers.filter(([name]) => OTHER_ORIGIN_KEEPS.has(name.toLowerCase()));
    url = next;
  }
}

function headersToSend(request: OriginRequest): HeaderList {
  const { ifRange } = request;
  const range = rangeField(request);
  return [
    ...withoutHeaders(endToEndHeaders(request.headers), OURS),
    ["Accept-Encoding", "identity"],
    ...(range === undefined ? [] : ([["Range", range]] as const)),
    ...(range === undefined || ifRange === undefined ? [] : ([["If-Range", ifRange]] as const)),
  ];
}

function rangeField({ range, clientRange }: OriginRequest): string | undefined {
  if (clientRange !== undefined || range === undefined) return clientRange;
  return `bytes=${range.start}-${range.end === undefined ? "" : range.end - 1}`;
}

/**
 * Where an answer sends us, or `undefined` when it is to be handed on as it is: it is no redirect, its target is no http(s) URL,
 * or it would take a client that asked by https to plain http.
 */
function redirectTarget(message: IncomingMessage, from: URL, asked: URL): URL | undefined {
  const { location } = message.headers;
  if (!REDIRECT_STATUS.has(message.statusCode ?? 0) || location === undefined) return undefined;
  const target = URL.parse(location, from.href);
  if (target === null || !/^https?:$/.test(target.protocol)) return undefined;
  const isDowngrade = target.protocol === "http:" && from.protocol === "https:";
  if (isDowngrade && asked.protocol === "https:") return undefined;
  target.hash = "";
  target.username = "";
  target.password = "";
  return target;
}

function carry(message: IncomingMessage, carried: Map<string, string>): void {
  for (const name of CARRIED_OVER_REDIRECTS) {
    const value = message.headers[name];
    // The first to say it is the one the client asked.
    if (typeof value === "string" && !carried.has(name)) carried.set(name, value);
  }
}

function discardRedirect(message: IncomingMessage): void {
  message.on("error", () => {});
  const length = Number(message.headers["content-length"] ?? Number.NaN);
  if (length <= REDIRECT_BODY_BYTES_MAX) message.resume();
  else message.destroy();
}

function responseOf(answer: {
  readonly message: IncomingMessage;
  readonly carried: ReadonlyMap<string, string>;
  readonly url: URL;
  readonly isElsewhere: boolean;
  readonly method: "GET" | "HEAD";
  readonly signal: AbortSignal;
}): OriginResponse {
  const { message, carried, url, isElsewhere, method, signal } = answer;
  const all = endToEndHeaders(headersOfFlat(message.rawHeaders));
  const own = isElsewhere ? withoutHeaders(all, ONLY_OF_THE_ASKED) : all;
  const added = [...carried].filter(([name]) => headerOf(own, name) === undefined);
  const headers: HeaderList = [...own, ...added];
  const length = /^\d{1,16}$/.exec(message.headers["content-length"] ?? "")?.[0];
  const bodyLength = length === undefined ? undefined : Number(length);
  const hasBody = method === "GET" && message.statusCode !== 304 && message.statusCode !== 204;
  return {
    status: message.statusCode ?? 0,
    headers,
    isElsewhere,
    header: (name) => headerOf(headers, name),
    bodyLength,
    ...readBody({ message, url, expectedBytes: hasBody ? bodyLength : 0, signal }),
  };
}
