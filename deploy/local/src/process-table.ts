import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";

/** Environment variable that every child of a local cluster carries: its data dir, so that a leftover is recognised. */
export const DATA_DIR_MARK = "LACEWING_LOCAL_DATA_DIR";

/** The command lines of a machine with very many processes. */
const LISTING_BYTES_MAX = 64 * 2 ** 20;

/**
 * When the process started, as an opaque text that differs between two processes with the same pid.
 * `undefined` when there is no such process, or only its zombie.
 */
export function processStart(pid: number): string | undefined {
  if (process.platform === "linux") {
    const stat = readProc(pid, "stat");
    return stat === undefined ? undefined : startOfStat(stat);
  }
  return ps(pid, "lstart=");
}

/**
 * Field 22 (start time) of `/proc/<pid>/stat`, `undefined` for a zombie (field 3). The command name in field 2 may
 * hold spaces and parentheses, so fields are counted from its last closing parenthesis.
 */
export function startOfStat(stat: string): string | undefined {
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return fields[0] === "Z" || fields[0] === "X" ? undefined : fields[19];
}

/** The process that started `pid`, or the one that took it over; `undefined` when unknown. */
export function parentOf(pid: number): number | undefined {
  const stat = process.platform === "linux" ? readProc(pid, "stat") : undefined;
  const parent = stat?.slice(stat.lastIndexOf(")") + 2).split(" ")[1];
  return parent === undefined ? undefined : Number(parent);
}

export function isAlive(pid: number): boolean {
  return processStart(pid) !== undefined;
}

/**
 * Processes that belong to the cluster in `dataDir`: on Linux all that carry its mark in their environment or its path
 * in their command line; elsewhere those of `candidates` whose command line names the data dir.
 *
 * @param paths directories that a command line of ours names: the data dir, and Postgres's own when it is elsewhere.
 */
export function processesOf(
  dataDir: string,
  paths: readonly string[],
  candidates: readonly number[],
): readonly number[] {
  if (process.platform !== "linux") {
    return candidates.filter((pid) => namesOneOf(ps(pid, "command=") ?? "", paths));
  }
  const mark = `${DATA_DIR_MARK}=${dataDir}`;
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .map(Number)
    .filter((pid) => {
      if (!isAlive(pid)) return false;
      const isMarked = (readProc(pid, "environ") ?? "").split("\0").includes(mark);
      return isMarked || (candidates.includes(pid) && namesOneOf(commandLineOf(pid), paths));
    });
}

/** The arguments of every process that may be read, a process a line. */
export function allCommandLines(): string {
  if (process.platform !== "linux") {
    const options = { encoding: "utf8", maxBuffer: LISTING_BYTES_MAX } as const;
    return execFileSync("ps", ["-A", "-ww", "-o", "args="], options);
  }
  const pids = readdirSync("/proc").filter((name) => /^\d+$/.test(name));
  return pids.map((pid) => commandLineOf(Number(pid))).join("\n");
}

/** The process's arguments joined by spaces; empty when it is gone or may not be read. */
export function commandLineOf(pid: number): string {
  return process.platform === "linux"
    ? (readProc(pid, "cmdline") ?? "").replaceAll("\0", " ").trim()
    : (ps(pid, "command=") ?? "");
}

/** Sends a signal; `false` when there was nobody to receive it. A negative pid means the whole process group. */
export function sendSignal(pid: number, signal: NodeJS.Signals): boolean {
  try {
    return process.kill(pid, signal);
  } catch {
    return false;
  }
}

function namesOneOf(commandLine: string, paths: readonly string[]): boolean {
  return paths.some((path) => commandLine.includes(path));
}

function readProc(pid: number, file: string): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/${file}`, "utf8");
  } catch {
    return undefined;
  }
}

function ps(pid: number, column: string): string | undefined {
  try {
    const text = execFileSync("ps", ["-ww", "-o", column, "-p", String(pid)], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    }).trim();
    return text === "" ? undefined : text;
  } catch {
    return undefined;
  }
}
