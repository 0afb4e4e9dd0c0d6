import { cell, table } from "./markdown.ts";

/** A limit as the source states it. */
export interface Limit {
  readonly name: string;
  /** The initialiser as it is written: `64 * 2 ** 20`. */
  readonly value: string;
  /** Its doc comment; empty when it has none. */
  readonly reason: string;
  readonly file: string;
}

/** What bounds something says so in its name; a number of milliseconds bounds a wait. */
const LIMIT_NAME = /_(?:MAX|MIN|DEFAULT|COUNT)(?:_|$)|_MS$/;
/** Milliseconds of a unit of time are arithmetic, no limit. */
const UNIT_NAME = /^(?:SECOND|MINUTE|HOUR|DAY)_MS$|_PER_/;
const COMMENT = String.raw`(?:\/\*\*(?<comment>(?:(?!\*\/)[\s\S])*)\*\/\s*)?`;
const CONSTANT = String.raw`^(?:export )?const (?<name>[A-Z][A-Z0-9_]*)(?:: number)? =\s+(?<value>[\w\s.*+\/()-]+);`;
const DECLARATION = new RegExp(COMMENT + CONSTANT, "gm");

/**
 * The limits in one source file, in its order. One that stands directly below another shares its comment: least and most
 * of the same thing are explained together.
 */
export function limitsIn(file: string, source: string): readonly Limit[] {
  const limits: Limit[] = [];
  let above = { end: -1, reason: "" };
  for (const { 0: text, groups, index } of source.matchAll(DECLARATION)) {
    const name = groups?.["name"] ?? "";
    const value = groups?.["value"]?.replaceAll(/\s+/g, " ") ?? "";
    const comment = groups?.["comment"] ?? (index === above.end + 1 ? above.reason : "");
    const reason = comment
      .replaceAll(/^\s*\* ?/gm, "")
      .replaceAll(/\s+/g, " ")
      .trim();
    above = { end: index + text.length, reason };
    if (isLimit(name, value)) limits.push({ name, value, reason, file });
  }
  return limits;
}

function isLimit(name: string, value: string): boolean {
  const isNumber = /\d|_(?:MS|BYTES|COUNT)\b/.test(value) && !/\bnew\b|[a-z]\(/.test(value);
  return isNumber && LIMIT_NAME.test(name) && !UNIT_NAME.test(name);
}

/** One row per limit, by name. `folder` is where the README stands, so that links work from there. */
export function limitsTable(limits: readonly Limit[], folder: string): string {
  const rows = limits
    .toSorted((a, b) => a.name.localeCompare(b.name, "en") || a.file.localeCompare(b.file, "en"))
    .map(({ name, value, reason, file }) => {
      const path = file.slice(folder.length + 1);
      const label = path.split("/").at(-1) ?? path;
      return [`\`${name}\``, `\`${value}\``, cell(withoutLinks(reason)), `[${label}](${path})`];
    });
  return table(["limit", "value", "why", "where"], rows);
}

/** `{@link x}` as Markdown shows it. */
function withoutLinks(text: string): string {
  return text.replaceAll(/\{@link ([^}]+)\}/g, "`$1`");
}
