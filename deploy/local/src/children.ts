import { spawn, type ChildProcess } from "node:child_process";
import { closeSync, openSync, readSync, renameSync, statSync } from "node:fs";
import { setPriority } from "node:os";
import type { Clock } from "@lacewing/runtime/clock.ts";
import { messageOf } from "@lacewing/runtime/errors.ts";
import { z } from "zod";
import { LocalError } from "./local-error.ts";
import { sendSignal } from "./process-table.ts";
import { type ChildExit, decideRestart } from "./restart-policy.ts";

/** One process of the cluster and how to tell that it works. */
export interface ChildSpec {
  /** Name in messages and of the log file: `nats`, `scheduler`, `peer-1`. */
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
  /** Run as this user; only root may ask. */
  readonly user?: { readonly uid: number; readonly gid: number } | undefined;
  /** How far it gives way to the others when all want the processor, 0 (as they) to 19. */
  readonly niceness?: number;
  readonly logFile: string;
  /** `ipc`: the child says so itself. Else a probe that resolves when the child answers and rejects when aborted. */
  readonly readiness: "ipc" | ((signal: AbortSignal) => Promise<void>);
  readonly stopSignal: NodeJS.Signals;
  /** After this long the child is killed. */
  readonly stopTimeoutMs: number;
  /** Mends what a killed predecessor left; runs before every start. */
  readonly beforeStart?: () => void;
}

/** What happened to a child, for the log of the cluster. */
export type ChildEvent =
  | { readonly type: "child.started"; readonly name: string; readonly pid: number }
  | { readonly type: "child.ready"; readonly name: string; readonly tookMs: number }
  | {
      readonly type: "child.ended";
      readonly name: string;
      readonly how: string;
      readonly restartInMs: number;
    };

/** What a child needs from whoever keeps it. */
export interface ChildWorld {
  readonly clock: Clock;
  /** In [0, 1). */
  readonly random: () => number;
  readonly onEvent: (event: ChildEvent) => void;
  /** A child that was ready cannot be brought back: the cluster must stop. */
  readonly onLost: (error: LocalError) => void;
}

/** Crash recovery of a large database may take long; nothing else comes near. */
const READY_TIMEOUT_MS = 60_000;
/** A log that is larger when its process starts is kept as `<name>.log.1` and a new one begun. */
const LOG_BYTES_MAX = 16 * 2 ** 20;
/** As much of a log as a person wants to read in an error message. */
const LOG_TAIL_BYTES = 4_096;
const LOG_TAIL_LINES = 15;

const readyMessage = z.object({ type: z.literal("ready") });

/** A launch that became ready. */
interface ReadyLaunch {
  readonly kind: "ready";
  readonly readyAtMs: number;
  readonly exited: Promise<Ended>;
}

type Launch = ReadyLaunch | { readonly kind: "ended"; readonly ended: Ended };

interface Ended {
  readonly exitCode: number | null;
  /** `exit code 1`, `signal SIGKILL`, or why it could not be started. */
  readonly how: string;
}

/**
 * A process that is kept running: started, waited for, started again with a growing pause whenever it ends unasked,
 * and ended within a deadline. Its process group is its own, so that a Ctrl-C in the terminal reaches only the
 * supervisor, which then stops the children in order.
 */
export class SupervisedChild {
  readonly name: string;
  readonly #spec: ChildSpec;
  readonly #world: ChildWorld;
  readonly #stopping = new AbortController();
  #process: ChildProcess | undefined;
  /** Where the log of the current process begins. */
  #logStart = 0;
  #keeping: Promise<void> = Promise.resolve();
  #stopped: Promise<void> | undefined;

  constructor(spec: ChildSpec, world: ChildWorld) {
    this.name = spec.name;
    this.#spec = spec;
    this.#world = world;
  }

  /** The running process, or the last one while a new one is not there yet. */
  get pid(): number | null {
    return this.#process?.pid ?? null;
  }

  /**
   * Starts the child and resolves when it is ready; from then on it is kept running.
   *
   * @throws {LocalError} with the end of its log when it does not become ready, or when {@link stop} came first.
   */
  async start(): Promise<void> {
    const first = await this.#untilReady(0, false);
    this.#keeping = this.#keep(first);
  }

  /**
   * Ends the child: politely first, by force after its deadline. Never rejects. Asks once, however often it is called: many
   * programs take a second signal for impatience, and end without finishing.
   */
  async stop(): Promise<void> {
    this.#stopped ??= this.#stopOnce();
    await this.#stopped;
  }

  async #stopOnce(): Promise<void> {
    this.#stopping.abort(new LocalError(`${this.name} was stopped`));
    const running = this.#process;
    if (running !== undefined && isRunning(running)) {
      const exited = exitOf(running);
      running.kill(this.#spec.stopSignal);
      const timer = setTimeout(() => this.kill(), this.#spec.stopTimeoutMs);
      await exited;
      clearTimeout(timer);
    }
    await this.#keeping;
  }

  /** Ends the child and everything it started at once. */
  kill(): void {
    this.#stopping.abort(new LocalError(`${this.name} was killed`));
    this.#killGroup();
  }

  async #keep(first: ReadyLaunch): Promise<void> {
    let launch = first;
    try {
      for (;;) {
        const ended = await launch.exited;
        this.#stopping.signal.throwIfAborted();
        const ranMs = this.#world.clock.monotonic() - launch.readyAtMs;
        const failureCount = await this.#pause(ended, {
          ranMs,
          wasEverReady: true,
          failureCount: 0,
        });
        launch = await this.#untilReady(failureCount, true);
      }
    } catch (error) {
      if (!this.#stopping.signal.aborted) this.#world.onLost(asLocalError(error));
    }
  }

  /** Launches until a launch becomes ready or the policy gives up. */
  async #untilReady(failuresBefore: number, wasEverReady: boolean): Promise<ReadyLaunch> {
    let failureCount = failuresBefore;
    for (;;) {
      this.#stopping.signal.throwIfAborted();
      const launch = await this.#launch();
      if (launch.kind === "ready") return launch;
      this.#stopping.signal.throwIfAborted();
      failureCount = await this.#pause(launch.ended, { ranMs: 0, wasEverReady, failureCount });
    }
  }

  /** Waits as the policy says and returns the failures in a row. */
  async #pause(ended: Ended, history: Omit<ChildExit, "exitCode">): Promise<number> {
    const decision = decideRestart({ ...history, exitCode: ended.exitCode }, this.#world.random());
    if (decision.kind === "give_up") {
      const what = decision.because === "wrong_settings" ? "refused its settings" : "did not start";
      throw new LocalError(
        `${this.name} ${what} (${ended.how})\n${tailOf(this.#spec.logFile, this.#logStart)}`.trimEnd(),
        `Its whole log: ${this.#spec.logFile}`,
      );
    }
    this.#world.onEvent({
      type: "child.ended",
      name: this.name,
      how: ended.how,
      restartInMs: decision.inMs,
    });
    await this.#world.clock.sleep(decision.inMs, this.#stopping.signal);
    return decision.failureCount;
  }

  async #launch(): Promise<Launch> {
    const spec = this.#spec;
    const startedAtMs = this.#world.clock.monotonic();
    spec.beforeStart?.();
    const child = this.#spawn();
    const exited = exitOf(child);
    if (child.pid !== undefined) {
      this.#world.onEvent({ type: "child.started", name: this.name, pid: child.pid });
    }
    const waiting = new AbortController();
    const timer = setTimeout(() => this.#killGroup(), READY_TIMEOUT_MS);
    const ready = spec.readiness === "ipc" ? readyOverIpc(child) : spec.readiness(waiting.signal);
    // A probe that is aborted rejects; the exit below tells the story.
    const outcome = await Promise.race([
      ready
        .then(() => "ready" as const)
        .catch(async (error: unknown) => probeFailed(error, exited)),
      exited,
    ]);
    clearTimeout(timer);
    waiting.abort();
    if (outcome !== "ready") return { kind: "ended", ended: outcome };
    const readyAtMs = this.#world.clock.monotonic();
    this.#world.onEvent({ type: "child.ready", name: this.name, tookMs: readyAtMs - startedAtMs });
    return { kind: "ready", readyAtMs, exited };
  }

  #spawn(): ChildProcess {
    const spec = this.#spec;
    rotateLog(spec.logFile);
    const log = openSync(spec.logFile, "a", 0o600);
    this.#logStart = statSync(spec.logFile).size;
    try {
      this.#process = spawn(spec.command, spec.args, {
        cwd: spec.cwd,
        env: spec.env,
        detached: true,
        stdio: spec.readiness === "ipc" ? ["ignore", log, log, "ipc"] : ["ignore", log, log],
        ...spec.user,
      });
    } finally {
      closeSync(log);
    }
    if (spec.niceness !== undefined) giveWay(this.#process, spec.niceness);
    return this.#process;
  }

  #killGroup(): void {
    const running = this.#process;
    if (running?.pid !== undefined && isRunning(running)) sendSignal(-running.pid, "SIGKILL");
  }
}

/** A child that could not be started, or is gone already, needs none. */
function giveWay({ pid }: ChildProcess, niceness: number): void {
  if (pid === undefined) return;
  try {
    setPriority(pid, niceness);
  } catch {
    // It works all the same.
  }
}

function isRunning(child: ChildProcess): boolean {
  return child.pid !== undefined && child.exitCode === null && child.signalCode === null;
}

async function exitOf(child: ChildProcess): Promise<Ended> {
  return new Promise((resolve) => {
    child.once("error", (error) => resolve({ exitCode: null, how: messageOf(error) }));
    child.once("exit", (exitCode, signal) =>
      resolve({ exitCode, how: signal === null ? `exit code ${exitCode}` : `signal ${signal}` }),
    );
  });
}

async function readyOverIpc(child: ChildProcess): Promise<void> {
  await new Promise<void>((resolve) => {
    child.on("message", (message) => {
      if (readyMessage.safeParse(message).success) resolve();
    });
  });
}

/** A probe only fails because its child is gone; its own error would hide that. */
async function probeFailed(error: unknown, exited: Promise<Ended>): Promise<Ended> {
  const ended = await exited;
  return { ...ended, how: `${ended.how}; ${messageOf(error)}` };
}

function rotateLog(path: string): void {
  const size = statSync(path, { throwIfNoEntry: false })?.size ?? 0;
  if (size > LOG_BYTES_MAX) renameSync(path, `${path}.1`);
}

/** The last lines that the current process wrote to its log. */
function tailOf(path: string, start: number): string {
  const size = statSync(path, { throwIfNoEntry: false })?.size ?? 0;
  const from = Math.max(start, size - LOG_TAIL_BYTES);
  if (size <= from) return "";
  const buffer = Buffer.alloc(size - from);
  const file = openSync(path, "r");
  try {
    readSync(file, buffer, 0, buffer.length, from);
  } finally {
    closeSync(file);
  }
  return buffer.toString("utf8").trimEnd().split("\n").slice(-LOG_TAIL_LINES).join("\n");
}

function asLocalError(error: unknown): LocalError {
  return error instanceof LocalError
    ? error
    : new LocalError(messageOf(error), undefined, { cause: error });
}
