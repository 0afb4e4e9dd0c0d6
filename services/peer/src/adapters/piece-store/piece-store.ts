import { dirname } from "node:path";
import type { TaskId } from "@lacewing/contracts/ids.ts";
import { pieceCountOf } from "@lacewing/contracts/pieces.ts";
import { PIECE_COUNT_MAX } from "@lacewing/contracts/limits.ts";
import type { Log } from "@lacewing/observability/log.ts";
import type { Clock } from "@lacewing/runtime/clock.ts";
import { messageOf } from "@lacewing/runtime/errors.ts";
import type {
  DroppedTask,
  PieceStore,
  StoredTask,
  StoreRefusal,
  StoreUsage,
  TaskDescription,
} from "../../app/ports.ts";
import { bytesToEvict, chooseEvictions } from "../../core/eviction.ts";
import type { Disk } from "../disk/disk.ts";
import { nodeDisk } from "../disk/node-disk.ts";
import { type HeldDataDir, holdDataDir } from "./data-dir.ts";
import { DiskRoom } from "./disk-room.ts";
import { type Digests, DigestPool } from "./digest-pool.ts";
import { FileStamp } from "./file-stamp.ts";
import { IncarnationCounter } from "./incarnation-counter.ts";
import { emptyState, JournalWriter, newJournal } from "./journal-file.ts";
import {
  pathsOf,
  type Recovered,
  type RecoveredTask,
  recoverTasks,
  smallPathOf,
} from "./recovery.ts";
import { SmallMemory } from "./small-memory.ts";
import { SMALL_CONTENT_BYTES_MAX, SmallStoredTask, type SmallSurroundings } from "./small-task.ts";
import { SmallWriter } from "./small-writer.ts";
import { DiskStoredTask, type TaskSurroundings } from "./stored-task.ts";
import { OpenTaskFiles, removePair, setLength, writeAll } from "./task-files.ts";

export interface PieceStoreOptions {
  readonly dataDir: string;
  /** Default: 20 GiB or 20 % of the disk, the smaller. */
  readonly quotaBytes?: number | undefined;
  readonly clock: Clock;
  readonly log: Log;
  /** Threads that hash; one does about 0.9 GB/s of new content (each byte is hashed twice: its piece and the whole). Default 2. */
  readonly hashWorkers?: number | undefined;
  /** For tests: a disk that fails, and what hashes through it. */
  readonly disk?: Disk | undefined;
  readonly digests?: Digests | undefined;
}

/** One hashes what arrives while another proves what is read. */
const HASH_WORKER_COUNT_DEFAULT = 2;
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
    const incarnations = await IncarnationCounter.load(disk, dir.countersPath, { seenMax, nowMs });
    const store = new DiskPieceStore({ ...options, disk, log }, dir, incarnations, recovered);
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

/** A task in whichever of its two forms on the disk. */
type KeptTask = DiskStoredTask | SmallStoredTask;

/** All content on this host's disk. Made by {@link openPieceStore}. */
export class DiskPieceStore implements PieceStore {
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #disk: Disk;
  readonly #dir: HeldDataDir;
  readonly #shared: TaskSurroundings;
  readonly #small: SmallSurroundings;
  readonly #tasks = new Map<TaskId, KeptTask>();
  /** Tasks that may have been reserved more than they have written. */
  readonly #unwritten = new Set<KeptTask>();
  readonly #creating = new Map<TaskId, Promise<StoredTask | StoreRefusal>>();
  /** Tasks whose files are being removed: the same task must not be made anew before that is done. */
  readonly #leaving = new Map<TaskId, Promise<void>>();
  readonly #listeners = new Set<(dropped: DroppedTask) => void>();
  readonly #room: DiskRoom;
  #usedBytes = 0;
  /** Reserved by tasks that are being made and are not in the map yet. */
  #reservedBytes = 0;
  /** Reservations happen one after the other, or two would take the same room. */
  #lastReservation: Promise<unknown> = Promise.resolve();
  readonly #madeFolders = new Set<string>();

  constructor(
    options: PieceStoreOptions & { readonly disk: Disk },
    dir: HeldDataDir,
    incarnations: IncarnationCounter,
    recovered: Recovered,
  ) {
    const { clock, log, disk } = options;
    this.#clock = clock;
    this.#log = log;
    this.#disk = disk;
    this.#dir = dir;
    this.#room = new DiskRoom(disk, dir.contentPath, options.quotaBytes, log);
    this.#shared = {
      disk,
      files: new OpenTaskFiles(disk),
      digests: options.digests ?? new DigestPool(options.hashWorkers ?? HASH_WORKER_COUNT_DEFAULT),
      incarnations,
      clock,
      log,
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
      piecesGivenUp: (task) => this.#givenUp(task),
      cannotKeep: (task) => {
        void this.#drop(task, "damaged");
      },
    };
    for (const task of recovered.tasks) this.#adopt(task);
    for (const task of recovered.small) this.#add(new SmallStoredTask(this.#small, task));
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

  async create(description: TaskDescription): Promise<StoredTask | StoreRefusal> {
    const { taskId } = description;
    const creating = this.#creating.get(taskId);
    const known = this.#tasks.get(taskId) ?? (creating === undefined ? undefined : await creating);
    if (known !== undefined) {
      if (typeof known === "string") return known;
      if (hasSameLayout(known.description, description)) return known;
      return this.#replace(description);
    }
    const creation = this.#create(description).finally(() => this.#creating.delete(taskId));
    this.#creating.set(taskId, creation);
    return creation;
  }

  async remove(taskId: TaskId): Promise<void> {
    const task = this.#tasks.get(taskId);
    if (task !== undefined) await this.#drop(task, "removed");
    else await this.#leaving.get(taskId);
  }

  /** Lets running writes end, then lets everything go. The store is of no use afterwards. */
  async close(): Promise<void> {
    await Promise.allSettled(this.#creating.values());
    await Promise.all([...this.#tasks.values()].map(async (task) => task.idle()));
    this.#small.writer.flushAll();
    await Promise.all(this.#leaving.values());
    await this.#shared.digests.close();
    this.#shared.files.close();
    await this.#dir.release();
  }

  /** The same task with another length: one description is wrong. What is verified or in use stays. */
  async #replace(description: TaskDescription): Promise<StoredTask | StoreRefusal> {
    const task = this.#tasks.get(description.taskId);
    if (task === undefined) return this.create(description);
    this.#log.warn("store.length_differs", {
      task: description.taskId,
      lengthBytes: description.lengthBytes,
      storedLengthBytes: task.description.lengthBytes,
    });
    if (task.isPinned || task.isVerified) return "store_failed";
    await this.#drop(task, "removed");
    return this.create(description);
  }

  async #create(description: TaskDescription): Promise<StoredTask | StoreRefusal> {
    const { taskId, lengthBytes } = description;
    if (pieceCountOf(description) > PIECE_COUNT_MAX) return "store_failed";
    if (this.#tasks.size >= TASK_COUNT_MAX) return "no_room";
    await this.#leaving.get(taskId);
    const reservation = this.#lastReservation.then(async () => this.#reserve(lengthBytes));
    this.#lastReservation = reservation.catch(() => {});
    if (!(await reservation)) {
      this.#log.warn("store.no_room", { task: taskId, lengthBytes, ...this.usage() });
      return "no_room";
    }
    try {
      const isSmall = lengthBytes > 0 && lengthBytes <= SMALL_CONTENT_BYTES_MAX;
      const task = await (isSmall ? this.#makeSmall(description) : this.#makeFiles(description));
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

  /** Takes room for `lengthBytes`, evicting idle tasks when there is too little. @returns whether there is room now. */
  async #reserve(lengthBytes: number): Promise<boolean> {
    const room = {
      ...this.usage(),
      unwrittenBytes: this.#unwrittenBytes(),
      floorBytes: this.#room.floorBytes,
    };
    const needed = bytesToEvict(room, lengthBytes);
    const chosen = needed === 0 ? [] : chooseEvictions(this.#idleTasks(), needed);
    if (chosen === undefined) return false;
    this.#reservedBytes += lengthBytes;
    for (const { taskId } of chosen) {
      const task = this.#tasks.get(taskId);
      // In use again since it was chosen: the store is over its quota by that much until the next reservation.
      if (task !== undefined && !task.isPinned) await this.#drop(task, "evicted");
    }
    return true;
  }

  async #makeSmall(description: TaskDescription): Promise<SmallStoredTask> {
    const path = smallPathOf(this.#dir.contentPath, description.taskId);
    this.#ensureFolder(dirname(path));
    const incarnation = await this.#small.incarnations.next();
    const usedAtMs = this.#clock.now();
    const found = { description, path, incarnation, sha256: undefined, usedAtMs };
    return new SmallStoredTask(this.#small, found);
  }

  async #makeFiles(description: TaskDescription): Promise<DiskStoredTask> {
    const paths = pathsOf(this.#dir.contentPath, description.taskId);
    const incarnation = await this.#shared.incarnations.next();
    const journal = newJournal(description, incarnation);
    this.#ensureFolder(dirname(paths.data));
    try {
      await this.#shared.files.create(paths, async (files) => {
        setLength(this.#disk, files.dataFd, description.lengthBytes);
        await writeAll(this.#disk, files.journalFd, journal, 0);
      });
    } catch (error) {
      this.#shared.files.abandon(paths);
      await removePair(this.#disk, paths).catch(() => {});
      throw error;
    }
    const isEmpty = description.lengthBytes === 0;
    const usedAtMs = this.#clock.now();
    return new DiskStoredTask(this.#shared, {
      description,
      paths,
      state: { ...emptyState(description), incarnation, isVerified: isEmpty },
      journal: new JournalWriter(this.#disk, this.#shared.files, paths, journal.length),
      stamp: new FileStamp(this.#disk, paths, usedAtMs),
      usedAtMs,
    });
  }

  #ensureFolder(path: string): void {
    if (this.#madeFolders.has(path)) return;
    this.#disk.makeFolder(path);
    this.#madeFolders.add(path);
  }

  #adopt({ journal, paths, usedAtMs }: RecoveredTask): void {
    const stamp = new FileStamp(this.#disk, paths, usedAtMs);
    stamp.settle();
    this.#add(
      new DiskStoredTask(this.#shared, {
        description: journal.description,
        paths,
        state: journal.state,
        journal: new JournalWriter(this.#disk, this.#shared.files, paths, journal.soundBytes),
        stamp,
        usedAtMs,
      }),
    );
  }

  #add(task: KeptTask): void {
    this.#tasks.set(task.description.taskId, task);
    if (task.unwrittenBytes > 0) this.#unwritten.add(task);
    this.#usedBytes += task.description.lengthBytes;
  }

  async #drop(task: KeptTask, reason: DroppedTask["reason"]): Promise<void> {
    const { taskId, lengthBytes } = task.description;
    if (this.#tasks.get(taskId) !== task) return;
    this.#tasks.delete(taskId);
    this.#usedBytes -= lengthBytes;
    task.abandon();
    this.#log.info("store.task_dropped", { task: taskId, reason, lengthBytes });
    const leaving = this.#removeFiles(task).finally(() => this.#leaving.delete(taskId));
    this.#leaving.set(taskId, leaving);
    await leaving;
    this.#tellDropped(task, await this.#incarnationAfter(task), reason);
  }

  async #removeFiles(task: KeptTask): Promise<void> {
    try {
      await task.removeFiles();
    } catch (error) {
      this.#log.error("store.remove_failed", {
        task: task.description.taskId,
        error: messageOf(error),
      });
    }
  }

  /** Where not even a number can be made durable, the next one is told: whoever creates the task again gets that or more. */
  async #incarnationAfter(task: KeptTask): Promise<number> {
    try {
      return await this.#shared.incarnations.next();
    } catch (error) {
      this.#log.error("store.incarnation_failed", { error: messageOf(error) });
      return task.incarnation + 1;
    }
  }

  #givenUp(task: KeptTask): void {
    this.#unwritten.add(task);
    this.#tellDropped(task, task.incarnation, "damaged");
  }

  #tellDropped(task: StoredTask, incarnation: number, reason: DroppedTask["reason"]): void {
    for (const listener of this.#listeners) {
      listener({ taskId: task.description.taskId, incarnation, reason });
    }
  }

  *#idleTasks() {
    for (const task of this.#tasks.values()) {
      const { taskId, lengthBytes } = task.description;
      if (!task.isPinned) yield { taskId, reservedBytes: lengthBytes, usedAtMs: task.usedAtMs };
    }
  }

  #unwrittenBytes(): number {
    let sum = this.#reservedBytes;
    for (const task of this.#unwritten) {
      const bytes = task.unwrittenBytes;
      if (bytes === 0 || this.#tasks.get(task.description.taskId) !== task) {
        this.#unwritten.delete(task);
      }
      sum += bytes;
    }
    return sum;
  }
}

function incarnationsOf({ tasks, small }: Recovered): readonly number[] {
  return [
    ...tasks.map((task) => task.journal.state.incarnation),
    ...small.map((task) => task.incarnation),
  ];
}

function hasSameLayout(a: TaskDescription, b: TaskDescription): boolean {
  return a.lengthBytes === b.lengthBytes && a.pieceLengthBytes === b.pieceLengthBytes;
}
