import { setImmediate as nextTurn } from "node:timers/promises";
import type { TaskId } from "@lacewing/contracts/ids.ts";
import { pieceCountOf } from "@lacewing/contracts/pieces.ts";
import { PIECE_COUNT_MAX } from "@lacewing/contracts/limits.ts";
import type { Log } from "@lacewing/observability/log.ts";
import { messageOf, PortError } from "@lacewing/runtime/errors.ts";
import type {
  DroppedTask,
  PieceStore,
  RoomWish,
  StoredTask,
  StoreRefusal,
  StoreUsage,
  TaskDescription,
} from "../../app/ports.ts";
import type { Room } from "../../core/eviction.ts";
import type { Disk } from "../disk/disk.ts";
import { nodeDisk } from "../disk/node-disk.ts";
import { Departures } from "./departures.ts";
import { type HeldDataDir, holdDataDir } from "./data-dir.ts";
import { DiskRoom } from "./disk-room.ts";
import { DigestPool } from "./digest-pool.ts";
import { EVICTION_DEFAULT, Evictor } from "./evictor.ts";
import { IncarnationCounter } from "./incarnation-counter.ts";
import { Prover } from "./prover.ts";
import {
  HASH_WORKER_COUNT_DEFAULT,
  type PieceStoreOptions,
  SCRUB_RATE,
} from "./piece-store-options.ts";
import { PinnedTasks } from "./pinned-tasks.ts";
import { StoreAge } from "./proofs.ts";
import { incarnationsOf, type Recovered, recoverTasks } from "./recovery.ts";
import { SmallMemory } from "./small-memory.ts";
import { SmallStoredTask, type SmallSurroundings } from "./small-task.ts";
import { SmallWriter } from "./small-writer.ts";
import type { TaskSurroundings } from "./stored-task.ts";
import { OpenTaskFiles } from "./task-files.ts";
import { adoptFiles, type KeptTask, TaskMaker } from "./task-making.ts";
import { UnwrittenTasks } from "./unwritten-tasks.ts";

/** Tasks in the store: empty and tiny ones take memory and files but hardly any quota. */
const TASK_COUNT_MAX = 1_000_000;

/**
 * Opens the store of a data directory and recovers what it holds.
 *
 * @throws {SettingsError} when the directory belongs to another user or another live process, or cannot be made.
 */
export async function openPieceStore(options: PieceStoreOptions): Promise<DiskPieceStore> {
  const startedAtMs = options.clock.monotonic();
  const log = options.log.child({ part: "piece_store" });
  const disk = options.disk ?? nodeDisk;
  const dir = await holdDataDir(options.dataDir);
  try {
    const recovered = await recoverTasks(disk, dir.contentPath, log);
    const seenMax = incarnationsOf(recovered).reduce((max, seen) => Math.max(max, seen), 0);
    const nowMs = options.clock.now();
    const incarnations = await IncarnationCounter.load(disk, dir.countersPath, log, {
      seenMax,
      nowMs,
    });
    const store = new DiskPieceStore({ ...options, disk, log }, dir, incarnations);
    await store.adopt(recovered);
    log.info("store.opened", {
      taskCount: recovered.tasks.length + recovered.small.length,
      ...store.usage(),
      costMs: Math.round(options.clock.monotonic() - startedAtMs),
    });
    return store;
  } catch (error) {
    await dir.release();
    throw error;
  }
}

/** All content on this host's disk. Made by {@link openPieceStore}. */
export class DiskPieceStore implements PieceStore {
  readonly #log: Log;
  readonly #dir: HeldDataDir;
  readonly #shared: TaskSurroundings;
  readonly #small: SmallSurroundings;
  readonly #tasks = new Map<TaskId, KeptTask>();
  readonly #unwritten = new UnwrittenTasks<KeptTask>(
    (task) => this.#tasks.get(task.description.taskId) === task,
  );
  readonly #creating = new Map<TaskId, Promise<StoredTask | StoreRefusal>>();
  readonly #departures: Departures;
  readonly #listeners = new Set<(dropped: DroppedTask) => void>();
  readonly #offerListeners = new Set<(taskId: TaskId) => void>();
  readonly #prover: Prover;
  readonly #room: DiskRoom;
  #usedBytes = 0;
  /** Reserved by tasks that are being made and are not in the map yet. */
  #reservedBytes = 0;
  readonly #evictor: Evictor;
  readonly #pinned: PinnedTasks;
  readonly #maker: TaskMaker;

  constructor(
    options: PieceStoreOptions & { readonly disk: Disk },
    dir: HeldDataDir,
    incarnations: IncarnationCounter,
  ) {
    const { clock, log, disk } = options;
    this.#log = log;
    this.#dir = dir;
    this.#departures = new Departures(log, (taskId) => this.#tasks.has(taskId));
    this.#pinned = new PinnedTasks(disk, dir.pinnedPath);
    const evicted = {
      room: (lengthBytes: number) => this.#roomFor(lengthBytes),
      freeBytes: () => this.#room.freeBytes(),
      idleTasks: () => this.#idleTasks(),
      evict: async (taskId: TaskId) => this.#evict(taskId),
    };
    this.#evictor = new Evictor(evicted, options.eviction ?? EVICTION_DEFAULT, options);
    this.#room = new DiskRoom(disk, dir.contentPath, options.quotaBytes, { clock, log });
    this.#shared = {
      disk,
      files: new OpenTaskFiles(disk),
      digests: options.digests ?? new DigestPool(options.hashWorkers ?? HASH_WORKER_COUNT_DEFAULT),
      incarnations,
      age: new StoreAge(clock),
      clock,
      log,
      pieceOffered: (task) => this.#tellOffered(task),
      fileChanged: (task) => this.#prover.suspect(task),
      makeRoom: async (task) => this.#makeRoomOnDisk(task.description.taskId, task.unwrittenBytes),
      piecesGivenUp: (task) => this.#givenUp(task),
      journalFailed: async (task) => this.#drop(task, "damaged"),
    };
    this.#small = {
      disk,
      memory: new SmallMemory(),
      writer: new SmallWriter(),
      incarnations,
      clock,
      log,
      pieceOffered: (task) => this.#tellOffered(task),
      makeRoom: async (task) => this.#makeRoomOnDisk(task.description.taskId, task.unwrittenBytes),
      piecesGivenUp: (task) => this.#givenUp(task),
      cannotKeep: (task) => {
        void this.#drop(task, "damaged");
      },
    };
    this.#maker = new TaskMaker(dir.contentPath, this.#shared, this.#small);
    const rateBytesPerSecond = options.scrubRate ?? SCRUB_RATE;
    this.#prover = new Prover({ list: () => this.list(), rateBytesPerSecond, clock, log });
  }

  /**
   * Takes on what was found at the start, under a new incarnation: what a power loss brought back may have been told to be
   * gone, and nothing is offered before it was hashed.
   */
  async adopt({ tasks, small }: Recovered): Promise<void> {
    if (tasks.length + small.length === 0) return this.#prover.start();
    const incarnation = await this.#shared.incarnations.nextAtAnyCost();
    for (const task of tasks) this.#add(adoptFiles(this.#shared, task, incarnation));
    for (const task of small) this.#add(new SmallStoredTask(this.#small, { ...task, incarnation }));
    this.#prover.start();
  }

  /** Resolves when everything that was found at the start has been hashed. */
  async caughtUp(): Promise<void> {
    await this.#prover.caughtUp();
  }

  get(taskId: TaskId): KeptTask | undefined {
    return this.#tasks.get(taskId);
  }

  list(): IterableIterator<KeptTask> {
    return this.#tasks.values();
  }

  usage(): StoreUsage {
    return {
      usedBytes: this.#usedBytes + this.#reservedBytes,
      quotaBytes: this.#room.quotaBytes,
      freeBytes: this.#room.freeBytes(),
    };
  }

  onDropped(listener: (dropped: DroppedTask) => void): void {
    this.#listeners.add(listener);
  }

  onOffered(listener: (taskId: TaskId) => void): void {
    this.#offerListeners.add(listener);
  }

  async create(
    description: TaskDescription,
    wish: RoomWish = "make",
  ): Promise<StoredTask | StoreRefusal> {
    const { taskId } = description;
    const creating = this.#creating.get(taskId);
    const known = this.#tasks.get(taskId) ?? (creating === undefined ? undefined : await creating);
    // Whoever was about to make it wanted nothing to go for it.
    if (known === "no_free_room" && wish === "make") return this.create(description, wish);
    if (known !== undefined) {
      if (typeof known === "string") return known;
      if (hasSameLayout(known.description, description)) return known;
      return this.#replace(description, wish);
    }
    const creation = this.#create(description, wish).finally(() => this.#creating.delete(taskId));
    this.#creating.set(taskId, creation);
    return creation;
  }

  async giveBack(given: StoredTask): Promise<void> {
    // Who was given it just now may be about to pin it.
    await nextTurn();
    const { taskId } = given.description;
    const task = this.#tasks.get(taskId);
    if (task === undefined || task !== given || task.isPinned || this.#pinned.has(taskId)) return;
    if (task.held.count === 0 && !task.isVerified) await this.#letGo(task, "empty");
  }

  async remove(taskId: TaskId): Promise<void> {
    const task = this.#tasks.get(taskId);
    // First of all: a disk that refuses to unpin must not keep content that has to go.
    if (task !== undefined) await this.#drop(task, "removed");
    else await this.#departures.gone(taskId);
    if (!this.#pinned.has(taskId)) return;
    try {
      await this.#pinned.set(taskId, false);
    } catch (error) {
      this.#log.error("store.unpin_failed", { task: taskId, error: messageOf(error) });
    }
  }

  isPinned(taskId: TaskId): boolean {
    return this.#pinned.has(taskId);
  }

  async pin(taskId: TaskId, isPinned: boolean): Promise<boolean> {
    if (isPinned && !this.#tasks.has(taskId)) return false;
    return this.#pinned.set(taskId, isPinned);
  }

  /** Evicts what has outlived its time now, instead of at the next minute. */
  async expire(): Promise<void> {
    await this.#evictor.expire();
  }

  /** Lets running writes end, then lets everything go. The store is of no use afterwards. */
  async close(): Promise<void> {
    await Promise.allSettled(this.#creating.values());
    await this.#prover.stop();
    this.#evictor.stop();
    await Promise.all([...this.#tasks.values()].map(async (task) => task.idle()));
    this.#small.writer.flushAll();
    await this.#departures.allGone();
    await this.#shared.digests.close();
    this.#shared.files.close();
    await this.#dir.release();
  }

  /** The same task with another length: one description is wrong. What is verified or in use stays. */
  async #replace(description: TaskDescription, wish: RoomWish): Promise<StoredTask | StoreRefusal> {
    const task = this.#tasks.get(description.taskId);
    if (task === undefined) return this.create(description, wish);
    this.#log.warn("store.length_differs", {
      task: description.taskId,
      lengthBytes: description.lengthBytes,
      storedLengthBytes: task.description.lengthBytes,
    });
    if (task.isPinned || task.isVerified) return "store_failed";
    await this.#drop(task, "removed");
    return this.create(description, wish);
  }

  async #create(description: TaskDescription, wish: RoomWish): Promise<StoredTask | StoreRefusal> {
    const { taskId, lengthBytes } = description;
    if (pieceCountOf(description) > PIECE_COUNT_MAX) return "store_failed";
    if (this.#tasks.size >= TASK_COUNT_MAX) return "no_room";
    await this.#departures.gone(taskId);
    await this.#departures.retry();
    const refusal = await this.#evictor.makeRoom(lengthBytes, wish, () => {
      this.#reservedBytes += lengthBytes;
    });
    if (refusal !== undefined) {
      const level = refusal === "no_room" ? "warn" : "debug";
      this.#log[level](`store.${refusal}`, { task: taskId, lengthBytes, ...this.usage() });
      return refusal;
    }
    try {
      const task = await this.#maker.make(description).catch(async (error: unknown) => {
        const isFull = error instanceof PortError && error.code === "store_no_space";
        const mayEvict = isFull && wish === "make";
        if (!mayEvict || !(await this.#makeRoomOnDisk(taskId, lengthBytes))) throw error;
        return this.#maker.make(description);
      });
      this.#add(task);
      // Nothing evicts the task before whoever asked for it had a chance to pin it.
      setImmediate(task.pin());
      return task;
    } catch (error) {
      this.#log.error("store.create_failed", { task: taskId, error: messageOf(error) });
      return "store_failed";
    } finally {
      this.#reservedBytes -= lengthBytes;
    }
  }

  #roomFor(lengthBytes: number): Room {
    const { quotaBytes, floorBytes } = this.#room;
    const keptBytes = floorBytes + this.#reservedBytes + lengthBytes;
    const freeBytes = this.#room.freeBytes(keptBytes + this.#unwritten.lengthBytes);
    return {
      usedBytes: this.#usedBytes + this.#reservedBytes,
      quotaBytes,
      freeBytes,
      unwrittenBytes: this.#reservedBytes + this.#unwritten.bytes(freeBytes - keptBytes),
      floorBytes,
    };
  }

  async #makeRoomOnDisk(taskId: TaskId, bytes: number): Promise<boolean> {
    return this.#evictor.makeRoomOnDisk({ taskId, bytes });
  }

  /** In use again since it was chosen: the store is over its quota by that much until the next reservation. */
  async #evict(taskId: TaskId): Promise<void> {
    const task = this.#tasks.get(taskId);
    if (task !== undefined && !task.isPinned) await this.#drop(task, "evicted");
  }

  #add(task: KeptTask): void {
    this.#tasks.set(task.description.taskId, task);
    if (task.unwrittenBytes > 0) this.#unwritten.add(task);
    this.#usedBytes += task.description.lengthBytes;
  }

  async #drop(task: KeptTask, reason: DroppedTask["reason"]): Promise<void> {
    if (this.#tasks.get(task.description.taskId) !== task) return;
    await this.#letGo(task, reason);
    this.#tellDropped(task, await this.#shared.incarnations.nextAtAnyCost(), reason);
  }

  async #letGo(task: KeptTask, reason: DroppedTask["reason"] | "empty"): Promise<void> {
    const { taskId, lengthBytes } = task.description;
    this.#tasks.delete(taskId);
    this.#usedBytes -= lengthBytes;
    task.abandon();
    this.#log.info("store.task_dropped", { task: taskId, reason, lengthBytes });
    await this.#departures.leave(task);
  }

  #givenUp(task: KeptTask): void {
    this.#unwritten.add(task);
    this.#tellDropped(task, task.incarnation, "damaged");
  }

  /** Not with every piece, each of which would tell of all before it: at 1, 2, 4, 8 … of them, and at the last. */
  #tellOffered(task: StoredTask): void {
    const { count } = task.offered;
    if (count < task.held.count && (count & (count - 1)) !== 0) return;
    for (const listener of this.#offerListeners) listener(task.description.taskId);
  }

  #tellDropped(task: StoredTask, incarnation: number, reason: DroppedTask["reason"]): void {
    for (const listener of this.#listeners) {
      listener({ taskId: task.description.taskId, incarnation, reason });
    }
  }

  *#idleTasks() {
    for (const task of this.#tasks.values()) {
      const { taskId, lengthBytes } = task.description;
      if (!task.isPinned && !this.#pinned.has(taskId))
        yield { taskId, reservedBytes: lengthBytes, usedAtMs: task.usedAtMs };
    }
  }
}

function hasSameLayout(a: TaskDescription, b: TaskDescription): boolean {
  return a.lengthBytes === b.lengthBytes && a.pieceLengthBytes === b.pieceLengthBytes;
}
