import { randomBytes } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { dirname, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { messageOf } from "@lacewing/runtime/errors.ts";
import { type OutputBundle, type Plugin, rolldown } from "rolldown";
import {
  buildDirectory,
  buildsOf,
  PROGRAM_NAMES,
  type ProgramName,
  stampOf,
} from "../bin/programs.mjs";
import { allCommandLines } from "./process-table.ts";

type Output = OutputBundle[string];

/**
 * A build that was not started for so long, and that no process names, is removed. Who keeps a program running starts it
 * again from the same build, and between two of its lives no process names it.
 */
const UNUSED_MS = 3_600_000;

/** `build-programs.ts ROOT STAMP`: makes one file of each program of the checkout, for this state of its sources. */
async function main([root, stamp]: readonly string[]): Promise<void> {
  if (root === undefined || stamp === undefined) throw new RangeError("usage: ROOT STAMP");
  const bundles = await Promise.all(PROGRAM_NAMES.map(async (name) => bundle(root, name)));
  if (stampOf(root) !== stamp) throw new Error("the sources changed while they were read");
  for (const { name, files } of bundles) publish(root, name, stamp, files);
  for (const name of PROGRAM_NAMES) removeUnused(buildsOf(root, name), stamp);
}

/** Packages of others stay what they are: only what Node would have to strip is put together. */
async function bundle(
  root: string,
  name: ProgramName,
): Promise<{ readonly name: ProgramName; readonly files: readonly Output[] }> {
  await using made = await rolldown({
    cwd: root,
    input: { main: join(root, "services", name, "src/main.ts") },
    platform: "node",
    tsconfig: false,
    external: (id) => /^[^./\0]/.test(id) && !id.startsWith("@lacewing/"),
    plugins: [ownPlaces()],
    logLevel: "silent",
  });
  const { output } = await made.generate({
    format: "esm",
    entryFileNames: "[name].js",
    // Node reads them when it is told to (--enable-source-maps); unread they cost nothing.
    sourcemap: true,
  });
  return { name, files: output };
}

/**
 * `import.meta.url` goes on meaning the source's place, so that whatever lies beside a source is found; the program of a
 * worker thread becomes part of the build.
 */
function ownPlaces(): Plugin {
  return {
    name: "own-places",
    transform(code, id) {
      if (!code.includes("import.meta.url")) return null;
      const places =
        /(new Worker\(\s*new URL\()"(\.\/[\w-]+)\.ts"(, import\.meta\.url)|import\.meta\.url/g;
      return code.replaceAll(places, (_, before?: string, worker?: string, after?: string) => {
        if (before === undefined || worker === undefined) return JSON.stringify(pathToFileURL(id));
        const fileName = `${worker.slice(2)}.js`;
        this.emitFile({ type: "chunk", id: resolve(dirname(id), `${worker}.ts`), fileName });
        return `${before}"./${fileName}"${after}`;
      });
    },
  };
}

/** All or nothing under its final name. Who comes second finds the same files there, and keeps those. */
function publish(root: string, name: ProgramName, stamp: string, files: readonly Output[]): void {
  const target = buildDirectory(root, name, stamp);
  const making = `${target}.${process.pid}-${randomBytes(4).toString("hex")}`;
  mkdirSync(making, { recursive: true });
  try {
    for (const file of files) {
      const content = file.type === "chunk" ? file.code : file.source;
      writeFileSync(join(making, file.fileName), content, { flush: true });
    }
    renameSync(making, target);
  } catch (error) {
    rmSync(making, { recursive: true, force: true });
    if (!existsSync(target)) throw error;
  }
}

function removeUnused(builds: string, current: string): void {
  const since = Date.now() - UNUSED_MS;
  const old = readdirSync(builds)
    .filter((stamp) => stamp !== current)
    .map((stamp) => ({ stamp, path: join(builds, stamp) }))
    .filter(({ path }) => (statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? since) < since);
  if (old.length === 0) return;
  const commands = allCommandLines();
  for (const { stamp, path } of old) {
    // The stamp alone: a program of one package may be kept running by that of another.
    if (!commands.includes(`/dist/${stamp}/`)) rmSync(path, { recursive: true, force: true });
  }
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  process.stderr.write(`${messageOf(error).split("\n")[0]}\n`);
  process.exitCode = 1;
}
