/**
 * Branded identifiers. Each is parsed once at the edge; inside, the type remembers that it was checked.
 * Parsers return `undefined` for text that is no such id: the caller knows what to tell whom.
 */

declare const brand: unique symbol;
type Brand<T, Name extends string> = T & { readonly [brand]: Name };

/** 64 lower-case hex digits: SHA-256 of the sharing domain and the content's key (see {@link taskIdOf}). */
export type TaskId = Brand<string, "TaskId">;
/** Stable name of a host: 1–64 letters, digits, `-` and `_`, so that it is one token of a subject. */
export type HostId = Brand<string, "HostId">;
/** One process start of a host: 1–64 letters, digits, `-` and `_`. */
export type BootId = Brand<string, "BootId">;
/** One client request, and the download it becomes. Unique for ever. */
export type RequestId = Brand<string, "RequestId">;
/** One lease: `<slice>-<epoch>-<number>`. */
export type LeaseId = Brand<string, "LeaseId">;
/** A digest as `sha256:<64 lower-case hex>`. */
export type Digest = Brand<string, "Digest">;

const HEX_64 = /^[0-9a-f]{64}$/;
const NAME = /^[A-Za-z0-9_-]{1,64}$/;

export function parseTaskId(text: string): TaskId | undefined {
  return HEX_64.test(text) ? (text as TaskId) : undefined;
}

export function parseHostId(text: string): HostId | undefined {
  return NAME.test(text) ? (text as HostId) : undefined;
}

export function parseBootId(text: string): BootId | undefined {
  return NAME.test(text) ? (text as BootId) : undefined;
}

export function parseRequestId(text: string): RequestId | undefined {
  return NAME.test(text) ? (text as RequestId) : undefined;
}

export function parseLeaseId(text: string): LeaseId | undefined {
  return NAME.test(text) ? (text as LeaseId) : undefined;
}

/** Accepts upper-case hex too, as some servers print it; the result is lower-case. */
export function parseDigest(text: string): Digest | undefined {
  const lower = text.toLowerCase();
  return lower.startsWith("sha256:") && HEX_64.test(lower.slice(7)) ? (lower as Digest) : undefined;
}

/** The digest of 64 hex digits. */
export function digestOfHex(hex: string): Digest | undefined {
  return parseDigest(`sha256:${hex}`);
}

/** The 64 hex digits of a digest. */
export function hexOfDigest(digest: Digest): string {
  return digest.slice("sha256:".length);
}

/** SHA-256 of a text's UTF-8 bytes as 64 lower-case hex digits; an argument, because this package performs nothing. */
export type Sha256Hex = (text: string) => string;

/**
 * The id of a task: SHA-256 over the fields, each preceded by its length, so that no two field lists give the same text.
 *
 * @param sharingDomain who may share copies: the origin's authority unless a rule says otherwise. Knowing a digest must
 *   not let somebody fetch private content through a server of his own.
 * @param key what makes two downloads the same bytes: the anchor, or canonical URL and strong validator.
 */
export function taskIdOf(sharingDomain: string, key: readonly string[], sha256: Sha256Hex): TaskId {
  const fields = ["lacewing-task-v1", sharingDomain, ...key];
  return sha256(fields.map((field) => `${field.length}:${field}`).join("")) as TaskId;
}
