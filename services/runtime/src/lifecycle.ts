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

/** A stop that takes longer is cut off, also one that a start keeps waiting: the supervisor must not wait for ever. */
const STOP_TIMEOUT_MS = 10_000;

/** Exit codes that a supervisor can tell apart: restarting does not mend wrong settings. `interrupted` is what shells say of SIGINT. */
export const EXIT_CODE = { ok: 0, crashed: 1, wrongSettings: 64, interrupted: 130 } as const;

/** One Ctrl-C may arrive several times, from the terminal and from a program in between: only a later one means "now". */
const FORCE_AFTER_MS = 1_000;

/**
 * Runs one service for the life of the process: starts it, reports readiness over IPC, and stops it in order on SIGTERM,
 * SIGINT or when the process that started it is gone (its IPC channel closes), so that no orphan is left behind.
 */
export async function runService(start: () => Promise<RunningService>): Promise<void> {
  compileLate();
  const stopRequested = untilStopRequested().then(() => {
    setTimeout(() => {
      process.stderr.write(`stop took longer than ${STOP_TIMEOUT_MS} ms: exiting\n`);
      process.exit(EXIT_CODE.crashed);
    }, STOP_TIMEOUT_MS).unref();
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
  await service.stop();
  process.exit(EXIT_CODE.ok);
}

/**
 * A signal that arrives during start-up is remembered and obeyed as soon as there is something to stop. Later ones do not cut an
 * orderly stop off: supervisors repeat SIGTERM, and have SIGKILL for a stop that hangs. Only a person who presses Ctrl-C
 * twice, a moment apart, ends the service at once; a SIGINT after another reason to stop is the first of them.
 */
async function untilStopRequested(): Promise<void> {
  let interruptedAtMs: number | undefined;
  await new Promise<void>((resolve) => {
    process.on("SIGTERM", () => resolve());
    process.on("SIGINT", () => {
      const nowMs = performance.now();
      interruptedAtMs ??= nowMs;
      if (nowMs - interruptedAtMs > FORCE_AFTER_MS) process.exit(EXIT_CODE.interrupted);
      resolve();
    });
    if (process.channel !== undefined) process.once("disconnect", () => resolve());
  });
}
