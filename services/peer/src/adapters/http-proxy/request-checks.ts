import { withBytesEncoded } from "@lacewing/contracts/url-parts.ts";
import { isIP } from "node:net";
import { hostname } from "node:os";
import {
  hasVisited,
  headerItems,
  headerOf,
  headerValues,
  type HeaderList,
  withoutHeaders,
} from "../../core/http-headers.ts";

/** Why a request is refused before anything is done for it. */
export interface RequestProblem {
  readonly status: number;
  readonly reason: string;
}

/**
 * Checks what the parser lets pass, and what two parsers in a row could understand differently (RFC 9112 section 11.2).
 * Duplicate or contradicting lengths never get here: the parser refuses them.
 */
export function requestProblem(request: {
  readonly headers: HeaderList;
  /** `1.1` */
  readonly httpVersion: string;
  readonly method: string;
  readonly viaName: string;
  readonly headerCountMax: number;
}): RequestProblem | undefined {
  const { headers, httpVersion, method, viaName, headerCountMax } = request;
  if (httpVersion !== "1.1" && httpVersion !== "1.0") {
    return { status: 505, reason: `HTTP/${httpVersion} is not understood here` };
  }
  if (headers.length > headerCountMax) {
    return { status: 431, reason: `${headers.length} header fields; at most ${headerCountMax}` };
  }
  const hosts = headerValues(headers, "host");
  if (hosts.length > 1) return { status: 400, reason: "more than one Host header" };
  if (hosts.length === 0 && httpVersion === "1.1") return { status: 400, reason: "no Host header" };
  if (!HOST_FIELD.test(hosts[0] ?? "")) {
    return { status: 400, reason: "the Host header is not a host and port" };
  }
  const codings = headerItems(headers, "transfer-encoding");
  if (codings.length > 0) {
    if (httpVersion !== "1.1") {
      return { status: 400, reason: `Transfer-Encoding is not part of HTTP/${httpVersion}` };
    }
    if (headerValues(headers, "content-length").length > 0) {
      return { status: 400, reason: "both Content-Length and Transfer-Encoding" };
    }
    if (codings.length !== 1 || codings[0]?.toLowerCase() !== "chunked") {
      return { status: 501, reason: "the only transfer coding understood is chunked" };
    }
  }
  if (hasVisited(headers, viaName)) {
    return {
      status: 508,
      reason: `the request came back to this proxy (${viaName}): check that no proxy setting or URL points it to itself`,
    };
  }
  if (isCounted(method)) {
    const forwards = headerValues(headers, "max-forwards");
    if (forwards.length > 1 || !/^\s*\d*\s*$/.test(forwards[0] ?? "")) {
      return { status: 400, reason: "Max-Forwards is not a number" };
    }
    if (method === "TRACE" && Number(forwards[0] ?? 1) === 0) {
      return { status: 501, reason: `${method} ends here: Max-Forwards is 0` };
    }
  }
  return undefined;
}

/** RFC 9110 section 7.2; empty for a target without authority. Whether it agrees with the target does not matter: that one counts. */
const HOST_FIELD = /^\s*(?:\[[0-9a-f:.]+\]|[a-z0-9._~%!$&'()*+,;=-]*)(?::\d{0,5})?\s*$/i;

/** Methods whose way through proxies is counted (RFC 9110 section 7.6.2). */
function isCounted(method: string): boolean {
  return method === "TRACE" || method === "OPTIONS";
}

/** Whether an OPTIONS asks what this proxy itself can do. */
export function isOptionsOfProxy(method: string, target: string, headers: HeaderList): boolean {
  if (method !== "OPTIONS") return false;
  const forwards = headerValues(headers, "max-forwards")[0];
  return target === "*" || (forwards !== undefined && Number(forwards) === 0);
}

/** The headers with one forward less left, for the methods that count them. */
export function withOneForwardLess(headers: HeaderList, method: string): HeaderList {
  if (!isCounted(method)) return headers;
  return headers.map(([name, value]) =>
    name.toLowerCase() === "max-forwards" ? [name, String(Number(value) - 1)] : [name, value],
  );
}

/** Hosts by which clients may name this port. */
export interface PortNames {
  /** Whether the port can be reached from this machine only. */
  readonly isLoopback: boolean;
  /** Besides addresses and loopback's own; lower case. */
  readonly names: ReadonlySet<string>;
}

/**
 * @param address that the port listens at.
 * @param names that the settings give it; the machine's own is added.
 */
export function portNames(address: string, names: readonly string[]): PortNames {
  return {
    isLoopback: address === "::1" || address === "localhost" || address.startsWith("127."),
    names: new Set([hostname(), ...names].map((name) => name.toLowerCase())),
  };
}

/** `127.0.0.1`, `[::1]`, `localhost`, `proxy.localhost`: names that nobody else can answer for. */
const LOOPBACK_HOST = /^(?:127(?:\.\d{1,3}){3}|\[::1\]|(?:[a-z0-9-]+\.)*localhost)$/;

/** An address is never somebody else's name: a page under it came from this port. */
function isOwnHost(authority: string, { isLoopback, names }: PortNames): boolean {
  const host = authority
    .trim()
    .toLowerCase()
    .replace(/:\d{0,5}$/, "");
  if (LOOPBACK_HOST.test(host)) return true;
  const isAddress = isIP(host.replace(/^\[|\]$/g, "")) !== 0;
  return !isLoopback && (isAddress || names.has(host.replace(/\.$/, "")));
}

/**
 * Why a request by the URL prefix is refused: because a web page is behind it. A page that was fetched through the prefix would
 * share its origin with everything else that can be fetched so, the intranet included, and could read all of it in the
 * name of the machine's user. Clients that download content send none of these fields.
 *
 * @param port a name that is not its own was bound to its address by somebody else (DNS rebinding): a page under it is of this
 *   port's origin, and over plain HTTP browsers then send none of these fields either.
 */
export function browserProblem(headers: HeaderList, port: PortNames): RequestProblem | undefined {
  const site = headerValues(headers, "sec-fetch-site")[0];
  const isPage =
    (site !== undefined && site !== "none") ||
    headerValues(headers, "sec-fetch-mode")[0] === "navigate" ||
    headerValues(headers, "origin").length > 0;
  if (isPage) {
    return {
      status: 403,
      reason: "the URL prefix is for programs that download, not for web pages",
    };
  }
  if (isOwnHost(headerValues(headers, "host")[0] ?? "", port)) return undefined;
  const reason = port.isLoopback
    ? "the Host of a request by the URL prefix must be a loopback address or localhost here"
    : "the Host of a request by the URL prefix must be this machine's address or name, or one of proxy.names in its settings file";
  return { status: 403, reason };
}

/** What an answer by the URL prefix says last, whatever the origin said: a browser must not run it as this port's own. */
const SANDBOX: HeaderList = [
  ["Content-Security-Policy", "sandbox"],
  ["X-Content-Type-Options", "nosniff"],
];

/** Origin form: the URL prefix. */
export function isByPrefix(rawTarget: string | undefined): boolean {
  return rawTarget?.startsWith("/") === true;
}

/**
 * The headers of an answer as they are handed on: unchanged, or made fit for the URL prefix, where every origin is a path of this port.
 * It is sandboxed; a path it redirects to is told as a path of this port; and its cookies are dropped, because a client would send
 * them to every other origin that it asks by the prefix.
 *
 * @param url that was asked.
 */
export function sandboxed(
  headers: HeaderList,
  rawTarget: string | undefined,
  url: URL,
): HeaderList {
  if (!isByPrefix(rawTarget)) return headers;
  const kept = withoutHeaders(headers, SET_HERE);
  if (headerOf(kept, "location") === undefined) return [...kept, ...SANDBOX];
  const led = kept.map<HeaderList[number]>(([name, value]) =>
    name.toLowerCase() === "location" ? [name, prefixedLocation(value, url)] : [name, value],
  );
  return [...led, ...SANDBOX];
}

const SET_HERE: ReadonlySet<string> = new Set([
  ...SANDBOX.map(([name]) => name.toLowerCase()),
  "set-cookie",
]);

/** Whole URLs lead where they say; what is relative would lead to a path of this port that means nothing. */
function prefixedLocation(location: string, url: URL): string {
  const target = URL.canParse(location) ? null : URL.parse(withBytesEncoded(location), url.href);
  return target === null ? location : `/url/${target.href}`;
}
