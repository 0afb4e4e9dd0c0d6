import type { ReaderHint } from "@lacewing/contracts/hints.ts";
import { SLICE_COUNT } from "@lacewing/contracts/slices.ts";
import type { Log } from "@lacewing/observability/log.ts";
import type { Clock } from "@lacewing/runtime/clock.ts";
import { PortError } from "@lacewing/runtime/errors.ts";
import { liveViewOf } from "./explain/live-view.ts";
import type { LiveView } from "./explain/ports.ts";
import { Folder } from "./folder.ts";
import { RETRY_BACKOFF, STOP_FLUSH_MS } from "./limits.ts";
import { Live } from "./live.ts";
import type {
  AssignmentSender,
  BrokerLink,
  DecisionLog,
  EventLog,
  LeaseSigner,
  ProjectionStore,
} from "./ports.ts";
import { Projector } from "./projector.ts";
import { askEverybody, Replay } from "./recovery.ts";
import { retrying, type RetryTools, untilAborted } from "./retry.ts";
import { ScheduleSpans } from "./schedule-spans.ts";
import { epochOf, SliceLog } from "./slice-log.ts";
import { stateFromRows } from "./state-from-rows.ts";
import type { SteadyTime } from "./steady-time.ts";

export interface SessionPorts {
  readonly eventLog: EventLog;
  readonly decisionLog: DecisionLog;
  readonly sender: AssignmentSender;
  readonly store: ProjectionStore;
  readonly signer: LeaseSigner;
  readonly link: BrokerLink;
  readonly clock: Clock;
  /** What leases and answers are measured by. */
  readonly time: SteadyTime;
  readonly log: Log;
  /** In [0, 1), a new one at each call. */
  readonly random: () => number;
}

export interface SessionSettings {
  readonly ownerId: string;
  /** Distinguishes this session's appends from all others of the owner. */
  readonly sessionId: string;
  readonly flushIntervalMs: number;
}

/** Why a session ended: it was told to, or its state is not to be trusted any more and has to be loaded again. */
export type SessionEnd = "stopped" | "reload";

/** One life of the state: loaded from Postgres, brought to the end of the logs, then live until it ends. */
export class Session {
  readonly #ports: SessionPorts;
  readonly #settings: SessionSettings;
  readonly #epochs: ReadonlyMap<number, number>;
  readonly #tools: RetryTools;
  readonly #abort = new AbortController();
  readonly #ended = Promise.withResolvers<SessionEnd>();
  readonly #sliceLogs: readonly SliceLog[];
  #live: Live | undefined;

  constructor(ports: SessionPorts, settings: SessionSettings, epochs: ReadonlyMap<number, number>) {
    this.#ports = ports;
    this.#settings = settings;
    this.#epochs = epochs;
    this.#tools = { ...ports, backoff: RETRY_BACKOFF };
    const log = ports.decisionLog;
    const writerId = `${settings.ownerId}:${settings.sessionId}`;
    this.#sliceLogs = Array.from(
      { length: SLICE_COUNT },
      (_, slice) =>
        new SliceLog(slice, epochOf(epochs, slice), { log, writerId, tools: this.#tools }),
    );
  }

  /**
   * Runs until it is stopped or its state is void.
   *
   * @param nextLeaseNumbers where the last session of this process left off; the state's own are returned in it.
   * @param onLive called once when the state is at the end of the logs.
   */
  async run(nextLeaseNumbers: number[], onLive: () => void): Promise<SessionEnd> {
    try {
      // Looked at before our own messages lengthen it: a log that was lost is shorter than the checkpoint says.
      const before = await retrying(
        "read bounds of decisions",
        this.#tools,
        this.#abort.signal,
        () => this.#ports.decisionLog.bounds(),
      );
      if (!(await this.#acquire())) return "reload";
      const live = await this.#recover(nextLeaseNumbers, before.last);
      this.#live = live;
      onLive();
      const loops = [live.readLoop(), live.tickLoop(), live.flushLoop()];
      for (const loop of loops) loop.catch((error: unknown) => this.#ended.reject(error));
      const end = await this.#ended.promise;
      if (end === "stopped") await this.#flushInTime(live);
      return end;
    } catch (error) {
      if (this.#abort.signal.aborted) return "stopped";
      if (error instanceof PortError && error.retryable) {
        this.#ports.log.warn("session void", { code: error.code, message: error.message });
        return "reload";
      }
      throw error;
    } finally {
      this.#abort.abort();
      this.#live?.spans.close();
      const used = this.#live?.state.nextLeaseNumbers;
      if (used !== undefined) nextLeaseNumbers.splice(0, SLICE_COUNT, ...used);
    }
  }

  /** What is true now; undefined until the state is at the end of the logs. */
  get liveView(): LiveView | undefined {
    const { time } = this.#ports;
    return this.#live && liveViewOf(this.#live.state, time.now());
  }

  /** Hints are worth nothing before the state is at the end of the logs: what still holds then is said again. */
  noteBlockedReader(hint: ReaderHint): void {
    this.#live?.noteBlockedReader(hint);
  }

  /** Ends the session in order: what is decided and folded is projected first, if Postgres answers. */
  stop(): void {
    if (this.#live === undefined) this.#abort.abort();
    this.#ended.resolve("stopped");
  }

  /** Somebody else owns a slice, or the logs do not continue: the state is void. */
  reload(): void {
    this.#ended.resolve("reload");
  }

  /** A broker or database that is away must not keep the process from stopping: what is not projected is in the logs. */
  async #flushInTime(live: Live): Promise<void> {
    const { clock, log } = this.#ports;
    const timeout = new AbortController();
    const late = clock.sleep(STOP_FLUSH_MS, timeout.signal).then(
      () => log.warn("last flush given up", { waitedMs: STOP_FLUSH_MS }),
      () => {},
    );
    await Promise.race([live.flushOnce().catch(() => {}), late]);
    timeout.abort();
  }

  async #acquire(): Promise<boolean> {
    const { ownerId } = this.#settings;
    const nowMs = this.#ports.time.now();
    const results = await Promise.all(
      this.#sliceLogs.map((log) => log.acquire(ownerId, 0, nowMs, this.#abort.signal)),
    );
    return results.every((isNewest) => isNewest);
  }

  /** @param lastDecision of the log as we found it. */
  async #recover(nextLeaseNumbers: readonly number[], lastDecision: number): Promise<Live> {
    const { signal } = this.#abort;
    const snapshot = await retrying("load projection", this.#tools, signal, () =>
      untilAborted(this.#ports.store.load(), signal),
    );
    const state = await stateFromRows(snapshot, nextLeaseNumbers, this.#ports.time.now());
    const spans = new ScheduleSpans();
    let isLive = false;
    const folder = new Folder(state, this.#ports.log, (event, hostId) =>
      isLive ? spans.begin(event, state.hosts.get(hostId)) : event,
    );
    const replay = new Replay(folder, this.#ports, this.#tools);
    const replayed = await replay.run(snapshot.checkpoints, lastDecision, signal);
    isLive = true;
    if (replayed.hasGap) askEverybody(state, "the scheduler's logs have a gap");
    return new Live({
      state,
      folder,
      spans,
      replayed,
      ports: this.#ports,
      tools: this.#tools,
      sliceLogs: this.#sliceLogs,
      epochs: this.#epochs,
      projector: new Projector(state, folder, this.#ports, snapshot.checkpoints),
      flushIntervalMs: this.#settings.flushIntervalMs,
      signal,
      onVoid: () => this.reload(),
      onError: (error) => this.#ended.reject(error),
    });
  }
}
