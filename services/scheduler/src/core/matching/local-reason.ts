import { type PassedOver, passedOverText } from "./view.ts";

/** Reasons that are remembered: those of a swarm's usual grants recur with each piece, and a text of its own for each lease is memory. */
const REMEMBERED_BITS = 14;
/** Of so many copies and more a reason names the first two figures: nobody asks for others, and there are few such texts. */
const EXACT_COPIES_MAX = 100;
/** Candidates, and those passed over, that a key has room for: more than are ever looked at. */
const COUNT_MAX = 128;

type Tier = "local-rack" | "local-zone";

const keys = { "local-rack": newKeys(), "local-zone": newKeys() };
const texts: Readonly<Record<Tier, string[]>> = { "local-rack": [], "local-zone": [] };

/** Why a child near the source was given its rarest piece, in words. */
export function localReason(
  tier: Tier,
  exactCopyCount: number,
  candidateCount: number,
  passed: PassedOver,
): string {
  const copyCount = rounded(exactCopyCount);
  const isUsual =
    passed.avoided + passed.busy + passed.slow === 0 &&
    candidateCount < COUNT_MAX &&
    passed.useless < COUNT_MAX;
  if (!isUsual) return textOf(tier, copyCount, candidateCount, passed);
  const key = (copyCount * COUNT_MAX + candidateCount) * COUNT_MAX + passed.useless;
  const place = Math.imul(key, 0x9e3779b1) >>> (32 - REMEMBERED_BITS);
  const known = keys[tier][place] === key ? texts[tier][place] : undefined;
  if (known !== undefined) return known;
  const text = textOf(tier, copyCount, candidateCount, passed);
  keys[tier][place] = key;
  texts[tier][place] = text;
  return text;
}

function rounded(copyCount: number): number {
  let unit = 1;
  while (copyCount / unit >= EXACT_COPIES_MAX) unit *= 10;
  return Math.round(copyCount / unit) * unit;
}

function textOf(tier: Tier, copyCount: number, candidateCount: number, passed: PassedOver): string {
  const of = `of ${candidateCount} candidate${candidateCount === 1 ? "" : "s"}`;
  return `${tier} rarest rep=${copyCount} ${of}${passedOverText(passed)}`;
}

function newKeys(): Float64Array {
  return new Float64Array(2 ** REMEMBERED_BITS).fill(-1);
}
