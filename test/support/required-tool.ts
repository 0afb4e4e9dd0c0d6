import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";

/**
 * Path of a program that a test needs. On a developer's machine a missing one skips the test with a printed reason; under
 * `CI=true` it is an error, so that a pipeline cannot pass by testing nothing.
 *
 * `test.skipIf(requiredTool("git-lfs") === undefined)("…")`
 *
 * @throws when the program is missing and `CI=true`.
 */
export function requiredTool(name: string): string | undefined {
  const path = findTool(name);
  if (path !== undefined) return path;
  const reason = `${name} is not on the PATH`;
  if (process.env["CI"] === "true") throw new Error(`${reason}: install it for this pipeline`);
  process.stderr.write(`skipped: ${reason}\n`);
  return undefined;
}

/** First executable file of that name on the `PATH`. */
export function findTool(name: string): string | undefined {
  const folders = (process.env["PATH"] ?? "").split(delimiter).filter((folder) => folder !== "");
  return folders.map((folder) => join(folder, name)).find((path) => isExecutable(path));
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
