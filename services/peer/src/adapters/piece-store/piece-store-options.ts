import type { Log } from "@lacewing/observability/log.ts";
import type { Clock } from "@lacewing/runtime/clock.ts";
import type { Disk } from "../disk/disk.ts";
import type { EvictionLimits } from "./evictor.ts";
import type { Digests } from "./digest-pool.ts";

export interface PieceStoreOptions {
  readonly dataDir: string;
  /** Default: 20 GiB or 20 % of the disk, the smaller. */
  readonly quotaBytes?: number | undefined;
  readonly clock: Clock;
  readonly log: Log;
  /** Threads that hash; one does about 0.9 GB/s of new content (each byte is hashed twice: its piece and the whole). Default 2. */
  readonly hashWorkers?: number | undefined;
  /** Bytes per second at which stored content is hashed again when nobody asks for it; 0: never. Default: {@link SCRUB_RATE}. */
  readonly scrubRate?: number | undefined;
  /** When what nobody uses goes. Default: {@link EVICTION_DEFAULT}. */
  readonly eviction?: EvictionLimits | undefined;
  /** For tests: a disk that fails, and what hashes through it. */
  readonly disk?: Disk | undefined;
  readonly digests?: Digests | undefined;
}

/** One hashes what arrives while another proves what is read. */
export const HASH_WORKER_COUNT_DEFAULT = 2;
/** Hashing 4 MiB per second takes a quarter of a percent of a core; 20 GiB are looked at in 85 minutes, 2 TiB in six days. */
export const SCRUB_RATE = 4 * 2 ** 20;
