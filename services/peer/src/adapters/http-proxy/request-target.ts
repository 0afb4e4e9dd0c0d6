import { withBytesEncoded } from "@lacewing/contracts/url-parts.ts";
import { urlHostOf } from "../url-host.ts";
/** What the first line of a request asks the proxy port for. */
export type RequestTarget =
  /** Something at an origin. */
  | {
      readonly kind: "origin";
      readonly url: URL;
      /** Path and query as the client wrote them: a signature may cover every character. */
      readonly path: string;
      /** Neither path nor query: with OPTIONS it means the server as a whole (RFC 9112 section 3.2.4). */
      readonly isWholeServer: boolean;
      /** `Authorization` for user and password in the URL, which are not sent as part of it (RFC 9110 section 4.2.4). */
      readonly authorization: string | undefined;
    }
  | { readonly kind: "health" }
  /** A path of this port itself that means nothing. */
  | { readonly kind: "unknown" }
  | { readonly kind: "malformed"; readonly reason: string };

const URL_PREFIX = "/url/";

/**
 * Reads a request target: absolute form (RFC 9112 section 3.2.2), `/url/<absolute URL>`, or a path of the port itself.
 * Clients and proxies that tidy paths turn `https://host` into `https:/host`; that is understood too.
 */
export function parseRequestTarget(rawTarget: string): RequestTarget {
  if (rawTarget.startsWith(URL_PREFIX)) {
    const match = /^(https?):\/+(.*)$/is.exec(rawTarget.slice(URL_PREFIX.length));
    if (match === null) {
      return malformed("after /url/ comes a whole URL: /url/https://host/path");
    }
    return originTarget(`${match[1]}://${match[2]}`);
  }
  if (/^https?:\/\//i.test(rawTarget)) return originTarget(rawTarget);
  if (/^[a-z][a-z0-9+.-]*:/i.test(rawTarget)) {
    return malformed("only http and https URLs can be fetched");
  }
  if (!rawTarget.startsWith("/") && rawTarget !== "*") {
    return malformed("the request target is neither a URL nor a path");
  }
  return rawTarget.split("?", 1)[0] === "/healthz" ? { kind: "health" } : { kind: "unknown" };
}

function originTarget(text: string): RequestTarget {
  const url = URL.parse(withBytesEncoded(text));
  const [, authority = "", path = "", query = ""] =
    /^https?:\/\/([^/?#]*)([^?#]*)([^#]*)/is.exec(text) ?? [];
  if (url === null || authority === "" || url.hostname === "") {
    return malformed("the URL has no valid host");
  }
  // Some programs take it for a slash, others for a letter: rules would look at another host or path than the origin.
  if (/\\/.test(authority + path)) {
    return malformed("a backslash in a URL has to be written as %5C");
  }
  const written = `${path}${query}`;
  const authorization = authorizationOf(url);
  // Each of these reads the whole URL anew.
  if (authorization !== undefined || text.includes("@")) {
    url.username = "";
    url.password = "";
  }
  if (text.includes("#")) url.hash = "";
  return {
    kind: "origin",
    url,
    path: written.startsWith("/") ? written : `/${written}`,
    isWholeServer: written === "",
    authorization,
  };
}

function authorizationOf(url: URL): string | undefined {
  if (url.username === "" && url.password === "") return undefined;
  try {
    const pair = `${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`;
    return `Basic ${Buffer.from(pair).toString("base64")}`;
  } catch {
    return undefined;
  }
}

function malformed(reason: string): RequestTarget {
  return { kind: "malformed", reason };
}

/** Host and port of a CONNECT target (RFC 9110 section 9.3.6); the port is never left out. */
export function parseConnectTarget(
  authority: string,
): { readonly host: string; readonly port: number } | undefined {
  const match = /^(\[[0-9a-f:.]+\]|[^:/?#@\s[\]\\]+):(\d{1,5})$/i.exec(authority);
  const port = Number(match?.[2]);
  if (match?.[1] === undefined || port < 1 || port > 65_535) return undefined;
  const host = urlHostOf(match[1])?.replace(/^\[|\]$/g, "");
  return host === undefined ? undefined : { host, port };
}
