import { Secret } from "./secret.ts";

/** What stands in a log line for a value that must not be seen. */
export const REDACTED = "[redacted]";

/** Deeper objects are cut: a log line is not a dump. */
const DEPTH_MAX = 6;
/** Entries kept of one object or array. */
const ENTRY_COUNT_MAX = 100;
/** Characters kept of one text; a stack of 20 frames fits. */
const TEXT_LENGTH_MAX = 8192;
/** Characters kept of a URL. */
const URL_LENGTH_MAX = 2048;
/** Causes of causes that are told. */
const CAUSE_DEPTH_MAX = 4;

/** Names (lower case, without `-` and `_`) that hold a secret wherever they stand in a key. */
const SECRET_KEY =
  /authorization|cookie|password|passwd|passphrase|secret|signature|credential|privatekey|apikey|accesskey|tokens?$|^(?:auth|jwt|sig)$/;

/** Without these a URL has no user, query or fragment. */
const BEFORE_HIDDEN_PARTS = /[?#@\\]/;
const URL_KEY = /(?:^|[a-z_.-])ur[il]$/i;
const URL_IN_TEXT = /\b[a-z][a-z0-9+.-]{1,15}:\/\/[^\s"'<>`\\]+/gi;

/** Keys of log lines are few and come again: looked at once, but not kept without bound when somebody logs a map. */
const KNOWN_KEY_COUNT_MAX = 1_000;
const knownKeys = new Map<string, boolean>();

/** Whether a value under this key is never shown. */
export function isSecretKey(key: string): boolean {
  const known = knownKeys.get(key);
  if (known !== undefined) return known;
  const isSecret = SECRET_KEY.test(key.toLowerCase().replaceAll(/[-_.\s]/g, ""));
  if (knownKeys.size < KNOWN_KEY_COUNT_MAX) knownKeys.set(key, isSecret);
  return isSecret;
}

/**
 * A URL as logs and spans may show it: without user, password, query and fragment, because signed download URLs carry their
 * permission in the query. A text that is no URL is cut at the first `?` or `#`.
 */
export function urlForLog(url: string | URL): string {
  if (typeof url === "string" && !BEFORE_HIDDEN_PARTS.test(url))
    return truncated(url, URL_LENGTH_MAX);
  const parsed = url instanceof URL ? new URL(url) : URL.parse(url);
  if (parsed === null) {
    const text = String(url)
      .replace(/[?#].*$/s, "")
      .replace(/^([a-z][a-z0-9+.-]*:)?\/\/[^/@]*@/i, "$1//");
    return truncated(text, URL_LENGTH_MAX);
  }
  parsed.search = "";
  parsed.hash = "";
  parsed.username = "";
  parsed.password = "";
  return truncated(parsed.href, URL_LENGTH_MAX);
}

/** A text as logs may show it: every URL in it as {@link urlForLog} shows it, and cut at a limit. */
export function textForLog(text: string): string {
  if (!text.includes("://")) return truncated(text, TEXT_LENGTH_MAX);
  return truncated(
    text.replace(URL_IN_TEXT, (url) => urlForLog(url)),
    TEXT_LENGTH_MAX,
  );
}

/**
 * A copy that may be written to a log: secrets by type ({@link Secret}) and by key are replaced, URLs lose their query, errors
 * become plain objects, and depth, breadth and length are bounded. Never throws, whatever the value is.
 */
export function redacted(value: unknown): unknown {
  return redactedAt(value, 0, []);
}

/** @param above the objects that the value stands in: a log line is never deep. */
function redactedAt(value: unknown, depth: number, above: object[]): unknown {
  switch (typeof value) {
    case "string":
      return textForLog(value);
    case "bigint":
      return value.toString();
    case "function":
    case "symbol":
      return `[${typeof value}]`;
    case "number":
      return Number.isFinite(value) ? value : String(value);
    case "boolean":
    case "undefined":
      return value;
    case "object":
      break;
  }
  if (value === null) return null;
  if (value instanceof Secret) return REDACTED;
  if (value instanceof URL) return urlForLog(value);
  if (value instanceof Date)
    return Number.isNaN(value.getTime()) ? "invalid date" : value.toISOString();
  if (ArrayBuffer.isView(value)) return `[${value.byteLength} bytes]`;
  if (value instanceof Error) return errorForLog(value);
  if (above.includes(value)) return "[circular]";
  if (depth >= DEPTH_MAX) return "[too deep]";
  above.push(value);
  const copy = copyOf(value, depth, above);
  above.pop();
  return copy;
}

function copyOf(value: object, depth: number, above: object[]): unknown {
  if (value instanceof Map) {
    const entries: ReadonlyMap<unknown, unknown> = value;
    return copyOf(
      Object.fromEntries([...entries].map(([key, entry]) => [String(key), entry])),
      depth,
      above,
    );
  }
  if (value instanceof Set || Array.isArray(value)) {
    const items: readonly unknown[] = [...value];
    const kept = items.slice(0, ENTRY_COUNT_MAX).map((item) => redactedAt(item, depth + 1, above));
    return items.length > kept.length ? [...kept, `[${items.length - kept.length} more]`] : kept;
  }
  return addEntries({}, value, depth, above);
}

/**
 * Adds the entries of an object, each as {@link redacted} shows it.
 *
 * @param keyOf under which key an entry is added; default: its own.
 * @returns `to`.
 */
export function addRedacted(
  to: Record<string, unknown>,
  from: object,
  keyOf: (key: string) => string,
): Record<string, unknown> {
  return addEntries(to, from, 0, [from], keyOf);
}

function addEntries(
  to: Record<string, unknown>,
  from: object,
  depth: number,
  above: object[],
  keyOf?: (key: string) => string,
): Record<string, unknown> {
  let count = 0;
  for (const [key, entry] of entriesOf(from)) {
    if (++count > ENTRY_COUNT_MAX) break;
    setOwn(to, keyOf?.(key) ?? key, redactedUnder(key, entry, depth + 1, above));
  }
  return to;
}

/** Whatever the key is: `__proto__` is one like any other. */
function setOwn(object: Record<string, unknown>, key: string, value: unknown): void {
  if (key !== "__proto__") object[key] = value;
  else Object.defineProperty(object, key, { value, enumerable: true, configurable: true });
}

/** Reading a property may run a getter, and a getter may throw. */
function entriesOf(value: object): readonly (readonly [string, unknown])[] {
  try {
    return Object.entries(value);
  } catch {
    return [["unreadable", true]];
  }
}

function redactedUnder(key: string, value: unknown, depth: number, above: object[]): unknown {
  if (value === undefined || value === null) return value;
  if (isSecretKey(key)) return REDACTED;
  if (typeof value === "string" && URL_KEY.test(key)) return urlForLog(value);
  return redactedAt(value, depth, above);
}

/** An error as logs show it: name, code, message, stack and the chain of causes, without URLs' queries. */
export function errorForLog(error: Error, causeDepth = 0): Record<string, unknown> {
  const code: unknown = "code" in error ? error.code : undefined;
  const cause = error.cause;
  return {
    name: error.name,
    ...(typeof code === "string" || typeof code === "number" ? { code } : {}),
    message: textForLog(error.message),
    ...(error.stack === undefined ? {} : { stack: textForLog(error.stack) }),
    ...(cause === undefined || causeDepth >= CAUSE_DEPTH_MAX
      ? {}
      : {
          cause: cause instanceof Error ? errorForLog(cause, causeDepth + 1) : messageForLog(cause),
        }),
  };
}

/** The message of anything that was thrown, as logs and spans may show it. */
export function messageForLog(thrown: unknown): string {
  if (thrown instanceof Error) return textForLog(thrown.message);
  return typeof thrown === "string" ? textForLog(thrown) : `[thrown ${typeof thrown}]`;
}

function truncated(text: string, lengthMax: number): string {
  return text.length <= lengthMax
    ? text
    : `${text.slice(0, lengthMax)}… (${text.length} characters)`;
}
