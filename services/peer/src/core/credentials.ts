import { CONDITIONS } from "./conditions.ts";
import { headerOf, type HeaderList } from "./http-headers.ts";
import type { UrlParts } from "@lacewing/contracts/url-parts.ts";

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

/** Fields that an opening request has not as the client sent them. */
const CHANGED: ReadonlySet<string> = new Set(["range", "if-range", ...CONDITIONS]);
/** We ask for no encoding; a client that says the same may have signed it. */
const ENCODING = "accept-encoding";

/**
 * Whether what a client shows counts for this one request as it is, and for no other of ours in its name: Digest, whose nonces are
 * counted (RFC 7616 section 3.4), or a signature of AWS's kind, in a field or in the query, over fields that we would change.
 */
export function isBoundToRequest(headers: HeaderList, url: Pick<UrlParts, "search">): boolean {
  const authorization = headerOf(headers, "authorization")?.trim() ?? "";
  if (/^digest(?:\s|$)/i.test(authorization)) return true;
  const isSigned = /^[a-z]+4-[a-z0-9-]+\s/i.test(authorization);
  const named = isSigned ? /SignedHeaders=([^,\s]*)/i.exec(authorization)?.[1] : undefined;
  const names = named ?? signedByUrl(url) ?? "";
  return names.split(";").some((text) => {
    const name = text.toLowerCase();
    const isOurs = name === ENCODING && headerOf(headers, ENCODING)?.trim() !== "identity";
    return isOurs || CHANGED.has(name);
  });
}

/** `X-Amz-SignedHeaders=host%3Brange`, and the same of others. */
function signedByUrl({ search }: Pick<UrlParts, "search">): string | undefined {
  return /[?&]x-[a-z]+-SignedHeaders=([^&]*)/i.exec(search)?.[1]?.replaceAll(/%3b/gi, ";");
}
