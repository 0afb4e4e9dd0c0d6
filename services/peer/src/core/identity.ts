import { digestOfHex, parseDigest, type Digest } from "@lacewing/contracts/ids.ts";
import { CONTENT_LENGTH_BYTES_MAX } from "@lacewing/contracts/piece-length.ts";
import { canonicalQuery, identifyingParams } from "@lacewing/contracts/query-filters.ts";
import { authorityOf, urlWithoutQuery, type UrlParts } from "@lacewing/contracts/url-parts.ts";
import { hexOfBase64 } from "./base64.ts";
import { parseContentRange } from "./content-range.ts";
import { headerItems, headerOf, headerValues, type HeaderList } from "./http-headers.ts";
import type { Rule } from "./rules.ts";

/** The part of a rule that identity looks at. */
type IdentityRule = Pick<Rule, "filteredQueryParams" | "share" | "useTls">;

/**
 * The URL that names content without an anchor: scheme and host in lower case, default port, user info and fragment
 * dropped, path as given, filtered parameters removed, the rest sorted by name (equal names keep their order).
 */
export function canonicalUrl(
  url: UrlParts,
  rule: Pick<IdentityRule, "filteredQueryParams">,
): string {
  return `${urlWithoutQuery(url)}${canonicalQuery(identifyingParams(url, rule.filteredQueryParams))}`;
}

/**
 * The URL as events, logs, spans and SQL show it: no user info, query or fragment. No list of names tells a signature from
 * a harmless parameter for sure.
 */
export function urlWithoutSecrets(url: UrlParts): string {
  return urlWithoutQuery(url);
}

/**
 * Who may share copies: the origin's authority unless the rule names a domain. Knowing a digest must not let somebody fetch
 * private content through a server of his own. One that is asked in the open is another origin than the one of the same name that
 * TLS vouches for (RFC 9110 section 4.3.2): anybody on the way could say yes in its place.
 */
export function sharingDomainOf(
  url: UrlParts,
  rule: Pick<IdentityRule, "share" | "useTls">,
): string {
  if (rule.share !== undefined) return rule.share;
  return isAskedByTls(url, rule) ? authorityOf(url) : `http://${authorityOf(url)}`;
}

/** By "auto" a host is asked by TLS at port 80 unless it speaks none. */
function isAskedByTls(url: UrlParts, { useTls }: Pick<IdentityRule, "useTls">): boolean {
  if (url.protocol !== "http:" || useTls === true) return true;
  return useTls === "auto" && url.port === "";
}

const LFS_OID_SEGMENT = /\/([0-9a-f]{64})$/;
/** `/ab/cd/abcd…`: the directories repeat the first digits, which no accident does. */
const SHARDED_OID = /\/([0-9a-f]{2})\/([0-9a-f]{2})\/(\1\2[0-9a-f]{60})$/;
/** `/ab/cd/<the other 60 digits>`, as Gitea and GitLab store objects. */
const SPLIT_OID = /\/([0-9a-f]{2})\/([0-9a-f]{2})\/([0-9a-f]{60})$/;
const SAYS_LFS = /(?:^|[/.\-_])lfs(?:$|[/.\-_])/i;
const OCI_BLOB = /\/v2\/.+\/blobs\/sha256(?::|%3a)([0-9a-f]{64})$/i;
const OCI_STORAGE_BLOB = /\/blobs\/sha256\/([0-9a-f]{2})\/(\1[0-9a-f]{62})\/data$/;

/**
 * The digest that a URL itself names: a Git LFS object id or an OCI blob digest.
 *
 * Sixty-four hex digits alone are no proof: content-defined stores name files by other hashes, and a wrong anchor would
 * break every download of them. So either the path is sharded by the digest's own digits, or host or path say `lfs`.
 */
export function anchorFromUrl(url: UrlParts): Digest | undefined {
  const path = url.pathname;
  const blob = OCI_BLOB.exec(path)?.[1] ?? OCI_STORAGE_BLOB.exec(path)?.[2];
  if (blob !== undefined) return digestOfHex(blob);
  const sharded = SHARDED_OID.exec(path)?.[3];
  if (sharded !== undefined) return digestOfHex(sharded);
  if (!SAYS_LFS.test(`${url.hostname}${path}`)) return undefined;
  const oid = LFS_OID_SEGMENT.exec(path)?.[1];
  if (oid !== undefined) return digestOfHex(oid);
  const split = SPLIT_OID.exec(path);
  return split === null ? undefined : digestOfHex(split.slice(1).join(""));
}

/** Hosts whose ETag of 64 hex digits is the SHA-256 of the content. */
const HUB_HOST = /^(?:www\.)?(?:huggingface\.co|hf\.co|hf-mirror\.com|modelscope\.(?:cn|ai))$/;
const HEX_64 = /^[0-9a-f]{64}$/i;

/** Fields by which a server names the digest of content. */
export const NAMES_DIGEST = ["x-linked-etag", "docker-content-digest", "repr-digest"] as const;

/**
 * The digest of the whole content that an answer names: `Repr-Digest` (RFC 9530 section 3), `Docker-Content-Digest` of a
 * blob, a hub's `X-Linked-Etag`, or a hub's own `ETag` when it has the form of a SHA-256 and is not a chunk store's hash.
 *
 * @param url what the client asked for; the server behind it is the one whose word counts, not one that it redirected to.
 */
export function anchorFromHeaders(
  url: UrlParts,
  answer: { readonly headers: HeaderList; readonly isElsewhere: boolean },
): Digest | undefined {
  const { headers, isElsewhere } = answer;
  const fromDigest = sha256OfReprDigest(headers);
  if (fromDigest !== undefined) return fromDigest;
  const ofBlob = headerOf(headers, "docker-content-digest");
  if (ofBlob !== undefined && /\/blobs\//.test(url.pathname)) return parseDigest(ofBlob.trim());
  const linked = opaqueTag(headerOf(headers, "x-linked-etag"));
  if (linked !== undefined && HEX_64.test(linked)) return digestOfHex(linked);
  if (isElsewhere || !HUB_HOST.test(url.hostname)) return undefined;
  if (headerOf(headers, "x-xet-hash") !== undefined) return undefined;
  const tag = opaqueTag(strongValidatorOf(headers));
  return tag !== undefined && HEX_64.test(tag) ? digestOfHex(tag) : undefined;
}

function sha256OfReprDigest(headers: HeaderList): Digest | undefined {
  // A digest of an encoded representation says nothing about the content that is stored.
  if (isEncoded(headers)) return undefined;
  for (const item of headerItems(headers, "repr-digest")) {
    const base64 = /^sha-256=:([A-Za-z0-9+/]{43}=):/i.exec(item)?.[1];
    const hex = base64 === undefined ? undefined : hexOfBase64(base64);
    if (hex !== undefined) return digestOfHex(hex);
  }
  return undefined;
}

function opaqueTag(tag: string | undefined): string | undefined {
  return tag?.trim().replace(/^"(.*)"$/, "$1");
}

/** A strong ETag with its quotes; a weak (`W/`), unquoted, empty or repeated one is none (RFC 9110 section 8.8.3). */
export function strongValidatorOf(headers: HeaderList): string | undefined {
  const tags = headerValues(headers, "etag");
  const tag = tags[0]?.trim();
  return tags.length === 1 && tag !== undefined && /^"[^"]+"$/.test(tag) ? tag : undefined;
}

/**
 * What makes two downloads the same bytes within a sharing domain: the anchor, else canonical URL and strong validator.
 * `undefined` when neither is known: such content is passed through and never becomes a task.
 */
export function taskKey(known: {
  readonly anchor: Digest | undefined;
  readonly canonicalUrl: string;
  readonly strongValidator: string | undefined;
}): readonly string[] | undefined {
  if (known.anchor !== undefined) return ["anchor", known.anchor];
  return known.strongValidator === undefined
    ? undefined
    : ["url", known.canonicalUrl, known.strongValidator];
}

/** Why an answer is passed through and never becomes a task. */
export type ShareRefusal =
  /** Neither 200 nor 206. */
  | "status_not_content"
  /** `Content-Encoding` other than identity: not the bytes that the identity names. */
  | "content_encoded"
  | "no_store"
  | "private"
  | "sets_cookie"
  /** Depends on request headers that the identity does not contain. */
  | "varies"
  | "length_unknown"
  | "too_long"
  /** Neither anchor nor strong validator: two downloads could not be told apart. */
  | "no_identity";

/** The head of an origin's answer. */
export interface AnswerHead {
  readonly status: number;
  readonly headers: HeaderList;
}

/**
 * Why the content of this answer may not be shared between clients, or `undefined` when it may (RFC 9111 section 3 for
 * shared caches, and what our identity needs).
 *
 * @param isAnchored whether the digest of the content is known from outside: then the bytes are the same for everybody who
 *   may read them, and access is checked per request, so `private`, cookies and `Vary` do not stand against sharing.
 */
export function whyNotShareable(answer: AnswerHead, isAnchored: boolean): ShareRefusal | undefined {
  const { status, headers } = answer;
  if (status !== 200 && status !== 206) return "status_not_content";
  if (isEncoded(headers)) return "content_encoded";
  const directives = headerItems(headers, "cache-control").map((item) => item.toLowerCase());
  if (directives.includes("no-store")) return "no_store";
  if (!isAnchored) {
    if (directives.some((item) => /^private(?:$|[\s=])/.test(item))) return "private";
    if (headerOf(headers, "set-cookie") !== undefined) return "sets_cookie";
    if (headerItems(headers, "vary").some((name) => !VARY_HARMLESS.has(name.toLowerCase()))) {
      return "varies";
    }
    if (strongValidatorOf(headers) === undefined) return "no_identity";
  }
  const lengthBytes = contentLengthOf(answer);
  if (lengthBytes === undefined) return "length_unknown";
  return lengthBytes > CONTENT_LENGTH_BYTES_MAX ? "too_long" : undefined;
}

/** We always ask for the identity encoding, and `Origin` changes CORS headers, not content. */
const VARY_HARMLESS: ReadonlySet<string> = new Set(["accept-encoding", "origin"]);

/** Whether the content was encoded for the way (`Content-Encoding` other than identity). */
export function isEncoded(headers: HeaderList): boolean {
  return headerItems(headers, "content-encoding").some((item) => item.toLowerCase() !== "identity");
}

/** Bytes of the whole content: `Content-Length` of a 200, the total in `Content-Range` of a 206. */
export function contentLengthOf(answer: AnswerHead): number | undefined {
  if (answer.status === 206) {
    return parseContentRange(headerOf(answer.headers, "content-range"))?.totalBytes;
  }
  const text = headerOf(answer.headers, "content-length")?.trim() ?? "";
  const length = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
  return Number.isSafeInteger(length) ? length : undefined;
}
