import { limitsIn, limitsTable } from "./limits-table.ts";
import { withGenerated } from "./markdown.ts";
import { SETTINGS_OF, settingsTable } from "./settings-table.ts";
import { textOf } from "./source-files.ts";

/** A README with the tables that its package's code gives it. */
export interface GeneratedReadme {
  readonly path: string;
  readonly before: string;
  /** Equal to `before` when the file is up to date. */
  readonly after: string;
  /** Tables a service must show, but its README has no markers for. Other packages may leave them out. */
  readonly missingMarkers: readonly string[];
}

/** Every package's README, with its settings and limits written anew between their markers. */
export function generatedReadmes(files: readonly string[]): readonly GeneratedReadme[] {
  return files
    .filter((path) =>
      /^(?:contracts|migrations|observability|services\/[^/]+|deploy\/local)\/README\.md$/.test(
        path,
      ),
    )
    .map((path) => generate(path, files));
}

function generate(path: string, files: readonly string[]): GeneratedReadme {
  const folder = path.slice(0, path.lastIndexOf("/"));
  const before = textOf(path);
  const missingMarkers: string[] = [];
  let after = before;
  for (const [name, content] of tablesOf(folder, files)) {
    const replaced = withGenerated(after, name, content);
    if (replaced !== undefined) after = replaced;
    else if (folder.startsWith("services/")) missingMarkers.push(name);
  }
  return { path, before, after, missingMarkers };
}

function tablesOf(folder: string, files: readonly string[]): ReadonlyMap<string, string> {
  const tables = new Map<string, string>();
  const service = folder.replace("services/", "");
  const schema = Object.entries(SETTINGS_OF).find(([name]) => name === service)?.[1];
  if (schema !== undefined) tables.set("settings", settingsTable(schema));
  const limits = files
    .filter((path) => path.startsWith(`${folder}/src/`) && path.endsWith(".ts"))
    .filter((path) => !/\/gen\/|\.(?:test|bench)\.ts$/.test(path))
    .flatMap((path) => limitsIn(path, textOf(path)));
  if (limits.length > 0) tables.set("limits", limitsTable(limits, folder));
  return tables;
}
