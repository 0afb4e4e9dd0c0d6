/**
 * Makes what hosts said fit for Postgres. Every change is a function of the value alone, so that a fact that is sent
 * again becomes the same row again.
 */

/** Largest sizes that the tables accept, in characters (migrations/sql/0001_schema.sql). */
export const TEXT_MAX = { label: 256, line: 1024, long: 8192 } as const;

/** 2100-01-01: a host's clock that is wrong by centuries must not make partitions or roll-ups nobody looks at. */
const INSTANT_MS_MAX = 4_102_444_800_000;

/** Without NUL and half surrogates, which Postgres refuses in texts, and at most `lengthMax` characters long. */
export function cleanText(text: string, lengthMax: number): string {
  return text.slice(0, lengthMax).toWellFormed().replaceAll("\0", "\u{fffd}");
}

/** A point in time within 1970 to 2100, milliseconds. */
export function cleanInstantMs(ms: number): number {
  return Number.isFinite(ms) ? Math.min(Math.max(Math.trunc(ms), 0), INSTANT_MS_MAX) : 0;
}

/** A whole number from 0 to `max`; by default to the largest that JavaScript keeps exactly. */
export function cleanQuantity(value: number, max: number = Number.MAX_SAFE_INTEGER): number {
  return Number.isFinite(value) ? Math.min(Math.max(Math.trunc(value), 0), max) : 0;
}

/** 32 hex digits, or empty for anything else. */
export function cleanTraceId(text: string): string {
  return /^[0-9a-f]{32}$/.test(text) ? text : "";
}

/** Bytes as they travel inside JSON. */
export function base64Of(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64");
}
