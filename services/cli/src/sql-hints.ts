/** The line of `query` that holds the 1-based character `position`, with a caret under it. */
export function markPosition(query: string, position: number): string {
  const before = query.slice(0, position - 1);
  const lineStart = before.lastIndexOf("\n") + 1;
  const line = query.slice(lineStart).split("\n")[0] ?? "";
  return `  ${line}\n  ${" ".repeat(position - 1 - lineStart)}^ at character ${position}`;
}

/** What usually helps after an SQL error, by its SQLSTATE. */
export function hintFor(code: string | undefined): string | undefined {
  return code === undefined ? undefined : HINTS[code];
}

const HINTS: Readonly<Record<string, string>> = {
  "42P01":
    "Tables and views: lacewing sql \"select table_name, table_type from information_schema.tables where table_schema = 'lacewing' order by 1\"",
  "42703":
    "Columns: lacewing sql \"select column_name, data_type from information_schema.columns where table_name = 'NAME'\"",
  "42601":
    "Put the whole query in one pair of quotes, so that the shell passes it as one argument.",
  "57014": "The query ran longer than the database allows.",
};
