// @ts-check
// Which file a program of ours is started from. Plain JavaScript for any Node >= 18, because it runs before the Node is
// known that strips types, and because who loads that stripper pays for it with memory as long as it runs.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { accessSync, constants, existsSync, readdirSync, readFileSync, utimesSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** @typedef {"cli" | "peer" | "scheduler" | "traces"} ProgramName */

/**
 * @typedef {object} Programs
 * @property {(name: ProgramName) => string} entryOf the file that Node is given
 * @property {string | undefined} note why they are run from their sources, which costs memory and time; for the operator
 */

/**
 * @typedef {object} ProgramsQuestion
 * @property {string} [root] the checkout; default: the one of this file
 * @property {string} [node] a Node that runs TypeScript; default: this one
 * @property {Readonly<Record<string, string | undefined>>} [env]
 */

/** @type {readonly ProgramName[]} */
export const PROGRAM_NAMES = ["cli", "peer", "scheduler", "traces"];
/** Whatever a program is made of lies below these. */
const SOURCE_ROOTS = ["contracts", "migrations", "observability", "services", "deploy/local"];
const SOURCE_FILE = /(?:(?<![.]test)[.]ts|[.]mjs|^package[.]json)$/;
const NOT_SOURCES = new Set(["node_modules", "dist", "fixtures", "proto", "sql"]);
/** The bundler needs a second or two; a machine that swaps gets more. */
const BUILD_TIMEOUT_MS = 120_000;

/**
 * The programs as they are to be started: built ones, made now when the sources have changed since the last time, else, where
 * nothing can be built, the sources themselves.
 *
 * @param {ProgramsQuestion} [question]
 * @returns {Programs}
 */
export function findPrograms({ root = checkout(), node = process.execPath, env } = {}) {
  const sources = (/** @type {string} */ note) => ({
    entryOf: (/** @type {ProgramName} */ name) => join(root, "services", name, "src/main.ts"),
    note: `services run from their sources: ${note}`,
  });
  if ((env ?? process.env)["LACEWING_FROM_SOURCES"] === "1") {
    return sources("LACEWING_FROM_SOURCES=1");
  }
  let stamp;
  try {
    stamp = stampOf(root);
  } catch (error) {
    return sources(
      `they could not be read (${error instanceof Error ? error.message : String(error)})`,
    );
  }
  if (!isBuilt(root, stamp)) {
    const refusal = refusalToBuild(root) ?? build({ root, node, stamp });
    if (refusal !== undefined) return sources(refusal);
  }
  for (const name of PROGRAM_NAMES) markUsed(buildDirectory(root, name, stamp));
  return { entryOf: (name) => join(buildDirectory(root, name, stamp), "main.js"), note: undefined };
}

/**
 * Names one state of everything that a build is made from. By content: times lie after a checkout of another branch.
 *
 * @param {string} root
 * @returns {string}
 */
export function stampOf(root) {
  const hash = createHash("sha256")
    .update(root)
    .update(bundlerOf(root) ?? "");
  const add = (/** @type {string} */ path) => {
    const content = readFileSync(join(root, path));
    hash.update(`\0${path}\0${content.length}\0`).update(content);
  };
  add("package-lock.json");
  for (const path of SOURCE_ROOTS.flatMap((folder) => sourcesIn(root, folder))) add(path);
  return hash.digest("hex").slice(0, 16);
}

/**
 * Beside the sources of the program, so that its packages are found as they are from there.
 *
 * @param {string} root
 * @param {ProgramName} name
 * @param {string} stamp
 */
export function buildDirectory(root, name, stamp) {
  return join(buildsOf(root, name), stamp);
}

/**
 * Holds a folder for each state of the sources that was run.
 *
 * @param {string} root
 * @param {ProgramName} name
 */
export function buildsOf(root, name) {
  return join(root, "services", name, "dist");
}

function checkout() {
  return fileURLToPath(new URL("../../..", import.meta.url)).replace(/\/$/, "");
}

/**
 * @param {string} root
 * @param {string} folder
 * @returns {string[]} in an order that is the same on every machine
 */
function sourcesIn(root, folder) {
  return readdirSync(join(root, folder), { withFileTypes: true })
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .flatMap((entry) => {
      const path = `${folder}/${entry.name}`;
      if (entry.isDirectory()) return NOT_SOURCES.has(entry.name) ? [] : sourcesIn(root, path);
      return SOURCE_FILE.test(entry.name) ? [path] : [];
    });
}

/**
 * @param {string} root
 * @param {string} stamp
 */
function isBuilt(root, stamp) {
  return PROGRAM_NAMES.every((name) =>
    existsSync(join(buildDirectory(root, name, stamp), "main.js")),
  );
}

/**
 * The description of the bundler that is installed.
 *
 * @param {string} root
 */
function bundlerOf(root) {
  const file = join(root, "node_modules/rolldown/package.json");
  return existsSync(file) ? readFileSync(file, "utf8") : undefined;
}

/**
 * What can be known without trying, so that a place where nothing can be built costs no time at each start.
 *
 * @param {string} root
 * @returns {string | undefined}
 */
function refusalToBuild(root) {
  if (bundlerOf(root) === undefined) return "the bundler (rolldown) is not installed";
  try {
    for (const name of PROGRAM_NAMES) {
      accessSync(join(root, "services", name), constants.W_OK);
      // Another user may have made the first build.
      const builds = buildsOf(root, name);
      if (existsSync(builds)) accessSync(builds, constants.W_OK);
    }
  } catch {
    return "the checkout cannot be written to";
  }
  return undefined;
}

/**
 * In a process of its own: the bundler's memory ends with it.
 *
 * @param {{ root: string, node: string, stamp: string }} order
 * @returns {string | undefined} why there is no build
 */
function build({ root, node, stamp }) {
  const program = join(checkout(), "deploy/local/src/build-programs.ts");
  const result = spawnSync(node, [program, root, stamp], {
    encoding: "utf8",
    timeout: BUILD_TIMEOUT_MS,
  });
  if (result.status === 0) return undefined;
  // What Node itself cannot load it tells with the place before the reason.
  const said = result.stderr.trim().split("\n");
  const why = result.error?.message ?? said.find((line) => /^\w*Error\b/.test(line)) ?? said[0];
  return `they could not be built (${why || `exit code ${result.status}`})`;
}

/**
 * Builds that nobody has started for long may be removed.
 *
 * @param {string} directory
 */
function markUsed(directory) {
  try {
    const now = new Date();
    utimesSync(directory, now, now);
  } catch {
    // A build that cannot be written to is not removed either.
  }
}
