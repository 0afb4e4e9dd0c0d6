import type { Log } from "@lacewing/observability/log.ts";
import type { Clock } from "@lacewing/runtime/clock.ts";
import { messageOf } from "@lacewing/runtime/errors.ts";
import type { Disk } from "../disk/disk.ts";

/** Without a setting: room for several of the largest files at once, on a machine that was not bought to be a cache. */
const QUOTA_BYTES_DEFAULT_MAX = 20 * 2 ** 30;
/** Without a setting, on a small disk: the other four fifths are for what the machine is there to do. */
const QUOTA_DISK_SHARE_DEFAULT = 0.2;
/** What the disk keeps free for everybody else: 1 GiB or 1 %, the smaller. */
const FLOOR_BYTES_MAX = 2 ** 30;
const FLOOR_DISK_SHARE = 0.01;
/** Free beyond what is needed: nobody fills that much within {@link FRESH_MS}. */
const AMPLE_BYTES = 4 * 2 ** 30;
/** A disk with far more room than is needed is not asked again within this: a batch of small files would ask for each of them. */
const FRESH_MS = 100;

/** What a store may take of its disk. */
export class DiskRoom {
  readonly quotaBytes: number;
  /** Kept free for everybody else. */
  readonly floorBytes: number;
  readonly #disk: Disk;
  readonly #path: string;
  readonly #clock: Clock;
  readonly #log: Log;
  #freeBytes = 0;
  #measuredAtMs = Number.NEGATIVE_INFINITY;

  /** @param quotaBytes default: 20 GiB or 20 % of the disk, the smaller. */
  constructor(
    disk: Disk,
    path: string,
    quotaBytes: number | undefined,
    { clock, log }: { readonly clock: Clock; readonly log: Log },
  ) {
    this.#disk = disk;
    this.#path = path;
    this.#clock = clock;
    this.#log = log;
    const diskBytes = this.#measure();
    this.quotaBytes =
      quotaBytes ??
      Math.floor(Math.min(QUOTA_BYTES_DEFAULT_MAX, diskBytes * QUOTA_DISK_SHARE_DEFAULT));
    this.floorBytes = Math.floor(Math.min(FLOOR_BYTES_MAX, diskBytes * FLOOR_DISK_SHARE));
  }

  /**
   * Free on the disk now; what was free last when it does not say.
   *
   * @param neededBytes a moment ago will do where that much was free, and {@link AMPLE_BYTES} more; default: it will not.
   */
  freeBytes(neededBytes = Number.POSITIVE_INFINITY): number {
    const isFresh = this.#clock.monotonic() - this.#measuredAtMs < FRESH_MS;
    if (!isFresh || this.#freeBytes < neededBytes + AMPLE_BYTES) this.#measure();
    return this.#freeBytes;
  }

  /** @returns the disk's whole size. */
  #measure(): number {
    try {
      const { freeBytes, sizeBytes } = this.#disk.space(this.#path);
      this.#freeBytes = freeBytes;
      this.#measuredAtMs = this.#clock.monotonic();
      return sizeBytes;
    } catch (error) {
      this.#log.warn("store.disk_unknown", { error: messageOf(error) });
      return 0;
    }
  }
}
