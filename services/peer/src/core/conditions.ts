import { headerOf, headerValues, type HeaderList } from "./http-headers.ts";
import { parseHttpDate } from "./http-date.ts";

/** What a representation is known by. Empty texts: not known. */
export interface Validators {
  /** With its quotes, and `W/` when weak. */
  readonly etag: string;
  readonly lastModified: string;
}

/** Fields that make a request conditional, `If-Range` apart (RFC 9110 section 13.1). */
export const CONDITIONS: ReadonlySet<string> = new Set([
  "if-match",
  "if-none-match",
  "if-modified-since",
  "if-unmodified-since",
]);

/** Whether a request may end without content because of what its client has already. */
export function isConditional(headers: HeaderList): boolean {
  return headers.some(([name]) => CONDITIONS.has(name.toLowerCase()));
}

/**
 * Judges the preconditions of a GET or HEAD in the order of RFC 9110 section 13.2.2.
 *
 * @returns the status that ends the request, or `undefined` when it is to be performed.
 */
export function failedPrecondition(headers: HeaderList, known: Validators): 304 | 412 | undefined {
  const ifMatch = entityTags(headers, "if-match");
  if (ifMatch !== undefined) {
    if (!ifMatch.some((tag) => tag === "*" || isStrongMatch(tag, known.etag))) return 412;
  } else if (isNewer(known.lastModified, headerOf(headers, "if-unmodified-since"))) {
    return 412;
  }
  const ifNoneMatch = entityTags(headers, "if-none-match");
  if (ifNoneMatch !== undefined) {
    return ifNoneMatch.some((tag) => tag === "*" || isWeakMatch(tag, known.etag)) ? 304 : undefined;
  }
  const ifModifiedSince = headerOf(headers, "if-modified-since");
  const comparable =
    parseHttpDate(ifModifiedSince ?? "") !== undefined && known.lastModified !== "";
  return comparable && !isNewer(known.lastModified, ifModifiedSince) ? 304 : undefined;
}

/** Whether `Range` counts: there is no `If-Range`, or it names exactly this representation (RFC 9110 section 13.1.5). */
export function isRangeWanted(headers: HeaderList, known: Validators): boolean {
  const ifRange = headerOf(headers, "if-range")?.trim();
  if (ifRange === undefined) return true;
  return /^(?:W\/)?"/.test(ifRange)
    ? isStrongMatch(ifRange, known.etag)
    : ifRange !== "" && ifRange === known.lastModified;
}

/** The members of `If-Match` or `If-None-Match`; `undefined` when the field is absent. */
function entityTags(headers: HeaderList, lowerName: string): readonly string[] | undefined {
  const values = headerValues(headers, lowerName);
  // A comma may stand inside an entity tag, so the list is not simply split.
  return values.length === 0
    ? undefined
    : values.flatMap((value) => value.match(/(?:W\/)?"[^"]*"|\*/g) ?? []);
}

function isStrongMatch(tag: string, etag: string): boolean {
  return etag !== "" && !tag.startsWith("W/") && tag === etag;
}

function isWeakMatch(tag: string, etag: string): boolean {
  return etag !== "" && tag.replace(/^W\//, "") === etag.replace(/^W\//, "");
}

/** Whether the representation changed after a date; an unknown or malformed date is ignored. */
function isNewer(lastModified: string, date: string | undefined): boolean {
  const changed = parseHttpDate(lastModified);
  const limit = parseHttpDate(date ?? "");
  return changed !== undefined && limit !== undefined && changed > limit;
}
