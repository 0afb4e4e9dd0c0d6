import { Bitmap } from "@lacewing/contracts/bitmap.ts";
import { type Digest, digestOfHex } from "@lacewing/contracts/ids.ts";
import { type PieceLayout, pieceAt, pieceSpan } from "@lacewing/contracts/pieces.ts";
import { InvariantViolation, messageOf, PortError } from "@lacewing/runtime/errors.ts";
import type { Clock } from "@lacewing/runtime/clock.ts";
import type { Log } from "@lacewing/observability/log.ts";
import type { StoredTask, TaskDescription } from "../../app/ports.ts";
import { type JournalState, PIECE_DIGEST_BYTES } from "../../core/journal-records.ts";
import type { Disk } from "../disk/disk.ts";
import { ContentHasher } from "./content-hasher.ts";
import type { Digests } from "./digest-pool.ts";
import type { FileStamp } from "./file-stamp.ts";
import type { IncarnationCounter } from "./incarnation-counter.ts";
import type { JournalWriter } from "./journal-file.ts";
import { Proofs, type StoreAge } from "./proofs.ts";
import { agrees } from "./small-digest.ts";
import { type OpenTaskFiles, readExactly, removePair, type TaskPaths } from "./task-files.ts";
import { openSpans, WritesInFlight, writeSpans } from "./writes-in-flight.ts";

/** What a stored task shares with the rest of its store. */
export interface TaskSurroundings {
  readonly disk: Disk;
  readonly files: OpenTaskFiles;
  readonly digests: Digests;
  readonly incarnations: IncarnationCounter;
  readonly age: StoreAge;
  readonly clock: Clock;
  readonly log: Log;
  /** A piece that was found at the start has been hashed, so that other hosts may be told of it. */
  pieceOffered(task: DiskStoredTask): void;
  /** Somebody else wrote to the file: all of it is to be hashed. */
  fileChanged(task: DiskStoredTask): void;
  /** The disk is full although there was room. @returns whether something was evicted. */
  makeRoom(task: DiskStoredTask): Promise<boolean>;
  /** Pieces were found damaged and are given up. */
  piecesGivenUp(task: DiskStoredTask): void;
  /** Damage could not even be journaled: the whole task has to go. */
  journalFailed(task: DiskStoredTask): Promise<void>;
}

export interface StoredTaskParts {
  readonly description: TaskDescription;
  readonly paths: TaskPaths;
  readonly state: JournalState;
  readonly journal: JournalWriter;
  readonly stamp: FileStamp;
  readonly usedAtMs: number;
}

/**
 * One task's bytes on disk.
 *
 * A piece is first *missing*: writes may touch its bytes. While it is *being committed* (its digest is taken) and while it is *held* no
 * write reaches its bytes, so what was hashed is what stays. A held piece is *offered* once this process has hashed it: only then do
 * other hosts hear of it. It is *proven* while what was hashed is most likely what will be read: nobody else has written to the file, and
 * its bytes were read a moment ago (see {@link Proofs}); only proven pieces may be served.
 */
export class DiskStoredTask implements StoredTask {
  readonly description: TaskDescription;
  readonly paths: TaskPaths;
  readonly #shared: TaskSurroundings;
  readonly #state: JournalState;
  readonly #journal: JournalWriter;
  readonly #stamp: FileStamp;
  readonly #hasher: ContentHasher;
  readonly #writes = new WritesInFlight();
  readonly #offered: Bitmap;
  readonly #proofs: Proofs;
  readonly #committing = new Map<number, Promise<unknown>>();
  readonly #proving = new Map<number, Promise<boolean>>();
  #pinCount = 0;
  #usedAtMs: number;
  #isGone = false;

  constructor(shared: TaskSurroundings, parts: StoredTaskParts) {
    this.#shared = shared;
    this.description = parts.description;
    this.paths = parts.paths;
    this.#state = parts.state;
    this.#journal = parts.journal;
    this.#stamp = parts.stamp;
    this.#usedAtMs = parts.usedAtMs;
    this.#offered = new Bitmap(parts.state.held.size);
    this.#proofs = new Proofs(shared.age);
    this.#hasher = new ContentHasher(shared.disk, shared.digests, {
      layout: parts.description,
      held: parts.state.held,
      digestOf: (pieceIndex) => this.digestOf(pieceIndex),
      withData: async (use) => this.#withData(use),
      onSound: (pieceIndex) => this.#proved(pieceIndex),
      onBehind: (error) =>
        shared.log.warn("store.hash_failed", {
          task: parts.description.taskId,
          error: messageOf(error),
        }),
    });
  }

  get layout(): PieceLayout {
    return this.description;
  }

  get incarnation(): number {
    return this.#state.incarnation;
  }

  get held(): Bitmap {
    return this.#state.held;
  }

  get offered(): Bitmap {
    return this.#offered;
  }

  get isVerified(): boolean {
    return this.#state.isVerified;
  }

  get usedAtMs(): number {
    return this.#usedAtMs;
  }

  get isPinned(): boolean {
    return this.#pinCount > 0;
  }

  /** Bytes of the reservation that the disk has not given yet; pieces in the making count as not written. */
  get unwrittenBytes(): number {
    const { held } = this.#state;
    if (held.isFull) return 0;
    return Math.max(0, this.layout.lengthBytes - held.count * this.layout.pieceLengthBytes);
  }

  digestOf(pieceIndex: number): Uint8Array | undefined {
    if (!this.held.has(pieceIndex)) return undefined;
    const at = pieceIndex * PIECE_DIGEST_BYTES;
    return this.#state.digests.subarray(at, at + PIECE_DIGEST_BYTES);
  }

  /**
   * Writes what belongs to missing pieces and leaves the rest out: a late or lying writer cannot touch a held piece, nor one
   * whose digest is being taken.
   */
  async write(buffer: Uint8Array, offset: number): Promise<void> {
    this.#mustExist("store_write_failed");
    const end = offset + buffer.length;
    if (offset < 0 || end > this.layout.lengthBytes) {
      throw new InvariantViolation(
        `write of bytes ${offset}-${end} into content of ${this.layout.lengthBytes} bytes`,
      );
    }
    const isClosed = (pieceIndex: number): boolean =>
      this.held.has(pieceIndex) || this.#committing.has(pieceIndex);
    const spans = openSpans(this.layout, { start: offset, end }, isClosed);
    if (spans.length === 0) return;
    this.#stamp.noteOwnWrite();
    const { disk, age } = this.#shared;
    const writing = this.#withRoom(async () =>
      this.#withData(async (fd) => writeSpans(disk, fd, { buffer, offset }, spans)),
    );
    age.passed(buffer.length);
    await this.#writes.track(offset, end, writing);
  }

  async read(buffer: Uint8Array, offset: number, length: number): Promise<void> {
    this.#mustExist("store_read_failed");
    await this.#withData(async (fd) => readExactly(this.#shared.disk, fd, buffer, length, offset));
    this.#shared.age.passed(length);
    this.#proofs.renew(pieceAt(this.layout, offset));
  }

  async commitPiece(pieceIndex: number, expected: Uint8Array | undefined) {
    this.#mustExist("store_write_failed");
    if (pieceIndex < 0 || pieceIndex >= this.held.size) {
      throw new InvariantViolation(`piece ${pieceIndex} of ${this.held.size} committed`);
    }
    // Whoever comes second finds the piece held, or takes its own turn.
    while (this.#committing.has(pieceIndex)) {
      await this.#committing.get(pieceIndex)?.catch(() => {});
    }
    const held = this.digestOf(pieceIndex);
    if (held !== undefined) return { ok: agrees(held, expected), sha256: held.slice() };
    const commit = this.#commitMissing(pieceIndex, expected).finally(() =>
      this.#committing.delete(pieceIndex),
    );
    this.#committing.set(pieceIndex, commit);
    return commit;
  }

  async prove(pieceIndex: number): Promise<boolean> {
    if (this.isProven(pieceIndex)) return true;
    if (!this.held.has(pieceIndex) || this.#isGone) return false;
    const known = this.#proving.get(pieceIndex);
    if (known !== undefined) return known;
    const proof = this.#proveHeld(pieceIndex).finally(() => this.#proving.delete(pieceIndex));
    this.#proving.set(pieceIndex, proof);
    return proof;
  }

  isProven(pieceIndex: number): boolean {
    return !this.#isGone && this.held.has(pieceIndex) && this.#proofs.has(pieceIndex);
  }

  async recheck(pieceIndexes: readonly number[]): Promise<readonly number[]> {
    const held = pieceIndexes.filter((pieceIndex) => this.held.has(pieceIndex));
    const damaged: number[] = [];
    for (const pieceIndex of held) {
      if (!(await this.#isSoundOnDisk(pieceIndex))) damaged.push(pieceIndex);
      else this.#proved(pieceIndex);
    }
    await this.#giveUp(damaged);
    return damaged;
  }

  async contentDigest(): Promise<Digest> {
    this.#mustExist("store_read_failed");
    if (!this.held.isFull) {
      throw new PortError(
        "store_piece_missing",
        `${this.held.count} of ${this.held.size} pieces are held: the content has no digest yet`,
        { retryable: false },
      );
    }
    const sha256 = await this.#hasher.digest().catch(async (error: unknown) => {
      if (error instanceof PortError && error.code === "store_piece_damaged") {
        await this.recheck([...this.held]);
      }
      throw error;
    });
    const digest = digestOfHex(Buffer.from(sha256).toString("hex"));
    if (digest === undefined) throw new InvariantViolation("a SHA-256 that is no digest");
    return digest;
  }

  async markVerified(): Promise<void> {
    this.#mustExist("store_write_failed");
    if (this.isVerified) return;
    await this.#withRoom(async () => this.#journal.append({ kind: "verified" }));
    // Given up meanwhile: the journal's order tells the same.
    if (this.held.isFull) this.#state.isVerified = true;
  }

  pin(): () => void {
    if (this.#pinCount++ === 0) this.#beginUse();
    let isPinned = true;
    return () => {
      if (!isPinned) return;
      isPinned = false;
      this.#usedAtMs = this.#shared.clock.now();
      this.#pinCount--;
      this.#settleStamp();
    };
  }

  /** The task was evicted or removed: everybody who still holds it gets errors from now on. */
  abandon(): void {
    this.#isGone = true;
    this.#hasher.reset();
    this.#shared.files.abandon(this.paths);
  }

  async removeFiles(): Promise<void> {
    await removePair(this.#shared.disk, this.paths);
  }

  /** Resolves when nothing is being written any more. */
  async idle(): Promise<void> {
    await this.#writes.settled(0, this.layout.lengthBytes);
    await this.#journal.idle();
  }

  #beginUse(): void {
    this.#usedAtMs = this.#shared.clock.now();
    this.#stamp.noteUse(this.#usedAtMs);
    this.noticeForeignWrite();
  }

  /** Whoever wrote to the file while nobody used it is found out; then nothing is proven any more. */
  noticeForeignWrite(): void {
    if (this.#isGone || this.#writes.count > 0 || !this.#stamp.hasForeignWrite()) return;
    this.#shared.log.warn("store.file_changed", { task: this.description.taskId });
    this.#proofs.clear();
    this.#hasher.reset();
    // The path may name another file now.
    this.#shared.files.forget(this.paths);
    this.#shared.fileChanged(this);
  }

  #proved(pieceIndex: number): void {
    this.#proofs.add(pieceIndex);
    if (this.held.has(pieceIndex) && this.#offered.add(pieceIndex)) this.#shared.pieceOffered(this);
  }

  /** Between uses the file should stay as it is now; while it is used we write to it ourselves. */
  #settleStamp(): void {
    if (this.#pinCount === 0 && this.#writes.count === 0) this.#stamp.settle();
  }

  async #commitMissing(pieceIndex: number, expected: Uint8Array | undefined) {
    const span = pieceSpan(this.layout, pieceIndex);
    await this.#writes.settled(span.start, span.end);
    const sha256 = await this.#withData(async (fd) =>
      this.#hasher.hashPiece(fd, pieceIndex, expected),
    );
    if (!agrees(sha256, expected)) return { ok: false, sha256 };
    await this.#withRoom(async () => this.#journal.append({ kind: "piece", pieceIndex, sha256 }));
    this.#mustExist("store_write_failed");
    this.#state.digests.set(sha256, pieceIndex * PIECE_DIGEST_BYTES);
    this.held.add(pieceIndex);
    this.#offered.add(pieceIndex);
    this.#proofs.add(pieceIndex);
    this.#settleStamp();
    if (this.held.size > 1) this.#hasher.pieceHeld();
    return { ok: true, sha256 };
  }

  async #proveHeld(pieceIndex: number): Promise<boolean> {
    if (!(await this.#isSoundOnDisk(pieceIndex))) {
      await this.#giveUp([pieceIndex]);
      return false;
    }
    if (!this.held.has(pieceIndex)) return false;
    this.#proved(pieceIndex);
    return true;
  }

  /** Bytes that cannot be read are as lost as bytes that are wrong. */
  async #isSoundOnDisk(pieceIndex: number): Promise<boolean> {
    const expected = this.digestOf(pieceIndex);
    if (expected === undefined) return false;
    try {
      const sha256 = await this.#withData(async (fd) => this.#hasher.hashAlone(fd, pieceIndex));
      return agrees(sha256, expected);
    } catch (error) {
      if (!(error instanceof PortError) || error.retryable) throw error;
      this.#shared.log.warn("store.read_failed", {
        task: this.description.taskId,
        pieceIndex,
        error: messageOf(error),
      });
      return false;
    }
  }

  async #giveUp(pieceIndexes: readonly number[]): Promise<void> {
    const lost = pieceIndexes.filter((pieceIndex) => this.held.delete(pieceIndex));
    if (lost.length === 0 || this.#isGone) return;
    for (const pieceIndex of lost) {
      this.#proofs.delete(pieceIndex);
      this.#offered.delete(pieceIndex);
    }
    this.#state.isVerified = false;
    this.#hasher.reset();
    this.#shared.log.error("store.pieces_damaged", {
      task: this.description.taskId,
      pieceIndexes: lost.slice(0, LOGGED_PIECE_COUNT_MAX),
      pieceCount: lost.length,
    });
    try {
      const incarnation = await this.#shared.incarnations.next();
      this.#state.incarnation = Math.max(this.#state.incarnation, incarnation);
      await this.#journal.append({ kind: "given_up", incarnation, pieceIndexes: lost });
    } catch (error) {
      this.#shared.log.error("store.journal_failed", {
        task: this.description.taskId,
        error: messageOf(error),
      });
      await this.#shared.journalFailed(this);
      return;
    }
    this.#shared.piecesGivenUp(this);
  }

  /** Evicts what nobody uses when the disk is full although there was room, and tries once more. */
  async #withRoom(write: () => Promise<void>): Promise<void> {
    try {
      await write();
    } catch (error) {
      const isFull = error instanceof PortError && error.code === "store_no_space";
      if (!isFull || !(await this.#shared.makeRoom(this))) throw error;
      await write();
    }
  }

  async #withData<T>(use: (fd: number) => Promise<T>): Promise<T> {
    return this.#shared.files.use(this.paths, async (files) => use(files.dataFd));
  }

  #mustExist(code: "store_read_failed" | "store_write_failed"): void {
    if (!this.#isGone) return;
    throw new PortError(code, `task ${this.description.taskId} was removed from the store`, {
      retryable: false,
    });
  }
}

/** A log line lists at most this many pieces by number. */
const LOGGED_PIECE_COUNT_MAX = 20;
