/** A header list as it travels: order and repeated names kept. */
export type HeaderList = readonly (readonly [name: string, value: string])[];

/** More fields than any client or origin sends; 32 KiB of one-letter fields would cost more to handle than to read. */
export const HEADER_COUNT_MAX = 200;

/**
 * Fields that mean something only between two neighbours (RFC 9110 section 7.6.1), besides those that `Connection` names
 * and all of `Proxy-*`. `Trailer` is not among them: RFC 9110 section 6.6.2 made it end-to-end.
 */
const HOP_BY_HOP: ReadonlySet<string> = new Set([
  "connection",
  "keep-alive",
  "te",
  "transfer-encoding",
  "upgrade",
  "http2-settings",
]);

/**
 * Fields that `Connection` cannot take away: a sender must not list fields meant for the final recipient (RFC 9110 section
 * 7.6.1), and dropping these would change what the message says or where it ends.
 */
const NEVER_CONNECTION_OPTIONS: ReadonlySet<string> = new Set([
  "authorization",
  "cache-control",
  "content-encoding",
  "content-length",
  "content-range",
  "content-type",
  "etag",
  "host",
  "range",
  "via",
]);

/**
 * Fields that may not come as trailers: framing, routing, conditions, authentication, content format and control of the answer
 * (RFC 9110 section 6.5.1). Whoever merges trailers into the head would be told something else than we were.
 */
const NEVER_TRAILERS: ReadonlySet<string> = new Set([
  "age",
  "authorization",
  "cache-control",
  "content-encoding",
  "content-length",
  "content-range",
  "content-type",
  "cookie",
  "date",
  "expect",
  "expires",
  "host",
  "if-match",
  "if-modified-since",
  "if-none-match",
  "if-range",
  "if-unmodified-since",
  "last-modified",
  "location",
  "max-forwards",
  "pragma",
  "range",
  "retry-after",
  "set-cookie",
  "trailer",
  "vary",
  "via",
  "www-authenticate",
]);

/** The first value of a header, by lower-case name. */
export function headerOf(headers: HeaderList, lowerName: string): string | undefined {
  for (const [name, value] of headers) if (isNamed(name, lowerName)) return value;
  return undefined;
}

/** Every value of a header, in order. */
export function headerValues(headers: HeaderList, lowerName: string): readonly string[] {
  // Most of what is looked for is not there: a list is made for what is.
  let values: string[] | undefined;
  for (const [name, value] of headers) if (isNamed(name, lowerName)) (values ??= []).push(value);
  return values ?? NONE;
}

const NONE: readonly string[] = [];

/** Some twenty names are looked for in each request: nearly all that are there are of another length. */
function isNamed(name: string, lowerName: string): boolean {
  return name.length === lowerName.length && name.toLowerCase() === lowerName;
}

/** The members of a comma-separated header, over all its lines, trimmed and without empty ones (RFC 9110 section 5.6.1). */
export function headerItems(headers: HeaderList, lowerName: string): readonly string[] {
  const values = headerValues(headers, lowerName);
  if (values.length === 0) return values;
  return values
    .flatMap((value) => value.split(","))
    .map((item) => item.trim())
    .filter((item) => item !== "");
}

/** The list without fields of these lower-case names. */
export function withoutHeaders(headers: HeaderList, lowerNames: ReadonlySet<string>): HeaderList {
  return headers.filter((header) => !lowerNames.has(header[0].toLowerCase()));
}

/** What is left for the next hop: RFC 9110 section 7.6.1 and everything called `Proxy-…`. */
export function endToEndHeaders(headers: HeaderList): HeaderList {
  const options = headerItems(headers, "connection").map((option) => option.toLowerCase());
  const named = new Set(options);
  return headers.filter((header) => {
    const lower = header[0].toLowerCase();
    if (HOP_BY_HOP.has(lower) || lower.startsWith("proxy-")) return false;
    return !named.has(lower) || NEVER_CONNECTION_OPTIONS.has(lower);
  });
}

/** Trailers that may be forwarded (RFC 9110 section 6.5). */
export function forwardableTrailers(trailers: HeaderList): HeaderList {
  return withoutHeaders(endToEndHeaders(trailers), NEVER_TRAILERS);
}

/** The list with this proxy added to `Via` (RFC 9110 section 7.6.3). @param version of the message received, e.g. `1.1`. */
export function withVia(headers: HeaderList, version: string, viaName: string): HeaderList {
  return [...headers, ["Via", `${version} ${viaName}`]];
}

/** Whether a message has been through the proxy of this name before: it is going round in a circle. */
export function hasVisited(headers: HeaderList, viaName: string): boolean {
  return headerItems(headers, "via").some(
    (item) => item.split(/\s+/)[1]?.toLowerCase() === viaName.toLowerCase(),
  );
}

/** Names and values in turn (Node's `rawHeaders`) as a list. */
export function headersOfFlat(flat: readonly string[]): HeaderList {
  const headers: [string, string][] = [];
  for (let index = 0; index + 1 < flat.length; index += 2) {
    headers.push([flat[index] ?? "", flat[index + 1] ?? ""]);
  }
  return headers;
}

/** The list as names and values in turn. */
export function flatOfHeaders(headers: HeaderList): string[] {
  const flat: string[] = [];
  for (const [name, value] of headers) flat.push(name, value);
  return flat;
}
