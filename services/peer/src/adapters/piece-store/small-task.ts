import { createHash } from "node:crypto";
import { Bitmap } from "@lacewing/contracts/bitmap.ts";
import { type Digest, digestOfHex } from "@lacewing/contracts/ids.ts";
import type { PieceLayout } from "@lacewing/contracts/pieces.ts";
import type { Log } from "@lacewing/observability/log.ts";
import type { Clock } from "@lacewing/runtime/clock.ts";
import { InvariantViolation, messageOf, PortError } from "@lacewing/runtime/errors.ts";
import type { StoredTask, TaskDescription } from "../../app/ports.ts";
import type { Disk } from "../disk/disk.ts";
import type { IncarnationCounter } from "./incarnation-counter.ts";
import { agrees } from "./small-digest.ts";
import { readSmallContent, writeSmallFile } from "./small-file.ts";
import type { SmallMemory } from "./small-memory.ts";
import type { SmallWriter } from "./small-writer.ts";

/** Content up to this length is kept as one file and passes through memory as a whole; hashing it takes 70 µs. */
export const SMALL_CONTENT_BYTES_MAX = 128 * 1024;

/** A file that could not be written is tried again when the content is used so long after: disks do not empty in a second. */
const WRITE_AGAIN_MS = 30_000;

/** What a small task shares with the rest of its store. */
export interface SmallSurroundings {
  readonly disk: Disk;
  readonly memory: SmallMemory;
  readonly writer: SmallWriter;
  readonly incarnations: IncarnationCounter;
  readonly clock: Clock;
  readonly log: Log;
  /** It was found at the start and has been hashed, so that other hosts may be told of it. */
  pieceOffered(task: SmallStoredTask): void;
  /** The disk is full although there was room. Resolves with whether something was evicted. */
  makeRoom(task: SmallStoredTask): Promise<boolean>;
  /** Its only piece was found damaged and is given up. */
  piecesGivenUp(task: SmallStoredTask): void;
  /** It cannot be kept: there is no file of it, and its memory is wanted for others. */
  cannotKeep(task: SmallStoredTask): void;
}

/** A small task as recovery found it; without `sha256` nothing of it is held. */
export interface SmallParts {
  readonly description: TaskDescription;
  readonly path: string;
  readonly incarnation: number;
  readonly sha256: Uint8Array | undefined;
  readonly usedAtMs: number;
}

/**
 * A task of one small piece. Its bytes arrive in memory, are hashed there, and are written to one file shortly after they were
 * verified; until then a crash forgets them. When the file cannot be written they stay in memory, and it is tried again later.
 * Bytes read back from the file are hashed before anybody sees them.
 */
export class SmallStoredTask implements StoredTask {
  readonly description: TaskDescription;
  readonly path: string;
  readonly held = new Bitmap(1);
  /** Of what was found at the start nobody is told before it was hashed. */
  readonly offered = new Bitmap(1);
  readonly #shared: SmallSurroundings;
  #incarnation: number;
  #sha256: Uint8Array | undefined;
  #bytes: Buffer | undefined;
  #isVerified: boolean;
  #isOnDisk: boolean;
  /** When writing the file failed last. */
  #refusedAtMs: number | undefined;
  #makingRoom: Promise<void> | undefined;
  /** Its loss is being told. */
  #announcing: Promise<void> | undefined;
  /** A write was tried: whatever came of it lies there. */
  #mayHaveFile: boolean;
  #isGone = false;
  #pinCount = 0;
  #usedAtMs: number;

  constructor(shared: SmallSurroundings, parts: SmallParts) {
    this.#shared = shared;
    this.description = parts.description;
    this.path = parts.path;
    this.#incarnation = parts.incarnation;
    this.#sha256 = parts.sha256;
    this.#usedAtMs = parts.usedAtMs;
    this.#isVerified = parts.sha256 !== undefined;
    this.#isOnDisk = parts.sha256 !== undefined;
    this.#mayHaveFile = this.#isOnDisk;
    if (parts.sha256 !== undefined) this.held.add(0);
  }

  get layout(): PieceLayout {
    return this.description;
  }

  get lengthBytes(): number {
    return this.description.lengthBytes;
  }

  get incarnation(): number {
    return this.#incarnation;
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

  get unwrittenBytes(): number {
    return this.#isOnDisk ? 0 : this.lengthBytes;
  }

  digestOf(pieceIndex: number): Uint8Array | undefined {
    return this.held.has(pieceIndex) ? this.#sha256 : undefined;
  }

  async write(buffer: Uint8Array, offset: number): Promise<void> {
    this.#mustExist("store_write_failed");
    if (offset < 0 || offset + buffer.length > this.lengthBytes) {
      throw new InvariantViolation(
        `write of bytes ${offset}-${offset + buffer.length} into content of ${this.lengthBytes} bytes`,
      );
    }
    // What was hashed is what stays.
    if (this.held.has(0)) return;
    // Only what is not written over at once has to be cleared.
    const isWhole = buffer.length === this.lengthBytes;
    this.#bytes ??= isWhole
      ? Buffer.allocUnsafeSlow(buffer.length)
      : Buffer.alloc(this.lengthBytes);
    this.#bytes.set(buffer, offset);
  }

  async read(buffer: Uint8Array, offset: number, length: number): Promise<void> {
    this.#mustExist("store_read_failed");
    const bytes = this.held.has(0) ? this.#soundBytes() : (this.#bytes ?? Buffer.alloc(0));
    if (bytes === undefined || offset + length > bytes.length) {
      throw new PortError("store_read_failed", `bytes of ${this.description.taskId} are damaged`, {
        retryable: false,
      });
    }
    buffer.set(bytes.subarray(offset, offset + length));
  }

  async commitPiece(pieceIndex: number, expected: Uint8Array | undefined) {
    this.#mustExist("store_write_failed");
    if (pieceIndex !== 0) throw new InvariantViolation(`piece ${pieceIndex} of 1 committed`);
    if (this.#sha256 !== undefined) {
      return { ok: agrees(this.#sha256, expected), sha256: this.#sha256.slice() };
    }
    this.#bytes ??= Buffer.alloc(this.lengthBytes);
    const sha256 = createHash("sha256").update(this.#bytes).digest();
    if (!agrees(sha256, expected)) return { ok: false, sha256 };
    this.#sha256 = sha256;
    this.held.add(0);
    this.offered.add(0);
    return { ok: true, sha256: sha256.slice() };
  }

  async prove(pieceIndex: number): Promise<boolean> {
    return !this.#isGone && this.held.has(pieceIndex) && this.#soundBytes() !== undefined;
  }

  isProven(pieceIndex: number): boolean {
    return !this.#isGone && this.held.has(pieceIndex) && this.#bytes !== undefined;
  }

  /** Reads the file, if there is one, and leaves what is in memory as it is. */
  async recheck(pieceIndexes: readonly number[]): Promise<readonly number[]> {
    if (this.#isGone || !pieceIndexes.includes(0) || !this.held.has(0)) return [];
    if (this.#isOnDisk && this.#load() === undefined) {
      if (this.#bytes === undefined) {
        this.#giveUp();
        return [0];
      }
      this.#shared.log.warn("store.small_rewritten", { task: this.description.taskId });
      this.#isOnDisk = false;
      this.#shared.writer.add(this);
    }
    this.#offer();
    return [];
  }

  /** What is in memory was hashed, and what comes from the file is: a stranger's write shows by itself. */
  noticeForeignWrite(): void {}

  async contentDigest(): Promise<Digest> {
    this.#mustExist("store_read_failed");
    if (this.#sha256 === undefined) {
      throw new PortError(
        "store_piece_missing",
        "0 of 1 pieces are held: the content has no digest yet",
        { retryable: false },
      );
    }
    const digest = digestOfHex(Buffer.from(this.#sha256).toString("hex"));
    if (digest === undefined) throw new InvariantViolation("a SHA-256 that is no digest");
    return digest;
  }

  async markVerified(): Promise<void> {
    this.#mustExist("store_write_failed");
    if (this.#isVerified || !this.held.has(0)) return;
    this.#isVerified = true;
    this.#shared.writer.add(this);
  }

  inMemory(): Uint8Array | undefined {
    return this.isProven(0) ? this.#soundBytes() : undefined;
  }

  pin(): () => void {
    this.#pinCount++;
    this.#usedAtMs = this.#shared.clock.now();
    let isPinned = true;
    return () => {
      if (!isPinned) return;
      isPinned = false;
      this.#pinCount--;
      this.#usedAtMs = this.#shared.clock.now();
      // Nobody goes on where a broken read left off once nobody waits for the content.
      if (this.#pinCount === 0 && !this.held.has(0)) this.#bytes = undefined;
      if (this.#pinCount === 0) this.#writeAgain();
    };
  }

  /** For the writer: the content, complete and verified, goes to its file. */
  writeFile(): void {
    if (this.#isGone || this.#bytes === undefined || this.#sha256 === undefined) return;
    const { description, incarnation } = this;
    this.#mayHaveFile = true;
    try {
      const head = { description, incarnation, sha256: this.#sha256 };
      writeSmallFile(this.#shared.disk, this.path, head, this.#bytes);
      this.#isOnDisk = true;
      this.#refusedAtMs = undefined;
    } catch (error) {
      this.#refused(error);
    }
    this.#shared.memory.used(this);
  }

  /** For the memory: the bytes can be read again when they are wanted. */
  forgetBytes(): void {
    if (this.#isOnDisk) {
      this.#shared.memory.removed(this);
      this.#bytes = undefined;
    } else if (!this.isPinned) this.#shared.cannotKeep(this);
  }

  /** The task was evicted or removed: everybody who still holds it gets errors from now on. */
  abandon(): void {
    this.#isGone = true;
    this.#shared.writer.drop(this);
    this.#shared.memory.removed(this);
    this.#bytes = undefined;
  }

  async idle(): Promise<void> {
    this.#shared.writer.flush(this);
    await this.#makingRoom;
    await this.#announcing;
    if (this.#refusedAtMs !== undefined) this.writeFile();
  }

  async removeFiles(): Promise<void> {
    if (this.#mayHaveFile) await this.#shared.disk.remove(this.path);
  }

  /** The held bytes, hashed when they come from the file; `undefined` after they were found damaged and given up. */
  #soundBytes(): Buffer | undefined {
    if (this.#bytes === undefined) {
      const bytes = this.#load();
      if (bytes === undefined) {
        this.#giveUp();
        return undefined;
      }
      this.#bytes = bytes;
    }
    if (this.#isOnDisk) this.#shared.memory.used(this);
    else this.#shared.writer.noteRead();
    this.#offer();
    return this.#bytes;
  }

  #offer(): void {
    if (this.held.has(0) && this.offered.add(0)) this.#shared.pieceOffered(this);
  }

  /** The bytes stay in memory; what the disk lacks may be there later. */
  #refused(error: unknown): void {
    const { taskId: task } = this.description;
    const isFirst = this.#refusedAtMs === undefined;
    this.#refusedAtMs = this.#shared.clock.monotonic();
    this.#shared.log.warn("store.small_write_failed", {
      task,
      error: messageOf(error),
      isKept: true,
    });
    const isFull = error instanceof PortError && error.code === "store_no_space";
    if (!isFull || !isFirst) return;
    this.#makingRoom = this.#writeWithRoom();
  }

  async #writeWithRoom(): Promise<void> {
    try {
      if (await this.#shared.makeRoom(this)) this.#shared.writer.add(this);
    } catch (error) {
      const { taskId: task } = this.description;
      this.#shared.log.warn("store.no_room_made", { task, error: messageOf(error) });
    }
  }

  /** Content that could not be written and is used again some time later is tried once more. */
  #writeAgain(): void {
    if (this.#isGone || this.#refusedAtMs === undefined || !this.#isVerified) return;
    this.#shared.memory.used(this);
    const sinceMs = this.#shared.clock.monotonic() - this.#refusedAtMs;
    if (sinceMs >= WRITE_AGAIN_MS) this.#shared.writer.add(this);
  }

  #load(): Buffer | undefined {
    try {
      const bytes = readSmallContent(this.#shared.disk, this.path, this.lengthBytes);
      const sha256 = createHash("sha256").update(bytes).digest();
      return agrees(sha256, this.#sha256) ? bytes : undefined;
    } catch (error) {
      if (error instanceof PortError && error.retryable) throw error;
      const { taskId: task } = this.description;
      this.#shared.log.warn("store.read_failed", { task, error: messageOf(error) });
      return undefined;
    }
  }

  #giveUp(): void {
    this.#shared.log.error("store.pieces_damaged", {
      task: this.description.taskId,
      pieceIndexes: [0],
      pieceCount: 1,
    });
    this.held.delete(0);
    this.offered.delete(0);
    this.#shared.memory.removed(this);
    this.#bytes = undefined;
    this.#sha256 = undefined;
    this.#isVerified = false;
    this.#isOnDisk = false;
    this.#announcing = this.#announceLoss();
  }

  async #announceLoss(): Promise<void> {
    try {
      // Its path may be another's when it was removed meanwhile.
      if (this.#isGone) return;
      await this.#shared.disk.remove(this.path);
      const incarnation = await this.#shared.incarnations.next();
      if (this.#isGone) return;
      this.#incarnation = Math.max(this.#incarnation, incarnation);
      this.#shared.piecesGivenUp(this);
    } catch (error) {
      const { taskId: task } = this.description;
      this.#shared.log.error("store.give_up_failed", { task, error: messageOf(error) });
      this.#shared.cannotKeep(this);
    }
  }

  #mustExist(code: "store_read_failed" | "store_write_failed"): void {
    if (!this.#isGone) return;
    throw new PortError(code, `task ${this.description.taskId} was removed from the store`, {
      retryable: false,
    });
  }
}
