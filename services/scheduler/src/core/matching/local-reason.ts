import { type PassedOver, passedOverText } from "./view.ts";

/** Reasons that are remembered: those of a swarm's usual grants recur with each piece, and a text of its own for each lease is memory. */
const REMEMBERED = 2 ** 14;
/** Candidates, and those passed over, that a key has room for: more than are ever looked at. */
const COUNT_MAX = 128;

type Tier = "local-rack" | "local-zone";

const keys = { "local-rack": newKeys(), "local-zone": newKeys() };
const texts: Readonly<Record<Tier, string[]>> = { "local-rack": [], "local-zone": [] };

/** Why a child near the source was given its rarest piece, in words. */
export function localReason(
  tier: Tier,
  copyCount: number,
  candidateCount: number,
  passed: PassedOver,
): string {
  const isUsual =
    passed.avoided + passed.busy + passed.slow === 0 &&
    candidateCount < COUNT_MAX &&
    passed.useless < COUNT_MAX;
  if (!isUsual) return textOf(tier, copyCount, candidateCount, passed);
  const key = (copyCount * COUNT_MAX + candidateCount) * COUNT_MAX + passed.useless;
  // Grants of one time differ in the count of copies most.
  const place = (copyCount * 8 + candidateCount + passed.useless * 64) % REMEMBERED;
  const known = keys[tier][place] === key ? texts[tier][place] : undefined;
  if (known !== undefined) return known;
  const text = textOf(tier, copyCount, candidateCount, passed);
  keys[tier][place] = key;
  texts[tier][place] = text;
  return text;
}

function textOf(tier: Tier, copyCount: number, candidateCount: number, passed: PassedOver): string {
  const of = `of ${candidateCount} candidate${candidateCount === 1 ? "" : "s"}`;
  return `${tier} rarest rep=${copyCount} ${of}${passedOverText(passed)}`;
}

function newKeys(): Float64Array {
  return new Float64Array(REMEMBERED).fill(-1);
}
