#!/usr/bin/env node
// The `lacewing` command. Plain JavaScript for any Node >= 18: it finds the Node that runs the sources.
import { realpathSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { findNode, runInPlace } from "@lacewing/local/find-node.mjs";
import { findPrograms } from "@lacewing/local/programs.mjs";

const root = realpathSync(join(fileURLToPath(new URL(".", import.meta.url)), "../../.."));
try {
  const node = findNode(root);
  const main = findPrograms({ root, node }).entryOf("cli");
  process.exitCode = await runInPlace(node, [main, ...process.argv.slice(2)]);
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
