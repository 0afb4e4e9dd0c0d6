import { DIGEST_BYTES } from "../core/named-digests.ts";
import type { PieceDigests } from "./expected-digests.ts";
import { followingAbort } from "./following-abort.ts";
import { TransferError } from "./ports.ts";

/** A digest is waited for no longer: a scheduler that lives says it again every second, and without one a host goes on alone. */
export const DIGEST_MS_MAX = 10_000;

/** What the pieces of one read of a parent must have, where some of it may come after the bytes. */
export class LateDigests {
  readonly #digests: PieceDigests;
  readonly #msMax: number;
  readonly #signal: AbortSignal;
  readonly #changed: () => void;
  #awaitedCount = 0;

  /**
   * @param msMax for how long one is waited for.
   * @param changed told when {@link awaitedCount} did.
   */
  constructor(digests: PieceDigests, msMax: number, signal: AbortSignal, changed: () => void) {
    this.#digests = digests;
    this.#msMax = msMax;
    this.#signal = signal;
    this.#changed = changed;
  }

  /** Pieces whose bytes are here and wait for their digest. */
  get awaitedCount(): number {
    return this.#awaitedCount;
  }

  /**
   * 32 bytes; a promise where they are late.
   * @throws {TransferError} `malformed` when nobody will say; the promise rejects with `stalled` when nobody said in time, and with the
   *   signal's reason.
   */
  of(pieceIndex: number): Uint8Array | Promise<Uint8Array> {
    const known = this.#digests.get(pieceIndex);
    if (known?.length === DIGEST_BYTES) return known;
    if (this.#digests.when !== undefined && this.#msMax > 0) return this.#late(pieceIndex);
    throw new TransferError("malformed", `the lease names no digest for piece ${pieceIndex}`);
  }

  async #late(pieceIndex: number): Promise<Uint8Array> {
    const patience = followingAbort(this.#signal);
    const why = `the digest of piece ${pieceIndex} did not come within ${this.#msMax} ms`;
    const timer = setTimeout(() => patience.abort(new TransferError("stalled", why)), this.#msMax);
    this.#count(1);
    try {
      const digest = await this.#digests.when?.(pieceIndex, patience.signal);
      if (digest === undefined) throw new TransferError("stalled", why);
      return digest;
    } finally {
      clearTimeout(timer);
      patience.release();
      this.#count(-1);
    }
  }

  #count(change: 1 | -1): void {
    this.#awaitedCount += change;
    this.#changed();
  }
}
