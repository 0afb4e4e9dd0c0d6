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
