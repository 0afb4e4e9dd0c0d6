/**
 * A parsed absolute URL, as far as rules and identity look at it. The field names and forms are those of the WHATWG `URL`,
 * so that adapters pass one as it is; core has no `URL` of its own.
 */
export interface UrlParts {
  /** `http:` or `https:`. */
  readonly protocol: string;
  /** Lower case, IPv6 in brackets, without port. */
  readonly hostname: string;
  /** Empty for the scheme's default port. */
  readonly port: string;
  readonly pathname: string;
  /** Empty, or `?` and the query as it was written. */
  readonly search: string;
}

/** One parameter of a query as it was written, and its decoded name. */
export interface QueryParam {
  readonly name: string;
  readonly text: string;
}

const DEFAULT_PORT: Readonly<Record<string, string>> = { "http:": "80", "https:": "443" };

/** `host`, or `host:port` when the port is not the scheme's own; lower case. */
export function authorityOf(url: UrlParts): string {
  const host = url.hostname.toLowerCase();
  const isDefault = url.port === "" || url.port === DEFAULT_PORT[url.protocol.toLowerCase()];
  return isDefault ? host : `${host}:${url.port}`;
}

/** What rules are matched against: no user info, query or fragment. */
export function urlWithoutQuery(url: UrlParts): string {
  return `${url.protocol.toLowerCase()}//${authorityOf(url)}${url.pathname}`;
}

/** The parameters in the order they were written; empty ones are left out. */
export function queryParamsOf({ search }: Pick<UrlParts, "search">): readonly QueryParam[] {
  const params: QueryParam[] = [];
  for (const text of search.slice(search.startsWith("?") ? 1 : 0).split("&")) {
    if (text === "") continue;
    const end = text.indexOf("=");
    params.push({ name: decoded(end < 0 ? text : text.slice(0, end)), text });
  }
  return params;
}

/** A copy in which each part is read once: a `URL` works out each anew whenever it is asked. */
export function partsOf({ protocol, hostname, port, pathname, search }: UrlParts): UrlParts {
  return { protocol, hostname, port, pathname, search };
}

/** Path and query, as they are asked for. */
export function pathOf({ pathname, search }: Pick<UrlParts, "pathname" | "search">): string {
  return `${pathname}${search}`;
}

/** Nothing in it ends the first line of a request, or a word of that line. */
const REQUEST_PATH = /^\/[!-~]*$/;

/** Whether a text may stand in the first line of a request as path and query. */
export function isRequestPath(text: string): boolean {
  return REQUEST_PATH.test(text);
}

/**
 * Path and query of an absolute http(s) URL as they were written: a `URL` encodes and tidies them, and a signature may cover every
 * character. `undefined` when they cannot be sent so, or when programs read the text in different ways.
 */
export function writtenPathOf(absoluteUrl: string): string | undefined {
  const [, authority = "", path = "", query = ""] =
    /^https?:\/\/([^/?#]*)([^?#]*)([^#]*)/i.exec(absoluteUrl) ?? [];
  if (authority === "" || /\\/.test(authority + path)) return undefined;
  const written = path.startsWith("/") ? path + query : `/${path}${query}`;
  return isRequestPath(written) ? written : undefined;
}

/** The parts with path and query as they are asked for: what they name may be something else than what their tidied form names. */
export function writtenParts(parts: UrlParts, path: string | undefined): UrlParts {
  if (path === undefined || path === pathOf(parts)) return parts;
  const at = path.indexOf("?");
  const pathname = at < 0 ? path : path.slice(0, at);
  return { ...partsOf(parts), pathname, search: at < 0 ? "" : path.slice(at) };
}

function decoded(text: string): string {
  if (!/[%+]/.test(text)) return text;
  try {
    return decodeURIComponent(text.replaceAll("+", " "));
  } catch {
    // Not percent-encoding: the name is what is written.
    return text;
  }
}

/**
 * A URL from the head of a message, in which each byte is a letter of its own, with the bytes above 0x7f percent-encoded: parsed as it is, the
 * letter would be encoded instead, in two bytes.
 */
export function withBytesEncoded(text: string): string {
  return text.replace(
    /[\u0080-\u00ff]/g,
    (letter) => `%${letter.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}
