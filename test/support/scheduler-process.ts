import { findPrograms } from "@lacewing/local/programs.mjs";
import { forkService, type ServiceProcess, untilReady } from "./service-process.ts";

/** The scheduler's program. */
export function schedulerProgram(): string {
  return findPrograms().entryOf("scheduler");
}

/** A scheduler in a process of its own; killed with its scope. */
export type SchedulerProcess = ServiceProcess;

/** Starts the scheduler's program; it need not be ready yet. */
export function forkScheduler(settings: {
  readonly natsUrl: string;
  readonly databaseUrl: string;
  readonly secretFile: string;
  readonly env?: Readonly<Record<string, string>>;
}): SchedulerProcess {
  return forkService(schedulerProgram(), {
    LACEWING_NATS_URL: settings.natsUrl,
    LACEWING_DATABASE_URL: settings.databaseUrl,
    LACEWING_CLUSTER_SECRET_FILE: settings.secretFile,
    LACEWING_SCHEDULER_GRPC_ADDRESS: "127.0.0.1:0",
    ...settings.env,
  });
}

/** Waits until the process says that it is ready: deciding, or standing by. */
export async function startSchedulerProcess(
  settings: Parameters<typeof forkScheduler>[0],
): Promise<SchedulerProcess> {
  const scheduler = forkScheduler(settings);
  await untilReady(scheduler);
  return scheduler;
}
