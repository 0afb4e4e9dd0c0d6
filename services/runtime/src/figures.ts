/** Figures as a person reads them. */

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"] as const;
const SECOND_MS = 1_000;
const MINUTE_MS = 60 * SECOND_MS;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;

/** `0 B`, `1.5 KiB`, `20 GiB`: three digits are enough for a person. */
export function formatBytes(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit++;
  }
  const digits = value < 10 && unit > 0 ? 1 : 0;
  return `${value.toFixed(digits).replace(/\.0$/, "")} ${UNITS[unit] ?? ""}`;
}

/** `85 ms`, `8.1 s`, `3 min 20 s`, `2 h 5 min`. */
export function formatDuration(ms: number): string {
  if (ms < SECOND_MS) return `${Math.max(0, Math.round(ms))} ms`;
  if (ms < MINUTE_MS) return `${(ms / SECOND_MS).toFixed(1)} s`;
  if (ms < HOUR_MS)
    return `${Math.floor(ms / MINUTE_MS)} min ${Math.floor((ms % MINUTE_MS) / SECOND_MS)} s`;
  return `${Math.floor(ms / HOUR_MS)} h ${Math.floor((ms % HOUR_MS) / MINUTE_MS)} min`;
}

/** `now`, `5 min ago`, `3 d ago`. A time in the future, by a clock that jumped, is now. */
export function formatAge(atMs: number, nowMs: number): string {
  const ms = nowMs - atMs;
  if (ms < MINUTE_MS) return "now";
  if (ms < HOUR_MS) return `${Math.floor(ms / MINUTE_MS)} min ago`;
  if (ms < DAY_MS) return `${Math.floor(ms / HOUR_MS)} h ago`;
  return `${Math.floor(ms / DAY_MS)} d ago`;
}

/** Whole percent; never 100 before all is there and never 0 once something is. */
export function percentOf(part: number, whole: number): number {
  if (whole <= 0 || part >= whole) return 100;
  return part <= 0 ? 0 : Math.min(99, Math.max(1, Math.round((part / whole) * 100)));
}
