import { compileLate } from "./compiler.ts";
import { messageOf } from "./errors.ts";
import { SettingsError } from "./settings.ts";

/** What a service tells whoever started it, over the process's IPC channel. */
export interface ReadyMessage {
  readonly type: "ready";
  /** Where the service listens, by purpose (`proxy`, `transfer`, `grpc`, …), `host:port` or a socket path. */
  readonly addresses: Readonly<Record<string, string>>;
}

/** A running service as its `main.ts` hands it to {@link runService}. */
export interface RunningService {
  readonly addresses: Readonly<Record<string, string>>;
  /** Stops user-facing work first, then flushes, then closes. Called once; must settle by itself. */
  stop(): Promise<void>;
}

/** A stop that takes longer is cut off: the supervisor must not wait for ever. */
const STOP_TIMEOUT_MS = 10_000;

/** Exit codes that a supervisor can tell apart: restarting does not mend wrong settings. */
export const EXIT_CODE = { ok: 0, crashed: 1, wrongSettings: 64 } as const;

/**
 * Runs one service for the life of the process: starts it, reports readiness over IPC, and stops it in order on SIGTERM,
 * SIGINT or when the process that started it is gone (its IPC channel closes), so that no orphan is left behind.
 */
export async function runService(start: () => Promise<RunningService>): Promise<void> {
  compileLate();
  // A signal that arrives during start-up is remembered and obeyed as soon as there is something to stop.
  const stopRequested = new Promise<void>((resolve) => {
    process.once("SIGTERM", () => resolve());
    process.once("SIGINT", () => resolve());
    if (process.channel !== undefined) process.once("disconnect", () => resolve());
  });
  let service: RunningService;
  try {
    service = await start();
  } catch (error) {
    const text =
      error instanceof SettingsError
        ? error.message
        : error instanceof Error
          ? error.stack
          : undefined;
    process.stderr.write(`${text ?? messageOf(error)}\n`);
    process.exit(error instanceof SettingsError ? EXIT_CODE.wrongSettings : EXIT_CODE.crashed);
  }
  process.send?.({ type: "ready", addresses: service.addresses } satisfies ReadyMessage);
  await stopRequested;
  setTimeout(() => {
    process.stderr.write(`stop took longer than ${STOP_TIMEOUT_MS} ms: exiting\n`);
    process.exit(EXIT_CODE.crashed);
  }, STOP_TIMEOUT_MS).unref();
  await service.stop();
  process.exit(EXIT_CODE.ok);
}
