import type { TaskId } from "@lacewing/contracts/ids.ts";
import type { Log } from "@lacewing/observability/log.ts";
import { messageOf } from "@lacewing/runtime/errors.ts";
import type { Clock } from "@lacewing/runtime/clock.ts";
import type { RoomWish, StoreRefusal } from "../../app/ports.ts";
import {
  bytesToEvict,
  bytesToLowWatermark,
  chooseEvictions,
  expired,
  type IdleTask,
  type Room,
  type Watermarks,
} from "../../core/eviction.ts";

/** Content that has outlived its time is looked for this often. */
const EXPIRY_EVERY_MS = 60_000;
/** Evicted beyond what is missing when the disk is full although the quota had room: the next write wants some, too. */
const FULL_DISK_BYTES = 64 * 2 ** 20;

export interface EvictionLimits {
  readonly watermarks: Watermarks;
  /** Unused content goes after this long; 0: when its room is wanted. */
  readonly ttlMs: number;
}

/** Nothing is evicted before the quota is reached; then 5 % of it, so that not every new task waits for an eviction. */
export const EVICTION_DEFAULT: EvictionLimits = { watermarks: { high: 1, low: 0.95 }, ttlMs: 0 };

/** What the evictor needs of its store. */
export interface EvictedStore {
  /** Its unwritten bytes may be given as more than they are where `lengthBytes` more would fit the disk all the same. */
  room(lengthBytes: number): Room;
  /** On the disk, now. */
  freeBytes(): number;
  /** Neither in use nor pinned. */
  idleTasks(): Iterable<IdleTask>;
  /** Lets a task go, unless it came to be in use meanwhile. */
  evict(taskId: TaskId): Promise<void>;
}

/** Makes room: for a new task, on a disk that others have filled, and of what nobody has used for too long. */
export class Evictor {
  readonly #store: EvictedStore;
  readonly #limits: EvictionLimits;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #timer: NodeJS.Timeout | undefined;
  /** Reservations happen one after the other, or two would take the same room. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(
    store: EvictedStore,
    limits: EvictionLimits,
    { clock, log }: { readonly clock: Clock; readonly log: Log },
  ) {
    this.#store = store;
    this.#limits = limits;
    this.#clock = clock;
    this.#log = log;
    if (limits.ttlMs > 0) {
      const everyMs = Math.min(EXPIRY_EVERY_MS, limits.ttlMs);
      this.#timer = setInterval(() => this.#expireInBackground(), everyMs);
      this.#timer.unref();
    }
  }

  /**
   * Evicts idle tasks as far as `lengthBytes` more need it, where that is wished.
   *
   * @param reserve called when there will be room, before anything is evicted for it.
   * @returns why there is none; `undefined` when there is room now.
   */
  async makeRoom(
    lengthBytes: number,
    wish: RoomWish,
    reserve: () => void,
  ): Promise<StoreRefusal | undefined> {
    return this.#inTurn(async () => {
      const room = this.#store.room(lengthBytes);
      const needed = bytesToEvict(room, lengthBytes);
      const wished = bytesToLowWatermark(room, lengthBytes, this.#limits.watermarks);
      const isTight = needed > 0 || wished > 0;
      if (isTight && wish === "free") return "no_free_room";
      const chosen = isTight ? chooseEvictions(this.#store.idleTasks(), needed, wished) : [];
      if (chosen === undefined) return "no_room";
      reserve();
      for (const { taskId } of chosen) await this.#store.evict(taskId);
      return undefined;
    });
  }

  /**
   * The disk refuses a write although the quota has room: somebody else has filled it.
   * @returns whether something was evicted.
   */
  async makeRoomOnDisk(asking: {
    readonly taskId: TaskId;
    readonly bytes: number;
  }): Promise<boolean> {
    return this.#inTurn(async () => {
      const idle = [...this.#store.idleTasks()].filter(({ taskId }) => taskId !== asking.taskId);
      const chosen = chooseEvictions(idle, 0, asking.bytes + FULL_DISK_BYTES) ?? [];
      const freeBytes = this.#store.freeBytes();
      const { taskId: task } = asking;
      this.#log.warn("store.disk_full", { task, freeBytes, evictedCount: chosen.length });
      for (const { taskId } of chosen) await this.#store.evict(taskId);
      return chosen.length > 0;
    });
  }

  /** Lets everything go that nobody has used for the time to live. */
  async expire(): Promise<void> {
    const { ttlMs } = this.#limits;
    await this.#inTurn(async () => {
      for (const { taskId } of expired(this.#store.idleTasks(), {
        nowMs: this.#clock.now(),
        ttlMs,
      })) {
        await this.#store.evict(taskId);
      }
    });
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #expireInBackground(): void {
    this.expire().catch((error: unknown) => {
      this.#log.error("store.expiry_failed", { error: messageOf(error) });
    });
  }

  async #inTurn<T>(act: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(act);
    this.#last = turn.catch(() => {});
    return turn;
  }
}
