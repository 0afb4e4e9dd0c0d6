import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";

/** A service in a process of its own; killed with its scope. */
export interface ServiceProcess {
  readonly child: ChildProcess;
  /** What it has logged. */
  readonly entries: readonly LogEntry[];
  /** Sends the signal, and waits for the exit. @returns the exit code; `null` when the signal ended it. */
  end(signal: NodeJS.Signals): Promise<number | null>;
  [Symbol.asyncDispose](): Promise<void>;
}

export interface LogEntry {
  readonly event: string;
  readonly [field: string]: unknown;
}

/** Starts a service's program; it need not be ready yet. */
export function forkService(main: string, env: Readonly<Record<string, string>>): ServiceProcess {
  const entries: LogEntry[] = [];
  const child = fork(main, { env, stdio: ["ignore", "pipe", "inherit", "ipc"] });
  let rest = "";
  child.stdout?.setEncoding("utf8").on("data", (text: string) => {
    const lines = (rest + text).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) entries.push(entryOf(line));
  });
  const end = async (signal: NodeJS.Signals) => {
    if (child.exitCode === null && child.signalCode === null) {
      const exit = once(child, "exit");
      child.kill(signal);
      await exit;
    }
    return child.exitCode;
  };
  return {
    child,
    entries,
    end,
    [Symbol.asyncDispose]: async () => {
      await end("SIGKILL");
    },
  };
}

/** Waits until the process says that it is ready. @returns its message. */
export async function untilReady({ child }: ServiceProcess): Promise<unknown> {
  const exited = once(child, "exit").then(([code]) => {
    throw new Error(`the service exited with ${String(code)} before it was ready`);
  });
  const ready = once(child, "message").then(([message]: unknown[]) => message);
  const message = await Promise.race([ready, exited]);
  exited.catch(() => {});
  return message;
}

function entryOf(line: string): LogEntry {
  try {
    const parsed: unknown = JSON.parse(line);
    if (isEntry(parsed)) return parsed;
  } catch {
    // Not ours: a warning of the runtime.
  }
  return { event: line };
}

function isEntry(value: unknown): value is LogEntry {
  return typeof value === "object" && value !== null && "event" in value;
}
