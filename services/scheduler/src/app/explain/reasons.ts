import type { PassedOver } from "@lacewing/contracts/gen/lacewing/scheduler/v1/scheduler.ts";

/** A lease's reason, taken apart. */
export interface ReadReason {
  /** Why this parent, in words; in the scheduler's own when it is a reason of another version. */
  readonly why: string;
  /** Why not others: how many of the candidates that were looked at, by reason. */
  readonly passedOver: readonly PassedOver[];
}

const WHY_AND_OTHERS = /^(.*?); passed over: (.+)$/s;
const COUNTED = /^(\d{1,9}) (.+)$/;

/** The scheduler's reasons for a parent, and what they say. */
const WORDS: readonly (readonly [form: RegExp, tell: (parts: readonly string[]) => string])[] = [
  [
    /^parent least-loaded load=(\d+) of (\d+) candidates?$/,
    ([load = "", count = ""]) =>
      count === "1"
        ? "the only host with a wanted piece that was free"
        : `the least loaded of ${count} candidates, serving ${load} ${load === "1" ? "other" : "others"}`,
  ],
  [/^local-rack rarest rep=(\d+)/, ([copies = ""]) => `near, in the same rack; ${rarity(copies)}`],
  [/^local-zone rarest rep=(\d+)/, ([copies = ""]) => `near, in the same zone; ${rarity(copies)}`],
  [
    /^zone-first z=(\S*)/,
    ([zone = ""]) => `to bring the first copy into zone ${zone || "(unnamed)"}`,
  ],
  [
    /^rescue starved ([\d.]+)s/,
    ([seconds = ""]) => `from another zone, because it had waited ${seconds} s without a lease`,
  ],
  [
    /^relay (\d+)\/(\d+): ahead of/,
    ([part = "", parts = ""]) =>
      `part ${part} of ${parts} of what a crowd relays: each piece as soon as the parent has it itself`,
  ],
  [/^origin open: content not described yet$/, () => "nobody had described the content yet"],
  [/^origin(?: rep=0)?: no copy held or in flight$/, () => "no copy was held or on its way"],
  [
    /^origin rep=1: no piece arrived for ([\d.]+)s$/,
    ([seconds = ""]) => `the only copy had not arrived for ${seconds} s`,
  ],
];

/** Reads `local-rack rarest rep=2 of 5 candidates; passed over: 2 busy, 1 slow`; a reason of another form stays whole. */
export function readReason(reason: string): ReadReason {
  const parts = WHY_AND_OTHERS.exec(reason);
  if (parts === null) return { why: inWords(reason), passedOver: [] };
  const [, why = "", others = ""] = parts;
  const passedOver = others.split(", ").flatMap((text) => {
    const [, count, word = ""] = COUNTED.exec(text) ?? [];
    return count === undefined ? [] : [{ reason: word, count: Number(count), hostIds: [] }];
  });
  return { why: inWords(why), passedOver };
}

function inWords(reason: string): string {
  for (const [form, tell] of WORDS) {
    const parts = form.exec(reason);
    if (parts !== null) return tell(parts.slice(1));
  }
  return reason;
}

function rarity(copies: string): string {
  // A reason names two figures of larger counts.
  const about = copies.length > 2 ? "about " : "";
  return `its rarest wanted piece had ${about}${copies} ${copies === "1" ? "copy" : "copies"}`;
}
