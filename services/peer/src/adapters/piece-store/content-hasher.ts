import { createHash } from "node:crypto";
import type { Bitmap } from "@lacewing/contracts/bitmap.ts";
import { pieceSpan, type PieceLayout } from "@lacewing/contracts/pieces.ts";
import { PortError } from "@lacewing/runtime/errors.ts";
import type { Disk } from "../disk/disk.ts";
import type { Digests } from "./digest-pool.ts";
import { readSmallDigest, SMALL_PIECE_BYTES_MAX } from "./small-digest.ts";

/** What the hasher needs to know of its task. */
export interface HashedTask {
  readonly layout: PieceLayout;
  readonly held: Bitmap;
  digestOf(pieceIndex: number): Uint8Array | undefined;
  /** Runs `use` with the open data file. */
  withData<T>(use: (fd: number) => Promise<T>): Promise<T>;
  /** A held piece was read again and has its digest. */
  onSound(pieceIndex: number): void;
  /** The running hash could not be brought up to date; it is tried again when somebody asks for it. */
  onBehind(error: unknown): void;
}

/** A worker that died takes the running hash along; it is begun again this often for one question. */
const RESTART_COUNT_MAX = 3;

/**
 * The hash of one task's whole content, kept up in the background: it grows along the contiguous beginning of held pieces.
 * Pieces that are committed in order extend it in the same pass that hashes them; others are read again when the gap
 * before them closes.
 */
export class ContentHasher {
  readonly #disk: Disk;
  readonly #pool: Digests;
  readonly #task: HashedTask;
  #streamId: number | undefined;
  /** Pieces in the running hash. */
  #hashedCount = 0;
  /** Pieces that are in it or on their way: what comes next. Never below `#hashedCount`. */
  #claimedCount = 0;
  #advancing: Promise<void> | undefined;
  #digest: Uint8Array | undefined;

  constructor(disk: Disk, pool: Digests, task: HashedTask) {
    this.#disk = disk;
    this.#pool = pool;
    this.#task = task;
  }

  /** Whether this piece would extend the running hash. */
  isNext(pieceIndex: number): boolean {
    return pieceIndex === this.#claimedCount && this.#digest === undefined;
  }

  /** Hashes a piece that is not held yet; extends the running hash when the piece is next and as expected. */
  async hashPiece(
    fd: number,
    pieceIndex: number,
    expected: Uint8Array | undefined,
  ): Promise<Uint8Array> {
    if (this.#task.held.size === 1 || !this.isNext(pieceIndex))
      return this.hashAlone(fd, pieceIndex);
    return (await this.#extend(fd, pieceIndex, expected)).sha256;
  }

  /** Hashes a piece for its own sake. @throws {PortError} `store_read_failed`, or retryable when whoever hashes died. */
  async hashAlone(fd: number, pieceIndex: number): Promise<Uint8Array> {
    const span = this.#spanOf(pieceIndex);
    if (span.end - span.start <= SMALL_PIECE_BYTES_MAX)
      return readSmallDigest(this.#disk, fd, span);
    return (await this.#pool.hashSpan({ fd, ...span })).sha256;
  }

  /** A piece became held: brings the running hash up to the first gap, in the background. */
  pieceHeld(): void {
    this.#advance().catch((error: unknown) => this.#task.onBehind(error));
  }

  /**
   * The digest of the whole content, every piece of which is held.
   *
   * @throws {PortError} `store_piece_damaged`, not retryable, when a piece no longer has its digest; `store_read_failed`.
   */
  async digest(): Promise<Uint8Array> {
    // The digest of the only piece is the digest of the whole.
    if (this.#task.held.size <= 1) {
      return this.#task.digestOf(0) ?? createHash("sha256").digest();
    }
    for (let attempt = 0; attempt <= RESTART_COUNT_MAX; attempt++) {
      if (this.#digest !== undefined) return this.#digest;
      await this.#advance();
      const { size } = this.#task.held;
      if (this.#hashedCount < size) {
        throw damaged(`piece ${this.#hashedCount} of ${size} is not as it was`);
      }
      if (this.#streamId === undefined) continue;
      const sha256 = await this.#pool.finishStream(this.#streamId, this.#task.layout.lengthBytes);
      if (sha256 === undefined) this.reset();
      else {
        this.reset();
        this.#digest = sha256;
      }
    }
    throw damaged("the content could not be hashed in one go");
  }

  /** Forgets what was hashed: pieces were given up, or somebody wrote to the file. */
  reset(): void {
    if (this.#streamId !== undefined) this.#pool.closeStream(this.#streamId);
    this.#streamId = undefined;
    this.#hashedCount = 0;
    this.#claimedCount = 0;
    this.#digest = undefined;
  }

  async #advance(): Promise<void> {
    this.#advancing ??= this.#advanceToGap().finally(() => {
      this.#advancing = undefined;
    });
    return this.#advancing;
  }

  async #advanceToGap(): Promise<void> {
    let restartCount = 0;
    while (this.#digest === undefined && this.#task.held.has(this.#claimedCount)) {
      const pieceIndex = this.#claimedCount;
      const expected = this.#task.digestOf(pieceIndex);
      const { sha256, hasExtended } = await this.#task.withData(async (fd) =>
        this.#extend(fd, pieceIndex, expected),
      );
      if (expected === undefined || Buffer.compare(sha256, expected) !== 0) return;
      this.#task.onSound(pieceIndex);
      if (hasExtended) continue;
      if (++restartCount > RESTART_COUNT_MAX) return;
      this.reset();
    }
  }

  async #extend(fd: number, pieceIndex: number, expected: Uint8Array | undefined) {
    this.#streamId ??= this.#pool.openStream();
    const streamId = this.#streamId;
    this.#claimedCount = pieceIndex + 1;
    const outcome = await this.#pool
      .hashSpan({ fd, ...this.#spanOf(pieceIndex), streamId, expected })
      .catch((error: unknown) => {
        this.#unclaim(streamId, pieceIndex);
        throw error;
      });
    if (!outcome.hasExtended) this.#unclaim(streamId, pieceIndex);
    else if (this.#streamId === streamId) {
      this.#hashedCount = pieceIndex + 1;
      this.#claimedCount = Math.max(this.#claimedCount, this.#hashedCount);
    }
    return outcome;
  }

  #unclaim(streamId: number, pieceIndex: number): void {
    if (this.#streamId !== streamId) return;
    this.#claimedCount = Math.max(this.#hashedCount, Math.min(this.#claimedCount, pieceIndex));
  }

  #spanOf(pieceIndex: number) {
    return pieceSpan(this.#task.layout, pieceIndex);
  }
}

function damaged(message: string): PortError {
  return new PortError("store_piece_damaged", message, { retryable: false });
}
