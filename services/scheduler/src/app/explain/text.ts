import type { PieceRange } from "@lacewing/contracts/gen/lacewing/decisions/v1/decisions.ts";
import { percentOf } from "@lacewing/runtime/figures.ts";

/** Figures in sentences. */

/** More spans than this are told as a count. */
const SPANS_TOLD_MAX = 4;
/** More names than this are told as a count. */
const NAMES_TOLD_MAX = 3;

/** Whole percent: 100 only for all, 0 only for nothing. */
export function percentText(part: number, whole: number): string {
  return whole <= 0 ? "0 %" : `${percentOf(part, whole)} %`;
}

/** `piece 3`, `pieces 0–3 and 7`, `4,096 pieces in 812 spans`. */
export function piecesText(ranges: readonly PieceRange[]): string {
  const count = ranges.reduce((sum, range) => sum + range.count, 0);
  if (ranges.length > SPANS_TOLD_MAX)
    return `${grouped(count)} pieces in ${grouped(ranges.length)} spans`;
  const spans = ranges.map(({ start, count: length }) =>
    length === 1 ? `${start}` : `${start}–${start + length - 1}`,
  );
  return `${count === 1 ? "piece" : "pieces"} ${listText(spans)}`;
}

/** `a`, `a and b`, `a, b and c`. */
export function listText(items: readonly string[]): string {
  const last = items.at(-1) ?? "";
  return items.length < 2 ? last : `${items.slice(0, -1).join(", ")} and ${last}`;
}

/** Up to three names, or how many they are. */
export function namesText(names: readonly string[], many: string): string {
  return names.length > NAMES_TOLD_MAX ? `${grouped(names.length)} ${many}` : listText(names);
}

/** `1 host`, `2 hosts`. */
export function countText(count: number, one: string, many = `${one}s`): string {
  return `${grouped(count)} ${count === 1 ? one : many}`;
}

/** The union of ranges, ascending and joined. */
export function joinRanges(ranges: readonly PieceRange[]): readonly PieceRange[] {
  const joined: PieceRange[] = [];
  for (const range of ranges.toSorted((a, b) => a.start - b.start)) {
    const last = joined.at(-1);
    const end = range.start + range.count;
    if (last !== undefined && range.start <= last.start + last.count)
      last.count = Math.max(last.count, end - last.start);
    else joined.push({ ...range });
  }
  return joined;
}

function grouped(count: number): string {
  return count.toLocaleString("en-US");
}
