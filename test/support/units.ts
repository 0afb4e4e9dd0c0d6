import { parseByteSize } from "@lacewing/runtime/settings.ts";

const MIB = 2 ** 20;
const GIB = 2 ** 30;

/**
 * Bytes of `64M` (= 64 MiB), `1G`, `1GB` (= 10^9) or `20480`.
 *
 * @throws {RangeError} when the text is no size or the size is zero.
 */
export function parseSize(text: string): number {
  const bytes = parseByteSize(text);
  if (bytes === undefined || !Number.isSafeInteger(bytes) || bytes <= 0) {
    throw new RangeError(`"${text}" is not a size: write e.g. 64M, 1G, 20KiB`);
  }
  return bytes;
}

/** Sizes of a comma-separated list, in its order. */
export function parseSizes(text: string): readonly number[] {
  return text.split(",").map((part) => parseSize(part));
}

/**
 * Bytes per second of `12.5MB/s`, `12.5MB`, `100Mbit/s`; `undefined` (no cap) for `unlimited`.
 *
 * @throws {RangeError} when the text is no rate.
 */
export function parseRate(text: string): number | undefined {
  const trimmed = text.trim();
  if (trimmed.toLowerCase() === "unlimited") return undefined;
  const amount = trimmed.replace(/\/s$/i, "");
  const bits = /^(\d+(?:\.\d+)?)\s*([kmg])bit$/i.exec(amount);
  const rate =
    bits === null ? parseByteSize(amount) : (parseByteSize(`${bits[1]}${bits[2]}B`) ?? 0) / 8;
  if (rate === undefined || !Number.isFinite(rate) || rate < 1) {
    throw new RangeError(`"${text}" is not a rate: write e.g. 12.5MB/s, 100Mbit/s, unlimited`);
  }
  return rate;
}

/** A size in the largest binary unit that keeps it at one or more: `64 MiB`, `1.5 GiB`, `20 KiB`, `17 B`. */
export function formatSize(bytes: number): string {
  if (bytes >= GIB) return `${trimmedNumber(bytes / GIB)} GiB`;
  if (bytes >= MIB) return `${trimmedNumber(bytes / MIB)} MiB`;
  if (bytes >= 1024) return `${trimmedNumber(bytes / 1024)} KiB`;
  return `${bytes} B`;
}

/** A rate in decimal units, as networks are described: `12.5 MB/s`. */
export function formatRate(bytesPerSecond: number | undefined): string {
  if (bytesPerSecond === undefined) return "unlimited";
  if (bytesPerSecond >= 1e9) return `${trimmedNumber(bytesPerSecond / 1e9)} GB/s`;
  if (bytesPerSecond >= 1e6) return `${trimmedNumber(bytesPerSecond / 1e6)} MB/s`;
  return `${trimmedNumber(bytesPerSecond / 1e3)} kB/s`;
}

/** A count with thin groups, so that two byte counts can be compared by eye: `268 435 456`. */
export function formatCount(count: number): string {
  return String(count).replaceAll(/\B(?=(\d{3})+(?!\d))/g, " ");
}

/** At most two decimals, none when they would be zeros. */
function trimmedNumber(value: number): string {
  return String(Number(value.toFixed(2)));
}
