import type { IncomingMessage } from "node:http";
import type { Clock } from "@lacewing/runtime/clock.ts";
import type { OriginClient, OriginRequest, OriginResponse } from "../../app/ports.ts";
import { showsConnectionCredentials } from "../../core/connection-auth.ts";
import {
  endToEndHeaders,
  flatOfHeaders,
  withoutHeaders,
  type HeaderList,
} from "../../core/http-headers.ts";
import { authorityOf } from "@lacewing/contracts/url-parts.ts";
import { CARRIED_OVER_REDIRECTS, contentOf, responseOf } from "./origin-answer.ts";
import type { OriginConnections } from "./origin-connections.ts";
import { OriginError } from "./origin-error.ts";
import { exchangeHead } from "./origin-exchange.ts";
import { type Asked, askedBy, RedirectChain, redirectTarget } from "./origin-redirect.ts";
import { TlsChoice } from "./tls-choice.ts";

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
/** Of a request that goes on as it came: said anew for each connection. */
const PER_CONNECTION: ReadonlySet<string> = new Set(["expect", "host"]);
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
  let target: Asked = { ...askedBy(request), url: await tls.urlFor(asked, request.useTls) };
  let headers = headersToSend(request);
  const carried = new Map<string, string>();
  const chain = new RedirectChain(signal);
  const { method } = request;
  for (;;) {
    const { url } = target;
    const message = await askOnce(target, headers, context);
    const next =
      request.isAsItCame === true ? undefined : redirectTarget(message, url, request.url);
    const isElsewhere = authorityOf(url) !== authorityOf(request.url);
    // Where we must not go ourselves, the client may: it is told of the redirect as of any other answer.
    if (next === undefined || connections.problemOf(next.url) !== undefined) {
      if (!chain.isForClient(message.statusCode ?? 0, isElsewhere)) {
        const content = contentOf(message, url, signal);
        return responseOf({ message, carried, content, isElsewhere, method });
      }
      message.on("error", () => {});
      message.destroy();
      return chain.handOn(method);
    }
    if (!isElsewhere) carry(message, carried);
    if (!chain.follow(message, target, next)) return chain.handOn(method);
    if (next.url.protocol === "http:" && url.protocol === "https:")
      tls.prefersPlain(next.url.hostname);
    if (next.url.origin !== url.origin)
      headers = headers.filter(([name]) => OTHER_ORIGIN_KEEPS.has(name.toLowerCase()));
    target = next;
  }
}

/** One request and the head of its answer. The connection, its name and `Host` are those of the URL, whatever the path says. */
async function askOnce(
  { url, path }: Asked,
  headers: HeaderList,
  context: {
    readonly request: OriginRequest;
    readonly connections: OriginConnections;
    readonly signal: AbortSignal;
  },
): Promise<IncomingMessage> {
  const { request, connections, signal } = context;
  const sent = flatOfHeaders([["Host", authorityOf(url)], ...headers]);
  return exchangeHead(
    url,
    {
      connections,
      client: request.client,
      first: showsConnectionCredentials(headers) ? "fresh" : "kept",
      optionsFor: (connection) => ({
        ...connections.optionsFor(url, connection),
        method: request.method,
        path,
        headers: sent,
      }),
    },
    signal,
  );
}

function headersToSend(request: OriginRequest): HeaderList {
  const { ifRange } = request;
  if (request.isAsItCame === true)
    return withoutHeaders(endToEndHeaders(request.headers), PER_CONNECTION);
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

function carry(message: IncomingMessage, carried: Map<string, string>): void {
  for (const name of CARRIED_OVER_REDIRECTS) {
    const value = message.headers[name];
    // The first to say it is the one the client asked.
    if (typeof value === "string" && !carried.has(name)) carried.set(name, value);
  }
}
