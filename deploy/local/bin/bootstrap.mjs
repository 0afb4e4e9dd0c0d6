// What `npm start`, `npm test` and `npm run demo` run first. Plain JavaScript for any Node >= 18, without packages:
// it installs them.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import { findNode, runInPlace } from "./find-node.mjs";
import { findPrograms } from "./programs.mjs";

const root = fileURLToPath(new URL("../../..", import.meta.url)).replace(/\/$/, "");
/** Holds the hash of the lock file that node_modules was installed from. */
const stampFile = join(root, "node_modules/.lacewing-installed");
/** npm writes its own record of an installation this long before or after the lock file. */
const LOCK_SLACK_MS = 2_000;

/** Programs that the end-to-end tests drive, and the Debian packages that bring them. */
const TEST_TOOLS = [
  { program: "git-lfs", aptPackage: "git-lfs" },
  { program: "skopeo", aptPackage: "skopeo" },
  { program: "aria2c", aptPackage: "aria2" },
  { program: "curl", aptPackage: "curl" },
  { program: "nats-server", aptPackage: "nats-server" },
];

/** Programs that the benchmarks compare with, or measure by. */
const BENCH_TOOLS = [
  { program: "git-lfs", aptPackage: "git-lfs" },
  { program: "curl", aptPackage: "curl" },
  { program: "nginx", aptPackage: "nginx-light" },
  { program: "wrk", aptPackage: "wrk" },
  { program: "ip", aptPackage: "iproute2" },
];

/** Tasks that are one program. */
const PROGRAMS = { demo: "test/demo/main.ts", bench: "test/bench/main.ts" };

class Refusal extends Error {}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}

async function main([task, ...rest]) {
  checkSystem();
  if (task !== "up" && task !== "test" && !(task in PROGRAMS)) {
    throw new Refusal(`usage: bootstrap.mjs up|test|demo|bench [arguments]; got "${task ?? ""}"`);
  }
  await ensurePackages();
  const node = findNode(root);
  if (task === "up") {
    return runInPlace(node, [findPrograms({ root, node }).entryOf("cli"), "up", ...rest]);
  }
  // What is still missing then is said by the part that needs it.
  if (task === "bench") await installMissing(BENCH_TOOLS, "bench tools");
  if (task in PROGRAMS) return runInPlace(node, [join(root, PROGRAMS[task]), ...rest]);
  return runTests(node, rest);
}

function checkSystem() {
  if (process.platform === "linux") return;
  if (process.platform === "darwin") {
    findNode(root);
    return;
  }
  throw new Refusal(
    `Lacewing runs on Linux (and on macOS with Node 24); this is ${process.platform}. On Windows use WSL 2.`,
  );
}

async function ensurePackages() {
  const lockFile = join(root, "package-lock.json");
  const wanted = createHash("sha256").update(readFileSync(lockFile)).digest("hex");
  if (existsSync(stampFile) && readFileSync(stampFile, "utf8") === wanted) return;
  if (!wasInstalledByHand(lockFile)) {
    process.stdout.write("Installing packages (first start, or package-lock.json changed) …\n");
    const args = ["ci", "--include=dev", "--include=optional", "--loglevel=error"];
    const code = await runNpm(args, process.env);
    if (code !== 0) {
      throw new Refusal(
        `\`npm ci\` failed (exit code ${code}); its message is above.\n` +
          "If it says that package.json and package-lock.json are out of sync: run `npm install`, look at the change, " +
          "and start again. If it could not reach the registry: check `npm config get registry` and the network.",
      );
    }
  }
  writeFileSync(stampFile, wanted);
}

/** Whether npm itself says that node_modules is as new as the lock file: then there is nothing to install. */
function wasInstalledByHand(lockFile) {
  const record = statSync(join(root, "node_modules/.package-lock.json"), { throwIfNoEntry: false });
  return record !== undefined && record.mtimeMs + LOCK_SLACK_MS >= statSync(lockFile).mtimeMs;
}

async function runTests(node, rest) {
  await ensureTestTools();
  const bin = join(root, "node_modules/.bin");
  const env = { ...process.env, PATH: `${bin}${delimiter}${process.env.PATH ?? ""}` };
  const vitest = join(root, "node_modules/vitest/vitest.mjs");
  const steps = [
    () => runNpm(["run", "--silent", "check"], env),
    ...["integration", "e2e"].map(
      (project) => () =>
        runInPlace(node, [vitest, "run", "--project", project, ...rest], {
          cwd: root,
          env,
          channel: false,
        }),
    ),
  ];
  for (const step of steps) {
    const code = await step();
    if (code !== 0) return code;
  }
  return 0;
}

/**
 * End-to-end tests drive real clients. As root on a Debian system missing ones are installed; elsewhere the tests that
 * need them are skipped with a reason, except on CI, where a test that does not run must not look like one that passed.
 */
async function ensureTestTools() {
  await installMissing(TEST_TOOLS, "test tools");
  // The local cluster fetches a nats-server by itself.
  const missing = missingOf(TEST_TOOLS).filter(({ program }) => program !== "nats-server");
  if (missing.length === 0) return;
  const packages = missing.map(({ aptPackage }) => aptPackage).join(" ");
  const text = `missing test tools: ${missing.map(({ program }) => program).join(", ")} (apt-get install ${packages})`;
  if (process.env.CI === "true") throw new Refusal(text);
  process.stdout.write(`${text}: tests that need them are skipped\n`);
}

/** As root on a Debian system; elsewhere nothing is done. */
async function installMissing(tools, what) {
  const packages = missingOf(tools).map(({ aptPackage }) => aptPackage);
  if (packages.length === 0 || process.getuid?.() !== 0 || !has("apt-get")) return;
  if (process.env.LACEWING_NO_APT === "1") return;
  process.stdout.write(
    `Installing ${what} with apt-get (LACEWING_NO_APT=1 forbids it): ${packages.join(" ")}\n`,
  );
  const options = { env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" }, channel: false };
  const install = ["-qq", "install", "-y", "--no-install-recommends", ...packages];
  await runInPlace("apt-get", ["-qq", "update"], options);
  await runInPlace("apt-get", install, options);
}

function missingOf(tools) {
  return tools.filter(({ program }) => !has(program));
}

function has(program) {
  const directories = [
    ...(process.env.PATH ?? "").split(delimiter),
    "/usr/sbin",
    "/usr/local/sbin",
  ];
  return directories.some((directory) => directory !== "" && existsSync(join(directory, program)));
}

/** The npm that runs this script, when one does; else the one on the PATH. */
async function runNpm(args, env) {
  const npm = process.env.npm_execpath;
  const options = { cwd: root, env, channel: false };
  const probe = npm?.endsWith(".js") ? undefined : spawnSync("npm", ["--version"]);
  if (probe?.error !== undefined)
    throw new Refusal("npm was not found on the PATH: install Node with npm.");
  return npm?.endsWith(".js")
    ? runInPlace(process.execPath, [npm, ...args], options)
    : runInPlace("npm", args, options);
}
