import { SLICE_COUNT } from "@lacewing/contracts/slices.ts";
import { messageOf, PortError } from "@lacewing/runtime/errors.ts";
import { RETRY_BACKOFF } from "./limits.ts";
import type { SliceOwnership } from "./ports.ts";
import { retrying, type RetryTools } from "./retry.ts";
import { Session, type SessionPorts } from "./session.ts";

export interface SchedulerPorts extends SessionPorts {
  readonly ownership: SliceOwnership;
}

export interface SchedulerSettings {
  /** Unique for each process start. */
  readonly ownerId: string;
  /** A scheduler that does not renew for this long may be replaced. */
  readonly ownershipLeaseMs: number;
  readonly flushIntervalMs: number;
}

/** Renewals in one lease: two may fail before somebody else can take over. */
const RENEWALS_PER_LEASE = 3;

/**
 * The scheduler's process life: owns all slices, runs one session after another, and begins a new one whenever the state is void.
 * Violated invariants end it: the process exits, and a new one replays.
 */
export class Scheduler {
  readonly #ports: SchedulerPorts;
  readonly #settings: SchedulerSettings;
  readonly #tools: RetryTools;
  readonly #abort = new AbortController();
  readonly #live = Promise.withResolvers<void>();
  readonly #nextLeaseNumbers = Array.from({ length: SLICE_COUNT }, () => 1);
  #session: Session | undefined;
  #sessionCount = 0;
  #isStopped = false;

  constructor(ports: SchedulerPorts, settings: SchedulerSettings) {
    this.#ports = ports;
    this.#settings = settings;
    this.#tools = { ...ports, backoff: RETRY_BACKOFF };
  }

  /** Settles when the first session is at the end of the logs and decides. Rejects when the scheduler ended before. */
  get isLive(): Promise<void> {
    return this.#live.promise;
  }

  /** Runs until {@link stop}. @throws what no retry mends. */
  async run(): Promise<void> {
    try {
      while (!this.#isStopped) {
        const epochs = await this.#ownAll();
        await this.#runSession(epochs);
      }
    } catch (error) {
      if (!this.#isStopped) throw error;
    } finally {
      this.#live.reject(new PortError("stopped", "the scheduler ended", { retryable: false }));
      this.#live.promise.catch(() => {});
    }
    await this.#ports.ownership.release(this.#settings.ownerId).catch((error: unknown) => {
      this.#ports.log.warn("ownership not released", { message: messageOf(error) });
    });
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
    const renewal = new AbortController();
    const renewing = this.#renew(session, epochs, renewal.signal);
    try {
      const end = await session.run(this.#nextLeaseNumbers, () => this.#live.resolve());
      this.#ports.log.info("session ended", { end, sessionId });
    } finally {
      renewal.abort();
      await renewing;
    }
  }

  /** Waits until every slice is ours. */
  async #ownAll(): Promise<ReadonlyMap<number, number>> {
    const { ownerId, ownershipLeaseMs } = this.#settings;
    for (let isTold = false; ; isTold = true) {
      const epochs = await retrying("acquire slices", this.#tools, this.#abort.signal, () =>
        this.#ports.ownership.acquire(ownerId, ownershipLeaseMs),
      );
      if (epochs.size === SLICE_COUNT) return epochs;
      if (!isTold) this.#ports.log.info("standing by", { ownedSliceCount: epochs.size });
      await this.#ports.clock.sleep(ownershipLeaseMs / RENEWALS_PER_LEASE, this.#abort.signal);
    }
  }

  /** Keeps the slices ours. A database that is away changes nothing: appends are fenced by the log itself. */
  async #renew(
    session: Session,
    epochs: ReadonlyMap<number, number>,
    signal: AbortSignal,
  ): Promise<void> {
    const { ownerId, ownershipLeaseMs } = this.#settings;
    let isFailing = false;
    while (!signal.aborted) {
      try {
        await this.#ports.clock.sleep(ownershipLeaseMs / RENEWALS_PER_LEASE, signal);
        const current = await this.#ports.ownership.acquire(ownerId, ownershipLeaseMs);
        if (isFailing) this.#ports.log.info("ownership renewed again");
        isFailing = false;
        if (isSame(current, epochs)) continue;
        this.#ports.log.warn("ownership lost", { ownedSliceCount: current.size });
        session.reload();
        return;
      } catch (error) {
        if (signal.aborted) return;
        if (!isFailing)
          this.#ports.log.warn("ownership not renewed", { message: messageOf(error) });
        isFailing = true;
      }
    }
  }
}

function isSame(a: ReadonlyMap<number, number>, b: ReadonlyMap<number, number>): boolean {
  return a.size === b.size && [...b].every(([slice, epoch]) => a.get(slice) === epoch);
}
