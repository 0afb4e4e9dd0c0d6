import type { HeaderList } from "./http-headers.ts";

/**
 * Fields that cannot be what earns a client its answer: they say in which form it wants it, what it has already, or which way the
 * request took. Anything else may be a credential, whatever its name: `Authorization`, `Cookie`, `Private-Token`, `Referer`, …
 */
const NO_CREDENTIALS: ReadonlySet<string> = new Set([
  "accept",
  "accept-charset",
  "accept-encoding",
  "accept-language",
  "cache-control",
  "content-length",
  "content-type",
  "expect",
  "host",
  "if-match",
  "if-modified-since",
  "if-none-match",
  "if-range",
  "if-unmodified-since",
  "pragma",
  "priority",
  "range",
  "traceparent",
  "tracestate",
  "user-agent",
  "via",
]);

/** Whether a field of this name may be what earns a client its answer. */
export function mayBeCredential(name: string): boolean {
  return !NO_CREDENTIALS.has(name.toLowerCase());
}

/**
 * Everything in a request's headers that may be a credential, as texts in an order of their own: two requests with the same ones
 * show the same to the origin. Fields that differ with every request make every request a stranger, which is safe.
 */
export function credentialsIn(headers: HeaderList): readonly string[] {
  return headers
    .filter(([name]) => mayBeCredential(name))
    .map(([name, value]) => `${name.toLowerCase()}:${value}`)
    .toSorted();
}
