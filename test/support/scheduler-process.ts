import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";

/** The scheduler's program. */
export const SCHEDULER_MAIN = fileURLToPath(import.meta.resolve("@lacewing/scheduler/main.ts"));

/** A scheduler in a process of its own; killed with its scope. */
export interface SchedulerProcess {
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

/** Starts the scheduler's program; it need not be ready yet. */
export function forkScheduler(settings: {
  readonly natsUrl: string;
  readonly databaseUrl: string;
  readonly secretFile: string;
  readonly env?: Readonly<Record<string, string>>;
}): SchedulerProcess {
  const entries: LogEntry[] = [];
  const child = fork(SCHEDULER_MAIN, {
    env: {
      LACEWING_NATS_URL: settings.natsUrl,
      LACEWING_DATABASE_URL: settings.databaseUrl,
      LACEWING_CLUSTER_SECRET_FILE: settings.secretFile,
      LACEWING_SCHEDULER_GRPC_ADDRESS: "127.0.0.1:0",
      ...settings.env,
    },
    stdio: ["ignore", "pipe", "inherit", "ipc"],
  });
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

/** Waits until the process says that it is ready: deciding, or standing by. */
export async function startSchedulerProcess(
  settings: Parameters<typeof forkScheduler>[0],
): Promise<SchedulerProcess> {
  const scheduler = forkScheduler(settings);
  const exited = once(scheduler.child, "exit").then(([code]) => {
    throw new Error(`the scheduler exited with ${String(code)} before it was ready`);
  });
  await Promise.race([once(scheduler.child, "message"), exited]);
  exited.catch(() => {});
  return scheduler;
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
