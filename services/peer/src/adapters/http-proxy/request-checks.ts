import { hasVisited, headerItems, headerValues, type HeaderList } from "../../core/http-headers.ts";

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
  if (headers.length > headerCountMax) {
    return { status: 431, reason: `${headers.length} header fields; at most ${headerCountMax}` };
  }
  const hosts = headerValues(headers, "host");
  if (hosts.length > 1) return { status: 400, reason: "more than one Host header" };
  if (hosts.length === 0 && httpVersion === "1.1") return { status: 400, reason: "no Host header" };
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
  const isCounted = method === "TRACE" || method === "OPTIONS";
  if (isCounted && headerValues(headers, "max-forwards")[0]?.trim() === "0") {
    return { status: 501, reason: `${method} ends here: Max-Forwards is 0` };
  }
  return undefined;
}

/** `127.0.0.1:65001`, `[::1]`, `localhost:65001`, `proxy.localhost`: names that nobody else can answer for. */
const LOOPBACK_AUTHORITY =
  /^(?:127(?:\.\d{1,3}){3}|\[::1\]|(?:[a-z0-9-]+\.)*localhost)(?::\d{1,5})?$/i;

/**
 * Why a request by the URL prefix is refused: because a web page is behind it. A page that was fetched through the prefix would
 * share its origin with everything else that can be fetched so, the intranet included, and could read all of it in the
 * name of the machine's user. Clients that download content send none of these fields.
 *
 * @param isLoopback whether this port can be reached from this machine only: then a name that is not loopback's own was bound
 *   to this address by somebody else (DNS rebinding).
 */
export function browserProblem(
  headers: HeaderList,
  isLoopback: boolean,
): RequestProblem | undefined {
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
  const host = headerValues(headers, "host")[0] ?? "";
  if (isLoopback && !LOOPBACK_AUTHORITY.test(host)) {
    return {
      status: 403,
      reason:
        "the Host of a request by the URL prefix must be a loopback address or localhost here",
    };
  }
  return undefined;
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

/** The headers of an answer, sandboxed when it was asked for by the URL prefix. */
export function sandboxed(headers: HeaderList, rawTarget: string | undefined): HeaderList {
  if (!isByPrefix(rawTarget)) return headers;
  const ours = new Set(SANDBOX.map(([name]) => name.toLowerCase()));
  return [...headers.filter(([name]) => !ours.has(name.toLowerCase())), ...SANDBOX];
}
