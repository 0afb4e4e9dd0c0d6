import { fileURLToPath } from "node:url";
import { type ProcessResult, type RunningProcess, runProcess, startProcess } from "./processes.ts";

const MAIN_FILE = fileURLToPath(new URL("../../services/cli/bin/lacewing.mjs", import.meta.url));

export interface LacewingRequest {
  readonly args: readonly string[];
  /** Home of a user who never ran anything here: nothing of the real one is read or written. */
  readonly home: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly timeoutMs?: number;
}

/** Runs the `lacewing` command to its end. */
export async function runLacewing(request: LacewingRequest): Promise<ProcessResult> {
  return runProcess(processOf(request));
}

/** Starts `lacewing`, for a command that runs until it is told to stop. */
export async function startLacewing(request: LacewingRequest): Promise<RunningProcess> {
  return startProcess(processOf(request));
}

function processOf({ args, home, env, timeoutMs = 120_000 }: LacewingRequest) {
  return {
    command: process.execPath,
    args: [MAIN_FILE, ...args],
    env: {
      PATH: process.env["PATH"],
      HOME: home,
      XDG_DATA_HOME: `${home}/data`,
      XDG_CACHE_HOME: `${home}/cache`,
      LC_ALL: "C",
      ...env,
    },
    timeoutMs,
  };
}
