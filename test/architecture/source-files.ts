import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

/** The repository. */
export const ROOT = fileURLToPath(new URL("../..", import.meta.url));

/** A listing of a large repository is far below this. */
const LISTING_BYTES_MAX = 64 * 2 ** 20;

/** Paths, from the root, of all files that are committed or would be: what a reviewer sees. */
export function sourceFiles(): readonly string[] {
  const listing = execFileSync(
    "git",
    ["ls-files", "-z", "--cached", "--others", "--exclude-standard"],
    { cwd: ROOT, encoding: "utf8", maxBuffer: LISTING_BYTES_MAX },
  );
  // A file that was deleted but not yet committed as such is still listed.
  return [...new Set(listing.split("\0"))].filter((path) => path !== "" && existsSync(ROOT + path));
}

export function textOf(path: string): string {
  return readFileSync(ROOT + path, "utf8");
}
