import { createHash } from "node:crypto";
import { setImmediate as nextTurn } from "node:timers/promises";
import { Bitmap } from "@lacewing/contracts/bitmap.ts";
import { type Digest, digestOfHex, type TaskId } from "@lacewing/contracts/ids.ts";
import {
  type PieceLayout,
  pieceCountOf,
  pieceSpan,
  piecesCovering,
} from "@lacewing/contracts/pieces.ts";
import type {
  DroppedTask,
  PieceStore,
  RoomWish,
  StoredTask,
  StoreRefusal,
  StoreUsage,
  TaskDescription,
} from "@lacewing/peer/app/ports.ts";
import { bytesToEvict, chooseEvictions } from "@lacewing/peer/core/eviction.ts";
import { InvariantViolation, PortError } from "@lacewing/runtime/errors.ts";

export interface MemoryPieceStoreOptions {
  /** Default: 1 GiB. */
  readonly quotaBytes?: number;
  /** Wall clock for the time of last use. Default: each use counts as one millisecond later. */
  readonly now?: () => number;
}

/** A {@link PieceStore} in memory for unit tests of whatever uses one; held to the same suite as the one on disk. */
export class MemoryPieceStore implements PieceStore {
  readonly #tasks = new Map<TaskId, MemoryStoredTask>();
  readonly #pinned = new Set<TaskId>();
  readonly #listeners = new Set<(dropped: DroppedTask) => void>();
  readonly #quotaBytes: number;
  readonly #now: () => number;
  /** Writes that touch bytes at or after this offset fail, as on a full disk. */
  failsFrom = Infinity;
  #lastIncarnation = 0;
  #lastUse = 0;

  constructor(options: MemoryPieceStoreOptions = {}) {
    this.#quotaBytes = options.quotaBytes ?? 2 ** 30;
    this.#now = options.now ?? (() => ++this.#lastUse);
  }

  get(taskId: TaskId): MemoryStoredTask | undefined {
    return this.#tasks.get(taskId);
  }

  async create(
    description: TaskDescription,
    wish: RoomWish = "make",
  ): Promise<StoredTask | StoreRefusal> {
    const { taskId, lengthBytes, pieceLengthBytes } = description;
    const known = this.#tasks.get(taskId);
    if (known !== undefined) {
      const { layout } = known;
      if (layout.lengthBytes === lengthBytes && layout.pieceLengthBytes === pieceLengthBytes) {
        return known;
      }
      if (known.isPinned || known.isVerified) return "store_failed";
      this.#drop(known, "removed");
    }
    const refusal = this.#makeRoom(lengthBytes, wish);
    if (refusal !== undefined) return refusal;
    const task = new MemoryStoredTask(description, {
      nextIncarnation: () => ++this.#lastIncarnation,
      now: this.#now,
      failsFrom: () => this.failsFrom,
      damaged: (damaged) => this.#tell(damaged, damaged.incarnation, "damaged"),
    });
    this.#tasks.set(taskId, task);
    setImmediate(task.pin());
    return task;
  }

  list(): IterableIterator<MemoryStoredTask> {
    return this.#tasks.values();
  }

  async giveBack(given: StoredTask): Promise<void> {
    await nextTurn();
    const { taskId } = given.description;
    const task = this.#tasks.get(taskId);
    if (task === undefined || task !== given || task.isPinned || this.#pinned.has(taskId)) return;
    if (task.held.count > 0 || task.isVerified) return;
    this.#tasks.delete(taskId);
    task.abandon();
  }

  async remove(taskId: TaskId): Promise<void> {
    const task = this.#tasks.get(taskId);
    this.#pinned.delete(taskId);
    if (task !== undefined) this.#drop(task, "removed");
  }

  isPinned(taskId: TaskId): boolean {
    return this.#pinned.has(taskId);
  }

  async pin(taskId: TaskId, isPinned: boolean): Promise<boolean> {
    if (isPinned && !this.#tasks.has(taskId)) return false;
    if (isPinned) this.#pinned.add(taskId);
    else this.#pinned.delete(taskId);
    return true;
  }

  usage(): StoreUsage {
    const usedBytes = [...this.list()].reduce((sum, task) => sum + task.layout.lengthBytes, 0);
    const quotaBytes = this.#quotaBytes;
    return { usedBytes, quotaBytes, freeBytes: quotaBytes - usedBytes };
  }

  onDropped(listener: (dropped: DroppedTask) => void): void {
    this.#listeners.add(listener);
  }

  /** Nothing is found at its start. */
  onOffered(): void {}

  async close(): Promise<void> {}

  #makeRoom(lengthBytes: number, wish: RoomWish): StoreRefusal | undefined {
    const room = { ...this.usage(), freeBytes: Infinity, unwrittenBytes: 0, floorBytes: 0 };
    const idle = [...this.list()]
      .filter((task) => !task.isPinned && !this.#pinned.has(task.description.taskId))
      .map((task) => ({
        taskId: task.description.taskId,
        reservedBytes: task.layout.lengthBytes,
        usedAtMs: task.usedAtMs,
      }));
    const neededBytes = bytesToEvict(room, lengthBytes);
    if (neededBytes > 0 && wish === "free") return "no_free_room";
    const chosen = chooseEvictions(idle, neededBytes);
    for (const { taskId } of chosen ?? []) {
      const task = this.#tasks.get(taskId);
      if (task !== undefined) this.#drop(task, "evicted");
    }
    return chosen === undefined ? "no_room" : undefined;
  }

  #drop(task: MemoryStoredTask, reason: DroppedTask["reason"]): void {
    this.#tasks.delete(task.description.taskId);
    task.abandon();
    this.#tell(task, ++this.#lastIncarnation, reason);
  }

  #tell(task: StoredTask, incarnation: number, reason: DroppedTask["reason"]): void {
    const { taskId } = task.description;
    for (const listener of this.#listeners) listener({ taskId, incarnation, reason });
  }
}

interface Surroundings {
  nextIncarnation(): number;
  now(): number;
  failsFrom(): number;
  damaged(task: MemoryStoredTask): void;
}

/** One task's bytes in memory. */
export class MemoryStoredTask implements StoredTask {
  readonly description: TaskDescription;
  readonly held: Bitmap;
  /** The bytes themselves: a test may flip some and {@link unprove}. */
  readonly bytes: Uint8Array;
  readonly #shared: Surroundings;
  readonly #digests = new Map<number, Uint8Array>();
  readonly #proven: Bitmap;
  #incarnation: number;
  #isVerified: boolean;
  #usedAtMs: number;
  #pinCount = 0;
  #isGone = false;

  constructor(description: TaskDescription, shared: Surroundings) {
    this.description = description;
    this.#shared = shared;
    this.held = new Bitmap(pieceCountOf(description));
    this.#proven = new Bitmap(this.held.size);
    this.bytes = new Uint8Array(description.lengthBytes);
    this.#incarnation = shared.nextIncarnation();
    this.#isVerified = description.lengthBytes === 0;
    this.#usedAtMs = shared.now();
  }

  get layout(): PieceLayout {
    return this.description;
  }

  get incarnation(): number {
    return this.#incarnation;
  }

  get offered(): Bitmap {
    return this.held;
  }

  get isVerified(): boolean {
    return this.#isVerified;
  }

  get usedAtMs(): number {
    return this.#usedAtMs;
  }

  get isPinned(): boolean {
    return this.#pinCount > 0;
  }

  digestOf(pieceIndex: number): Uint8Array | undefined {
    return this.held.has(pieceIndex) ? this.#digests.get(pieceIndex) : undefined;
  }

  async write(buffer: Uint8Array, offset: number): Promise<void> {
    this.#mustExist("store_write_failed");
    const end = offset + buffer.length;
    if (offset < 0 || end > this.layout.lengthBytes) {
      throw new InvariantViolation(
        `write of bytes ${offset}-${end} into content of ${this.layout.lengthBytes} bytes`,
      );
    }
    if (end > this.#shared.failsFrom()) {
      throw new PortError("store_no_space", "cannot store bytes: the disk is full", {
        retryable: false,
      });
    }
    const pieces = piecesCovering(this.layout, { start: offset, end });
    for (let pieceIndex = pieces.start; pieceIndex < pieces.end; pieceIndex++) {
      if (this.held.has(pieceIndex)) continue;
      const piece = pieceSpan(this.layout, pieceIndex);
      const start = Math.max(offset, piece.start);
      this.bytes.set(buffer.subarray(start - offset, Math.min(end, piece.end) - offset), start);
    }
  }

  async read(buffer: Uint8Array, offset: number, length: number): Promise<void> {
    this.#mustExist("store_read_failed");
    if (offset + length > this.layout.lengthBytes) {
      throw new PortError("store_read_failed", "read beyond the end", { retryable: false });
    }
    buffer.set(this.bytes.subarray(offset, offset + length));
  }

  async commitPiece(pieceIndex: number, expected: Uint8Array | undefined) {
    this.#mustExist("store_write_failed");
    if (pieceIndex < 0 || pieceIndex >= this.held.size) {
      throw new InvariantViolation(`piece ${pieceIndex} of ${this.held.size} committed`);
    }
    const sha256 = this.#hash(pieceIndex);
    if (expected !== undefined && Buffer.compare(sha256, expected) !== 0) {
      return { ok: false, sha256 };
    }
    this.#digests.set(pieceIndex, sha256);
    this.held.add(pieceIndex);
    this.#proven.add(pieceIndex);
    return { ok: true, sha256 };
  }

  async prove(pieceIndex: number): Promise<boolean> {
    if (this.isProven(pieceIndex)) return true;
    if (!this.held.has(pieceIndex) || this.#isGone) return false;
    return (await this.recheck([pieceIndex])).length === 0;
  }

  isProven(pieceIndex: number): boolean {
    return !this.#isGone && this.held.has(pieceIndex) && this.#proven.has(pieceIndex);
  }

  /** As after a restart: held pieces have to be proven again. */
  unprove(): void {
    this.#proven.clear();
  }

  async recheck(pieceIndexes: readonly number[]): Promise<readonly number[]> {
    const damaged = pieceIndexes.filter((pieceIndex) => {
      const expected = this.digestOf(pieceIndex);
      return expected !== undefined && Buffer.compare(expected, this.#hash(pieceIndex)) !== 0;
    });
    for (const pieceIndex of pieceIndexes)
      if (this.held.has(pieceIndex)) this.#proven.add(pieceIndex);
    if (damaged.length === 0) return damaged;
    for (const pieceIndex of damaged) {
      this.held.delete(pieceIndex);
      this.#proven.delete(pieceIndex);
    }
    this.#isVerified = false;
    this.#incarnation = this.#shared.nextIncarnation();
    this.#shared.damaged(this);
    return damaged;
  }

  async contentDigest(): Promise<Digest> {
    this.#mustExist("store_read_failed");
    if (!this.held.isFull) {
      throw new PortError("store_piece_missing", "not every piece is held", { retryable: false });
    }
    const digest = digestOfHex(createHash("sha256").update(this.bytes).digest("hex"));
    if (digest === undefined) throw new InvariantViolation("a SHA-256 that is no digest");
    return digest;
  }

  async markVerified(): Promise<void> {
    this.#mustExist("store_write_failed");
    this.#isVerified = true;
  }

  inMemory(): Uint8Array | undefined {
    const { length } = this.bytes;
    const isSmall = length <= 128 * 1024;
    return isSmall && this.isVerified && this.isProven(0) ? this.bytes : undefined;
  }

  pin(): () => void {
    this.#pinCount++;
    this.#usedAtMs = this.#shared.now();
    let isPinned = true;
    return () => {
      if (isPinned) this.#pinCount--;
      isPinned = false;
    };
  }

  abandon(): void {
    this.#isGone = true;
  }

  #hash(pieceIndex: number): Uint8Array {
    const { start, end } = pieceSpan(this.layout, pieceIndex);
    return createHash("sha256").update(this.bytes.subarray(start, end)).digest();
  }

  #mustExist(code: "store_read_failed" | "store_write_failed"): void {
    if (!this.#isGone) return;
    throw new PortError(code, `task ${this.description.taskId} was removed from the store`, {
      retryable: false,
    });
  }
}
