import { RETRY_AFTER_MS_MAX } from "@lacewing/contracts/limits.ts";
import { parseHttpDate } from "./http-date.ts";

/**
 * How long an answer asks its client to stay away (RFC 9110 section 10.2.3), milliseconds, at most {@link RETRY_AFTER_MS_MAX}.
 * A date is taken by the origin's own clock; 0 when nothing is said, or nothing that can be read.
 */
export function retryAfterMs(
  status: number,
  retryAfter: string | undefined,
  date: string | undefined,
): number {
  if ((status !== 429 && status !== 503) || retryAfter === undefined) return 0;
  const text = retryAfter.trim();
  const seconds = /^\d{1,9}$/.test(text) ? Number(text) : secondsBetween(date, text);
  return Math.min(RETRY_AFTER_MS_MAX, Math.max(0, seconds * 1000));
}

function secondsBetween(from: string | undefined, to: string): number {
  const start = parseHttpDate(from ?? "");
  const end = parseHttpDate(to);
  return start === undefined || end === undefined ? 0 : end - start;
}
