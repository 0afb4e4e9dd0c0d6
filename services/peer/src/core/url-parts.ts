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
export function queryParamsOf({ search }: UrlParts): readonly QueryParam[] {
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

function decoded(text: string): string {
  if (!/[%+]/.test(text)) return text;
  try {
    return decodeURIComponent(text.replaceAll("+", " "));
  } catch {
    // Not percent-encoding: the name is what is written.
    return text;
  }
}
