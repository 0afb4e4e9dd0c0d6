import { writeFile } from "node:fs/promises";
import { startTestNats, type TestNats } from "./nats.ts";
import { startTestPostgres } from "./postgres.ts";
import { type SchedulerProcess, startSchedulerProcess } from "./scheduler-process.ts";
import { makeTempDir } from "./temp-dir.ts";
import { waitFor } from "./wait-for.ts";

/** A broker, a database, and the scheduler's program in a process of its own, perhaps with a standby. Ends with its scope. */
export interface SchedulerStack {
  readonly nats: TestNats;
  readonly databaseUrl: string;
  readonly active: SchedulerProcess;
  readonly standby: SchedulerProcess | undefined;
  [Symbol.asyncDispose](): Promise<void>;
}

export async function startSchedulerStack(options: {
  readonly hasStandby: boolean;
}): Promise<SchedulerStack> {
  await using parts = new AsyncDisposableStack();
  const dir = parts.use(await makeTempDir("scheduler-stack"));
  const secretFile = dir.join("secret");
  await writeFile(secretFile, "0123456789abcdef0123456789abcdef\n");
  const postgres = parts.use(await startTestPostgres());
  const databaseUrl = await postgres.createMigratedDatabase();
  const nats = parts.use(await startTestNats());
  const settings = { natsUrl: nats.url, databaseUrl, secretFile };
  const active = parts.use(await startSchedulerProcess(settings));
  // In order, so that what it writes at its end, a profile for one, is there.
  parts.defer(async () => void (await active.end("SIGTERM")));
  await waitFor("the first scheduler is active", () => hasLogged(active, "scheduler active"));
  let standby: SchedulerProcess | undefined;
  if (options.hasStandby) {
    standby = parts.use(await startSchedulerProcess(settings));
    const second = standby;
    await waitFor("the second scheduler stands by", () => hasLogged(second, "standing by"));
  }
  const running = parts.move();
  return {
    nats,
    databaseUrl,
    active,
    standby,
    [Symbol.asyncDispose]: async () => running.disposeAsync(),
  };
}

export function hasLogged(scheduler: SchedulerProcess, event: string): boolean {
  return scheduler.entries.some((entry) => entry.event === event);
}
