import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { PortError } from "@lacewing/runtime/errors.ts";

export interface ProcessRequest {
  readonly command: string;
  readonly args: readonly string[];
  readonly cwd?: string;
  /** The whole environment; nothing is inherited besides it. Default: this process's own. */
  readonly env?: NodeJS.ProcessEnv;
  /** Written to standard input, which is then closed. */
  readonly input?: string;
  /** Killed with SIGKILL after this long. */
  readonly timeoutMs?: number;
  /** Killed with SIGTERM when aborted, SIGKILL {@link STOP_GRACE_MS} later. */
  readonly signal?: AbortSignal | undefined;
}

export interface ProcessResult {
  /** `null` when a signal ended it. */
  readonly exitCode: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
  /** From spawn to exit. */
  readonly seconds: number;
}

/** A process that was started and is not awaited yet. */
export interface RunningProcess {
  readonly pid: number;
  /** Settles when the process has ended and its output is read. */
  readonly result: Promise<ProcessResult>;
  output(): { readonly stdout: string; readonly stderr: string };
  /** Signals it and everything that it has started, as Ctrl-C on a terminal would. */
  kill(signal: NodeJS.Signals): void;
}

const DEFAULT_TIMEOUT_MS = 120_000;
const STOP_GRACE_MS = 3_000;
/** Kept of each output, from its end: enough for every message, little enough for a client that talks without end. */
const OUTPUT_CHARACTERS_MAX = 2 ** 20;

/** Runs a program to its end. @throws {PortError} when it cannot be started. */
export async function runProcess(request: ProcessRequest): Promise<ProcessResult> {
  const running = await startProcess(request);
  return running.result;
}

/**
 * Runs a program that has to succeed.
 *
 * @throws {PortError} with the end of its standard error when it exits with another code than 0.
 */
export async function runProcessOrThrow(request: ProcessRequest): Promise<ProcessResult> {
  const result = await runProcess(request);
  if (result.exitCode === 0) return result;
  const message = `${request.command} ${request.args.join(" ")}: ${failureOf(result)}`;
  throw new PortError("process_failed", message, { retryable: false });
}

/** How a process failed and the end of what it said about it; empty when it exited with 0. */
export function failureOf(result: ProcessResult): string {
  if (result.exitCode === 0) return "";
  const ending = result.signal ?? `exit code ${result.exitCode}`;
  return `${ending}: ${result.stderr.trim().slice(-2000)}`;
}

/** @throws {PortError} when it cannot be started. */
export async function startProcess(request: ProcessRequest): Promise<RunningProcess> {
  request.signal?.throwIfAborted();
  const startedAt = performance.now();
  const child = spawn(request.command, [...request.args], {
    cwd: request.cwd,
    env: request.env ?? process.env,
    stdio: ["pipe", "pipe", "pipe"],
    // A process group of its own: git starts git-lfs, and whoever ends the one must end the other.
    detached: true,
  });
  let stdout = "";
  let stderr = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    stdout = (stdout + text).slice(-OUTPUT_CHARACTERS_MAX);
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    stderr = (stderr + text).slice(-OUTPUT_CHARACTERS_MAX);
  });
  // A program that does not read its input closes the pipe; how it ends tells whether that was right.
  child.stdin.on("error", () => {});
  child.stdin.end(request.input ?? "");
  const closed = new Promise<ProcessResult>((resolve) => {
    child.once("close", (exitCode, signal) => {
      const seconds = (performance.now() - startedAt) / 1000;
      resolve({ exitCode, signal, stdout, stderr, seconds });
    });
  });
  await spawned(child, request);
  return {
    pid: child.pid ?? 0,
    result: endInTime(child, closed, request),
    output: () => ({ stdout, stderr }),
    kill: (signal) => killGroup(child, signal),
  };
}

/** Whether a process of this id exists. */
export function isProcessAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

function killGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, signal);
  } catch {
    // The whole group has ended already.
  }
}

async function spawned(child: ChildProcess, request: ProcessRequest): Promise<void> {
  try {
    await once(child, "spawn");
  } catch (error) {
    const message = `cannot start ${request.command}`;
    throw new PortError("process_not_started", message, { retryable: false, cause: error });
  }
}

async function endInTime(
  child: ChildProcess,
  closed: Promise<ProcessResult>,
  request: ProcessRequest,
): Promise<ProcessResult> {
  const timers = [
    setTimeout(() => killGroup(child, "SIGKILL"), request.timeoutMs ?? DEFAULT_TIMEOUT_MS),
  ];
  const stop = () => {
    killGroup(child, "SIGTERM");
    timers.push(setTimeout(() => killGroup(child, "SIGKILL"), STOP_GRACE_MS));
  };
  request.signal?.addEventListener("abort", stop, { once: true });
  try {
    return await closed;
  } finally {
    for (const timer of timers) clearTimeout(timer);
    request.signal?.removeEventListener("abort", stop);
  }
}
