import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  realpathSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { findPrograms, PROGRAM_NAMES } from "../bin/programs.mjs";

const PACKAGES = fileURLToPath(new URL("../../../node_modules", import.meta.url));
const PROGRAMS = fileURLToPath(new URL("../bin/programs.mjs", import.meta.url));
const HOURS_AGO = new Date("2020-01-01T00:00:00Z");

/** A worker, a file beside the source, a name that must survive, and a package of others. */
const PEER = `
import { readFileSync } from "node:fs";
import { isMainThread, Worker } from "node:worker_threads";
import { z } from "zod";
import { greeting } from "./greeting.ts";
const beside: string = readFileSync(new URL("../beside.txt", import.meta.url), "utf8");
const worker = new Worker(new URL("./echo-worker.ts", import.meta.url));
worker.on("message", (where: string) => {
  process.stdout.write(JSON.stringify({ greeting: greeting(), beside, where, isMainThread, zod: typeof z.object }));
});
`;
const WORKER = `
import { parentPort } from "node:worker_threads";
const where: string = import.meta.filename;
parentPort?.postMessage(where);
`;

let root: string;

beforeEach(() => {
  root = realpathSync(mkdtempSync(join(tmpdir(), "lacewing-programs-")));
  for (const folder of ["contracts", "migrations", "observability", "deploy/local"]) {
    mkdirSync(join(root, folder), { recursive: true });
  }
  for (const name of PROGRAM_NAMES) {
    write(`services/${name}/package.json`, JSON.stringify({ type: "module" }));
    write(`services/${name}/src/main.ts`, `process.stdout.write("${name}" satisfies string);`);
  }
  write("services/peer/src/main.ts", PEER);
  write("services/peer/src/greeting.ts", `export const greeting = (): string => "good morning";`);
  write("services/peer/src/echo-worker.ts", WORKER);
  write("services/peer/beside.txt", "beside");
  write("package-lock.json", "{}");
  symlinkSync(PACKAGES, join(root, "node_modules"));
});

afterEach(() => {
  rmSync(root, { recursive: true });
});

describe("programs", () => {
  test("are built once for one state of the sources, and run as the sources do", () => {
    const { entryOf, note } = findPrograms({ root });
    expect(note).toBeUndefined();
    expect(entryOf("peer")).toContain("/services/peer/dist/");
    const fromSources = output(join(root, "services/peer/src/main.ts"));
    expect(JSON.parse(output(entryOf("peer")))).toEqual({
      ...JSON.parse(fromSources),
      where: join(dirname(entryOf("peer")), "echo-worker.js"),
    });
    expect(output(entryOf("traces"))).toBe("traces");

    rmSync(join(root, "node_modules"));
    symlinkSync(PACKAGES, join(root, "node_modules"));
    write("services/peer/src/main.test.ts", "a test is not in any program");
    expect(findPrograms({ root }).entryOf("peer")).toBe(entryOf("peer"));
    expect(buildsOf("peer")).toHaveLength(1);
  });

  test("are built anew when a source, a package's exports or the lock file changes; what runs keeps its files", () => {
    const first = findPrograms({ root }).entryOf("peer");
    const seen = [first];
    for (const [path, content] of [
      ["services/peer/src/greeting.ts", `export const greeting = (): string => "good evening";`],
      ["services/peer/package.json", JSON.stringify({ type: "module", exports: {} })],
      ["package-lock.json", "{ }"],
    ] as const) {
      write(path, content);
      const next = findPrograms({ root }).entryOf("peer");
      expect(seen).not.toContain(next);
      expect(output(next)).toContain("good evening");
      seen.push(next);
    }
    expect(output(first)).toContain("good morning");
  });

  test("can be built by several starts at once, which all get the same whole files", async () => {
    const ask = `import { findPrograms } from ${JSON.stringify(PROGRAMS)};
      const { entryOf, note } = findPrograms({ root: ${JSON.stringify(root)} });
      process.stdout.write(note ?? entryOf("peer"));`;
    const askers = Array.from({ length: 3 }, () =>
      spawn(process.execPath, ["--input-type=module", "-e", ask], { stdio: ["ignore", "pipe", 2] }),
    );
    const answers = await Promise.all(askers.map(async (asker) => textOf(asker)));
    expect(new Set(answers)).toEqual(new Set([findPrograms({ root }).entryOf("peer")]));
    expect(output(answers[0] ?? "")).toContain("good morning");
    for (const name of PROGRAM_NAMES) expect(buildsOf(name)).toHaveLength(1);
  });

  test("of an old state are removed when nobody has started them for long and no process runs them", async () => {
    const old = findPrograms({ root });
    // Only the supervisor's own command line names this build; the services that it starts again do not run.
    write("services/cli/src/main.ts", `process.stdout.write("up"); setInterval(() => {}, 1000);`);
    const used = findPrograms({ root });
    const supervisor = spawn(process.execPath, [used.entryOf("cli")], { stdio: [0, "pipe", 2] });
    await once(supervisor.stdout ?? supervisor, "data");
    for (const { entryOf } of [old, used]) {
      for (const name of PROGRAM_NAMES) utimesSync(dirname(entryOf(name)), HOURS_AGO, HOURS_AGO);
    }
    write("services/cli/src/main.ts", `process.stdout.write("newer");`);
    const newer = findPrograms({ root });
    supervisor.kill();
    await once(supervisor, "exit");
    expect(PROGRAM_NAMES.map((name) => existsSync(old.entryOf(name)))).not.toContain(true);
    expect(PROGRAM_NAMES.map((name) => existsSync(used.entryOf(name)))).not.toContain(false);
    expect(output(newer.entryOf("cli"))).toBe("newer");
  });
});

describe("programs run from their sources, and say why,", () => {
  const entry = () => join(root, "services/traces/src/main.ts");

  test("when they are asked to", () => {
    const { entryOf, note } = findPrograms({ root, env: { LACEWING_FROM_SOURCES: "1" } });
    expect({ entry: entryOf("traces"), note }).toEqual({
      entry: entry(),
      note: "services run from their sources: LACEWING_FROM_SOURCES=1",
    });
  });

  test("when no bundler is installed", () => {
    rmSync(join(root, "node_modules"));
    const { entryOf, note } = findPrograms({ root });
    expect({ entry: entryOf("traces"), note }).toEqual({
      entry: entry(),
      note: "services run from their sources: the bundler (rolldown) is not installed",
    });
  });

  test("when the builds cannot be written", () => {
    write("services/traces/dist", "a file where the folder should be");
    const { entryOf, note } = findPrograms({ root });
    expect(entryOf("traces")).toBe(entry());
    expect(note).toMatch(/^services run from their sources: they could not be built \(E/);
  });

  test("when the bundler does not start: the reason is said, not the place in Node", () => {
    const node = join(root, "broken-node");
    const trace = "node:internal/modules:189\n  throw it\n\nTypeError [ERR]: no such bundler\n";
    writeFileSync(node, `#!/bin/sh\nprintf '%s' '${trace}' >&2\nexit 1\n`, { mode: 0o755 });
    const { note } = findPrograms({ root, node });
    expect(note).toContain("could not be built (TypeError [ERR]: no such bundler)");
  });

  test("when a build ends half written: nothing of it has its name", () => {
    const node = join(root, "limited-node");
    const script = `#!/bin/sh\nulimit -f 4\nexec ${JSON.stringify(process.execPath)} "$@"\n`;
    writeFileSync(node, script, { mode: 0o755 });
    write("services/cli/src/main.ts", `process.stdout.write("${"long".repeat(2 ** 12)}");`);
    const { entryOf, note } = findPrograms({ root, node });
    expect(entryOf("traces")).toBe(entry());
    expect(note).toContain("could not be built");
    expect(output(findPrograms({ root }).entryOf("cli"))).toContain("longlong");
  });

  test("when a source is wrong: its own message comes from the program that has it", () => {
    write("services/peer/src/main.ts", "import { nothing } from './greeting.ts'; nothing();");
    const { entryOf, note } = findPrograms({ root });
    expect(entryOf("traces")).toBe(entry());
    expect(note).toContain("could not be built");
  });
});

function write(path: string, content: string): void {
  mkdirSync(join(root, dirname(path)), { recursive: true });
  writeFileSync(join(root, path), content);
}

function buildsOf(name: string): readonly string[] {
  return readdirSync(join(root, "services", name, "dist"));
}

function output(entry: string): string {
  const { stdout, stderr } = spawnSync(process.execPath, [entry], { encoding: "utf8" });
  return stdout === "" ? stderr : stdout;
}

async function textOf(child: ChildProcess): Promise<string> {
  let text = "";
  child.stdout?.setEncoding("utf8").on("data", (part: string) => (text += part));
  await once(child, "close");
  return text;
}
