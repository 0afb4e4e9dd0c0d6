import type { ReaderHint } from "@lacewing/contracts/hints.ts";
import { SLICE_COUNT } from "@lacewing/contracts/slices.ts";
import { messageOf, PortError } from "@lacewing/runtime/errors.ts";
import type { LiveView } from "./explain/ports.ts";
import { RELEASE_TIMEOUT_MS, RETRY_BACKOFF, STANDBY_POLL_MS } from "./limits.ts";
import { LOG_LOST, type SliceOwnership } from "./ports.ts";
import { retrying, type RetryTools, untilAborted } from "./retry.ts";
import { Session, type SessionPorts } from "./session.ts";
import { epochsToExceed } from "./slice-epochs.ts";
import { SteadyTime } from "./steady-time.ts";

export interface SchedulerPorts extends Omit<SessionPorts, "time"> {
  readonly ownership: Pick<SliceOwnership, "acquire" | "raise" | "release">;
}

export interface SchedulerSettings {
  /** Unique for each process start. */
  readonly ownerId: string;
  /** A scheduler that does not renew for this long may be replaced. */
  readonly ownershipLeaseMs: number;
  /** How often it renews: several times within a lease. */
  readonly renewalMs: number;
  readonly flushIntervalMs: number;
}

/**
 * What a scheduler process does: `starting` until it knows, `standby` while another one owns the slices, `recovering` from owning them
 * to the end of the logs, `active` while it decides.
 */
export type SchedulerRole = "starting" | "standby" | "recovering" | "active";

/**
 * The scheduler's process life: waits until all slices are its own, runs one session after another while they are, and begins a new
 * one whenever the state is void. Violated invariants end it: the process exits, and a new one replays.
 */
export class Scheduler {
  readonly #ports: SchedulerPorts & SessionPorts;
  readonly #settings: SchedulerSettings;
  readonly #tools: RetryTools;
  readonly #abort = new AbortController();
  readonly #live = Promise.withResolvers<void>();
  readonly #ready = Promise.withResolvers<SchedulerRole>();
  readonly #nextLeaseNumbers = Array.from({ length: SLICE_COUNT }, () => 1);
  #usedEpochs: ReadonlyMap<number, number> = new Map();
  /** Settles when no call is under way that makes slices ours: given back before that, they would be ours again. */
  #taken: Promise<unknown> = Promise.resolve();
  #role: SchedulerRole = "starting";
  #session: Session | undefined;
  #sessionCount = 0;
  #isStopped = false;

  constructor(ports: SchedulerPorts, settings: SchedulerSettings) {
    this.#ports = { ...ports, time: new SteadyTime(ports.clock) };
    this.#settings = settings;
    this.#tools = { ...ports, backoff: RETRY_BACKOFF };
    // Whoever does not wait for them must not be ended by their rejection.
    this.#live.promise.catch(() => {});
    this.#ready.promise.catch(() => {});
  }

  get role(): SchedulerRole {
    return this.#role;
  }

  /** What is true now, while it decides. */
  get liveView(): LiveView | undefined {
    return this.#role === "active" ? this.#session?.liveView : undefined;
  }

  /** A host says what holds a reader up; of no use to a scheduler that does not decide. */
  noteBlockedReader(hint: ReaderHint): void {
    if (this.#role === "active") this.#session?.noteBlockedReader(hint);
  }

  /** Settles when the first session is at the end of the logs and decides. Rejects when the scheduler ended before. */
  get isLive(): Promise<void> {
    return this.#live.promise;
  }

  /** Settles when it decides, or stands by for one that does. Rejects when the scheduler ended before. */
  get isReady(): Promise<SchedulerRole> {
    return this.#ready.promise;
  }

  /** Runs until {@link stop}. @throws what no retry mends. */
  async run(): Promise<void> {
    try {
      while (!this.#isStopped) {
        const epochs = await this.#ownAll();
        if (epochs !== undefined) await this.#runSession(epochs);
      }
    } catch (error) {
      if (!this.#isStopped) throw error;
    } finally {
      const ended = new PortError("stopped", "the scheduler ended", { retryable: false });
      this.#live.reject(ended);
      this.#ready.reject(ended);
    }
    await this.#release();
  }

  stop(): void {
    this.#isStopped = true;
    this.#session?.stop();
    this.#abort.abort();
  }

  async #runSession(epochs: ReadonlyMap<number, number>): Promise<void> {
    const { ownerId, flushIntervalMs } = this.#settings;
    const sessionId = `${++this.#sessionCount}`;
    const session = new Session(this.#ports, { ownerId, sessionId, flushIntervalMs }, epochs);
    this.#session = session;
    if (this.#isStopped) session.stop();
    this.#usedEpochs = epochs;
    this.#role = "recovering";
    const renewal = new AbortController();
    const renewing = this.#renew(session, epochs, renewal.signal);
    try {
      const end = await session.run(this.#nextLeaseNumbers, () => this.#becomeActive(sessionId));
      this.#ports.log.info("session ended", { end, sessionId });
    } finally {
      renewal.abort();
      await renewing;
    }
  }

  #becomeActive(sessionId: string): void {
    this.#role = "active";
    this.#ports.log.info("scheduler active", { sessionId });
    this.#live.resolve();
    this.#ready.resolve("active");
  }

  /**
   * Waits until every slice is ours, under epochs that hosts will take.
   *
   * @returns undefined when the log was lost meanwhile: begin again.
   */
  async #ownAll(): Promise<ReadonlyMap<number, number> | undefined> {
    const { signal } = this.#abort;
    for (;;) {
      const epochs = await this.#takeAll();
      try {
        const { decisionLog } = this.#ports;
        const above = await epochsToExceed(
          decisionLog,
          epochs,
          this.#usedEpochs,
          this.#tools,
          signal,
        );
        if (above.size === 0) return epochs;
        this.#ports.log.info("epochs raised above the log's", { sliceCount: above.size });
        await retrying("raise epochs", this.#tools, signal, () =>
          untilAborted(this.#ports.ownership.raise(this.#settings.ownerId, above), signal),
        );
      } catch (error) {
        if (!(error instanceof PortError) || error.code !== LOG_LOST) throw error;
        return undefined;
      }
    }
  }

  /** Waits until nobody else owns a slice, and the broker can be reached: without it we could do nothing with them. */
  async #takeAll(): Promise<ReadonlyMap<number, number>> {
    const { clock, link, log } = this.#ports;
    const { signal } = this.#abort;
    for (;;) {
      signal.throwIfAborted();
      if (link.isConnected()) {
        const epochs = await retrying("acquire slices", this.#tools, signal, () =>
          this.#acquire(signal),
        );
        if (epochs.size === SLICE_COUNT) return epochs;
        if (this.#role !== "standby") log.info("standing by");
        this.#role = "standby";
        this.#ready.resolve("standby");
      }
      await clock.sleep(STANDBY_POLL_MS, signal);
    }
  }

  /**
   * Keeps the slices ours. A database that is away changes nothing: appends are fenced by the log itself. While the broker cannot be
   * reached they are left to run out, for another scheduler that may reach it.
   */
  async #renew(
    session: Session,
    epochs: ReadonlyMap<number, number>,
    signal: AbortSignal,
  ): Promise<void> {
    const { clock, link, log } = this.#ports;
    const { renewalMs } = this.#settings;
    let isFailing = false;
    while (!signal.aborted) {
      try {
        await clock.sleep(renewalMs, signal);
        if (!link.isConnected()) continue;
        const current = await this.#acquire(signal);
        // Who renews for a session that has ended is the next one.
        if (signal.aborted) return;
        if (isFailing) log.info("ownership renewed again");
        isFailing = false;
        if (isSame(current, epochs)) continue;
        log.warn("ownership lost", { ownedSliceCount: current.size });
        session.reload();
        return;
      } catch (error) {
        if (signal.aborted) return;
        if (!isFailing) log.warn("ownership not renewed", { message: messageOf(error) });
        isFailing = true;
      }
    }
  }

  /** Takes the slices, or renews them. One that is frozen answers after many seconds: who aborts does not wait for it. */
  #acquire(signal: AbortSignal): Promise<ReadonlyMap<number, number>> {
    const { ownerId, ownershipLeaseMs } = this.#settings;
    const acquired = this.#ports.ownership.acquire(ownerId, ownershipLeaseMs);
    // Without the outcomes: each would hold the one before it.
    this.#taken = Promise.allSettled([this.#taken, acquired]).then(() => {});
    return untilAborted(acquired, signal);
  }

  /** Lets a standby take over at once. A database that does not answer must not keep the process: the lease runs out by itself. */
  async #release(): Promise<void> {
    const { clock, log, ownership } = this.#ports;
    const timeout = new AbortController();
    const release = this.#taken
      .then(() => ownership.release(this.#settings.ownerId))
      .catch((error: unknown) => {
        // Later it has been told, and what was under way ends with the connections.
        if (timeout.signal.aborted) return;
        log.warn("ownership not released", { message: messageOf(error) });
      });
    const late = clock.sleep(RELEASE_TIMEOUT_MS, timeout.signal).then(
      () => {
        const message = `the database did not answer within ${RELEASE_TIMEOUT_MS} ms: the lease runs out by itself`;
        log.warn("ownership not released", { message });
      },
      () => {},
    );
    await Promise.race([release, late]);
    timeout.abort();
  }
}

function isSame(a: ReadonlyMap<number, number>, b: ReadonlyMap<number, number>): boolean {
  return a.size === b.size && [...b].every(([slice, epoch]) => a.get(slice) === epoch);
}
