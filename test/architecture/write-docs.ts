// `npm run docs`: writes the settings and limits tables of every README from the code.
import { writeFileSync } from "node:fs";
import { generatedReadmes } from "./generated-docs.ts";
import { ROOT, sourceFiles } from "./source-files.ts";

for (const { path, before, after } of generatedReadmes(sourceFiles())) {
  if (before === after) continue;
  writeFileSync(ROOT + path, after);
  process.stdout.write(`${path} was stale: written\n`);
}
