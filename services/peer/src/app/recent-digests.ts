import type { PieceDigests } from "@lacewing/contracts/gen/lacewing/assignments/v1/assignments.ts";
import { parseTaskId, type TaskId } from "@lacewing/contracts/ids.ts";
import { PIECE_COUNT_MAX } from "@lacewing/contracts/limits.ts";
import type { Log } from "@lacewing/observability/log.ts";
import type { Clock } from "@lacewing/runtime/clock.ts";
import { namedDigests } from "../core/named-digests.ts";
import type { PieceStore } from "./ports.ts";

/** Digests that are remembered, each some 150 bytes; the oldest message's go first. One message has half as many at most. */
const RECENT_DIGEST_COUNT_MAX = 2 ** 16;
/** Longer than a lease waits for its client or its place in the store. */
const RECENT_MS_MAX = 120_000;

interface Heard {
  readonly taskId: TaskId;
  readonly digests: ReadonlyMap<number, Uint8Array>;
  readonly atMs: number;
}

/**
 * Digests that came by themselves a moment ago. They are said once, and the lease that they are for may still wait for its client,
 * or for its content to be made: the download that carries it out then looks here.
 */
export class RecentDigests {
  readonly #store: Pick<PieceStore, "get">;
  readonly #clock: Clock;
  readonly #log: Pick<Log, "warn">;
  readonly #countMax: number;
  /** Oldest first. */
  #heard: Heard[] = [];
  #count = 0;

  constructor(
    store: Pick<PieceStore, "get">,
    { clock, log }: { readonly clock: Clock; readonly log: Pick<Log, "warn"> },
    countMax = RECENT_DIGEST_COUNT_MAX,
  ) {
    this.#store = store;
    this.#clock = clock;
    this.#log = log;
    this.#countMax = countMax;
  }

  /** @returns what was said, and is remembered; `undefined` when it makes no sense. */
  hear({ taskId: task, pieces, digests }: PieceDigests): Heard | undefined {
    const taskId = parseTaskId(task);
    // A copy: a digest that is kept would keep the whole buffer that its message came in.
    const named = namedDigests(pieces, new Uint8Array(digests));
    const stored = taskId === undefined ? undefined : this.#store.get(taskId);
    const pieceCount = stored?.held.size ?? PIECE_COUNT_MAX;
    const isBeyond = pieces.some(({ start, count }) => start + count > pieceCount);
    if (taskId === undefined || named === undefined || isBeyond) {
      const told = { task, pieces, digestBytes: digests.length, pieceCount };
      this.#log.warn("piece digests that make no sense ignored", told);
      return undefined;
    }
    const heard = { taskId, digests: named, atMs: this.#clock.monotonic() };
    this.#heard.push(heard);
    this.#count += named.size;
    this.#dropOld();
    return heard;
  }

  /** What was said of a task, oldest first. */
  *of(taskId: TaskId): Generator<readonly [number, Uint8Array]> {
    this.#dropOld();
    for (const heard of this.#heard) if (heard.taskId === taskId) yield* heard.digests;
  }

  /** What comes next under the name of the task may be another content. */
  forget(taskId: TaskId): void {
    this.#keep(this.#heard.filter((heard) => heard.taskId !== taskId));
  }

  #dropOld(): void {
    const sinceMs = this.#clock.monotonic() - RECENT_MS_MAX;
    let dropCount = 0;
    let count = this.#count;
    for (const { atMs, digests } of this.#heard) {
      if (atMs >= sinceMs && count <= this.#countMax) break;
      count -= digests.size;
      dropCount++;
    }
    if (dropCount > 0) this.#keep(this.#heard.slice(dropCount));
  }

  #keep(heard: Heard[]): void {
    this.#heard = heard;
    this.#count = heard.reduce((sum, { digests }) => sum + digests.size, 0);
  }
}
