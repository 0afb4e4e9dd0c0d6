import { spawnSync } from "node:child_process";

/**
 * The command that makes `command` receive `signal` when the process that started it dies, even by `kill -9`. Without a
 * `setpriv` that can do this (util-linux; Linux only) the command is left as it is: the next `up` or `down` ends leftovers.
 *
 * @param setpriv path or name of a capable setpriv, see {@link findSetpriv}.
 */
export function withDeathSignal(
  setpriv: string | undefined,
  signal: "SIGINT" | "SIGTERM",
  command: string,
  args: readonly string[],
): { readonly command: string; readonly args: readonly string[] } {
  if (setpriv === undefined) return { command, args };
  return {
    command: setpriv,
    args: ["--pdeathsig", signal.replace(/^SIG/, ""), "--", command, ...args],
  };
}

/** A setpriv that knows `--pdeathsig` (BusyBox's does not). */
export function findSetpriv(): string | undefined {
  const probe = spawnSync("setpriv", ["--pdeathsig", "TERM", "--", "true"], {
    stdio: "ignore",
    timeout: 5_000,
  });
  return probe.status === 0 ? "setpriv" : undefined;
}
