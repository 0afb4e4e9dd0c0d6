// Runs on any Node >= 18: it is what finds the newer one.
import { spawn, spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { constants } from "node:os";
import { join } from "node:path";

/** The sources are TypeScript that Node itself strips; older ones cannot. */
const MAJOR_MIN = 24;
const PROBE_TIMEOUT_MS = 10_000;

/**
 * Path of a Node that runs the sources: this one when it is new enough, else the pinned one that npm installed.
 *
 * @param {string} root the checkout
 * @throws {Error} with a message for the user
 */
export function findNode(root) {
  if (majorOf(process.version) >= MAJOR_MIN) return process.execPath;
  const pinned = join(root, "node_modules/.bin/node");
  const probe = existsSync(pinned)
    ? spawnSync(pinned, ["--version"], { encoding: "utf8", timeout: PROBE_TIMEOUT_MS })
    : undefined;
  if (probe?.status === 0 && majorOf(probe.stdout) >= MAJOR_MIN) return pinned;
  const why =
    process.platform === "darwin"
      ? "On macOS it does not come with the packages."
      : probe === undefined
        ? "The pinned one was not installed: was npm told to omit optional dependencies?"
        : "The pinned one does not run on this system.";
  throw new Error(
    `Lacewing needs Node ${MAJOR_MIN} or newer; this is ${process.version}. ${why}\n` +
      `Install Node ${MAJOR_MIN} (https://nodejs.org) and try again.`,
  );
}

/**
 * Runs a program as if it were this process: same terminal, signals passed on, its exit code ours. It has an IPC channel
 * to us, so that it can end itself when we are killed.
 *
 * @param {string} command
 * @param {readonly string[]} args
 * @param {{ cwd?: string, env?: NodeJS.ProcessEnv, channel?: boolean }} [options]
 * @returns {Promise<number>} the exit code; 128 + n after signal n
 */
export function runInPlace(command, args, options = {}) {
  const { channel = true, ...spawnOptions } = options;
  return new Promise((resolve, reject) => {
    const stdio = ["inherit", "inherit", "inherit", ...(channel ? ["ipc"] : [])];
    const child = spawn(command, args, { ...spawnOptions, stdio });
    // Kept for good: a second Ctrl-C must not end us before the program's exit code is passed on.
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"])
      process.on(signal, () => child.kill(signal));
    child.once("error", reject);
    child.once("exit", (code, signal) => {
      resolve(code ?? 128 + constants.signals[signal]);
    });
  });
}

/** @param {string} version `v24.1.0` */
function majorOf(version) {
  return Number(/^v?(\d+)/.exec(version.trim())?.[1] ?? 0);
}
