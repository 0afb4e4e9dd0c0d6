import { readdir } from "node:fs/promises";
import { join } from "node:path";
import type { TaskId } from "@lacewing/contracts/ids.ts";
import { pieceSpan } from "@lacewing/contracts/pieces.ts";
import { createMemoryLog, type MemoryLog } from "@lacewing/observability/memory-log.ts";
import type { Disk } from "@lacewing/peer/adapters/disk/disk.ts";
import {
  type DiskPieceStore,
  openPieceStore,
} from "@lacewing/peer/adapters/piece-store/piece-store.ts";
import type { StoredTask, TaskDescription } from "@lacewing/peer/app/ports.ts";
import { messageOf, PortError } from "@lacewing/runtime/errors.ts";
import type { Clock } from "@lacewing/runtime/clock.ts";
import { bytesOf, seededContent } from "./content.ts";
import type { FaultyDisk } from "./faulty-disk.ts";
import { InlineDigests } from "./inline-digests.ts";
import { aTask, sha256Of } from "./task-builders.ts";

const MIB = 2 ** 20;
/** Room for two of the contents below. */
const QUOTA_BYTES = 3 * MIB + 200_000;

const CONTENTS = {
  a: MIB + 300_000,
  b: MIB + 5,
  c: 2 * MIB,
  small: 20 * 1024,
  tiny: 1,
  empty: 0,
} as const;
export type ContentName = keyof typeof CONTENTS;
export const CONTENT_NAMES: readonly ContentName[] = ["a", "b", "c", "small", "tiny", "empty"];

/** What a life is made of. */
export type LifeAction =
  | { readonly kind: "fill"; readonly name: ContentName; readonly pieces?: readonly number[] }
  | {
      readonly kind: "verify" | "read" | "recheck" | "remove" | "settle";
      readonly name: ContentName;
    }
  | { readonly kind: "wrong_piece"; readonly name: ContentName }
  | { readonly kind: "restart" };

/** One that comes by everything a store does. */
export const SCRIPTED_LIFE: readonly LifeAction[] = [
  { kind: "fill", name: "a" },
  { kind: "verify", name: "a" },
  { kind: "fill", name: "small" },
  { kind: "verify", name: "small" },
  { kind: "settle", name: "small" },
  { kind: "fill", name: "empty" },
  { kind: "fill", name: "b", pieces: [1] },
  { kind: "read", name: "a" },
  { kind: "recheck", name: "a" },
  // Evicts.
  { kind: "fill", name: "c", pieces: [1, 0] },
  { kind: "verify", name: "c" },
  { kind: "remove", name: "small" },
  { kind: "fill", name: "small" },
  { kind: "verify", name: "small" },
  { kind: "settle", name: "small" },
  { kind: "read", name: "small" },
  { kind: "wrong_piece", name: "a" },
  { kind: "fill", name: "a", pieces: [0] },
  { kind: "restart" },
  { kind: "read", name: "c" },
  { kind: "read", name: "small" },
  { kind: "fill", name: "a" },
  { kind: "verify", name: "a" },
];

const bytes = new Map<ContentName, Buffer>();

async function contentOf(name: ContentName): Promise<Buffer> {
  const known = bytes.get(name) ?? (await bytesOf(seededContent(name, CONTENTS[name])));
  bytes.set(name, known);
  return known;
}

function descriptionOf(name: ContentName): TaskDescription {
  return aTask(name, CONTENTS[name]);
}

const NAME_BY_TASK = new Map<TaskId, ContentName>(
  CONTENT_NAMES.map((name) => [descriptionOf(name).taskId, name]),
);

/** A store on a disk that fails, used as a peer uses it, with a record of what it promised. */
export class StoreLife {
  readonly log: MemoryLog = createMemoryLog();
  /** Failures that the caller was told. */
  readonly told: string[] = [];
  /** Bytes came out of the store that are not the content's. */
  readonly wrong: string[] = [];
  /** Whole, verified and given to the kernel. */
  readonly promised = new Set<ContentName>();
  /** The largest incarnation that was told or used, by task. */
  readonly incarnations = new Map<TaskId, number>();
  readonly #dataDir: string;
  readonly #disk: FaultyDisk;
  readonly #clock: Clock;
  #store: DiskPieceStore | undefined;

  constructor(dataDir: string, disk: FaultyDisk, clock: Clock) {
    this.#dataDir = dataDir;
    this.#disk = disk;
    this.#clock = clock;
  }

  /** Goes on after whatever fails, as clients come and go, until the process dies. */
  async run(actions: readonly LifeAction[]): Promise<void> {
    await this.#attempt(async () => this.#open());
    for (const action of actions) {
      if (this.#disk.isDead) break;
      await this.#attempt(async () => this.#act(action));
      this.#noteIncarnations();
    }
    await this.#attempt(async () => this.#close());
    // What it was letting go of when it died need not be there.
    const dropped = this.log.entries.filter(({ event }) => event === "store.task_dropped");
    if (this.#disk.isDead) this.#forget(dropped.at(-1)?.fields["task"]);
  }

  async #act(action: LifeAction): Promise<void> {
    if (action.kind === "restart") {
      await this.#close();
      return this.#open();
    }
    const { name } = action;
    const store = this.#mustBeOpen();
    const { taskId } = descriptionOf(name);
    switch (action.kind) {
      case "fill":
        return this.#fill(name, action.pieces);
      case "wrong_piece":
        return this.#writeWrong(name);
      case "remove":
        this.promised.delete(name);
        return store.remove(taskId);
      case "verify":
        return this.#verify(name);
      case "settle":
        await store.get(taskId)?.idle();
        this.#promiseSmall(name);
        return;
      case "read":
        return this.#readBack(name);
      case "recheck":
        await store.get(taskId)?.recheck([0, 1]);
    }
  }

  async #open(): Promise<void> {
    const disk = this.#disk;
    this.#store = await openStoreOn(disk, this.#dataDir, { log: this.log, clock: this.#clock });
    this.#store.onDropped(({ taskId, incarnation }) => {
      if (disk.isDead) return;
      this.#noteIncarnation(taskId, incarnation);
      this.#forget(taskId);
    });
    await this.#store.caughtUp();
  }

  async #close(): Promise<void> {
    const store = this.#store;
    this.#store = undefined;
    await store?.close();
  }

  async #created(name: ContentName): Promise<StoredTask> {
    const task = await this.#mustBeOpen().create(descriptionOf(name));
    if (typeof task === "string")
      throw new PortError(task, `refused: ${task}`, { retryable: false });
    return task;
  }

  async #fill(name: ContentName, pieces?: readonly number[]): Promise<void> {
    const task = await this.#created(name);
    const unpin = task.pin();
    try {
      const content = await contentOf(name);
      for (const pieceIndex of pieces ?? Array.from({ length: task.held.size }, (_, at) => at)) {
        const span = pieceSpan(task.layout, pieceIndex);
        const piece = content.subarray(span.start, span.end);
        // As bytes come from the network: in two parts.
        const middle = Math.floor(piece.length / 2);
        await task.write(piece.subarray(0, middle), span.start);
        await task.write(piece.subarray(middle), span.start + middle);
        const { ok } = await task.commitPiece(pieceIndex, sha256Of(piece));
        if (!ok) throw new PortError("commit", "digest differs", { retryable: false });
      }
    } finally {
      unpin();
    }
  }

  async #writeWrong(name: ContentName): Promise<void> {
    const task = await this.#created(name);
    const right = (await contentOf(name)).subarray(0, MIB);
    const wasHeld = task.held.has(0);
    await task.write(Buffer.alloc(right.length, 0xee), 0);
    const { ok } = await task.commitPiece(0, sha256Of(right));
    if (ok && !wasHeld) this.wrong.push(`a wrong piece of ${name} was accepted`);
  }

  async #verify(name: ContentName): Promise<void> {
    const task = this.#mustBeOpen().get(descriptionOf(name).taskId);
    if (task === undefined || !task.held.isFull || task.held.size === 0) return;
    const digest = await task.contentDigest();
    const right = `sha256:${sha256Of(await contentOf(name)).toString("hex")}`;
    if (digest !== right) this.wrong.push(`${name} has digest ${digest}`);
    await task.markVerified();
    if (CONTENTS[name] >= MIB && !this.#disk.isDead) this.promised.add(name);
  }

  /** Small content is promised once it is in its file. */
  #promiseSmall(name: ContentName): void {
    const task = this.#mustBeOpen().get(descriptionOf(name).taskId);
    const isInFile = task?.isVerified === true && task.unwrittenBytes === 0;
    if (isInFile && !this.#disk.isDead) this.promised.add(name);
  }

  async #readBack(name: ContentName): Promise<void> {
    const task = this.#mustBeOpen().get(descriptionOf(name).taskId);
    if (task === undefined) return;
    const unpin = task.pin();
    try {
      await readHeld(task, name, this.wrong);
    } finally {
      unpin();
    }
  }

  #forget(taskId: unknown): void {
    const name = CONTENT_NAMES.find((known) => descriptionOf(known).taskId === taskId);
    if (name !== undefined) this.promised.delete(name);
  }

  #mustBeOpen(): DiskPieceStore {
    if (this.#store === undefined) throw new PortError("closed", "not open", { retryable: false });
    return this.#store;
  }

  #noteIncarnations(): void {
    if (this.#disk.isDead) return;
    for (const task of this.#store?.list() ?? []) {
      this.#noteIncarnation(task.description.taskId, task.incarnation);
    }
  }

  #noteIncarnation(taskId: TaskId, incarnation: number): void {
    const known = this.incarnations.get(taskId) ?? 0;
    this.incarnations.set(taskId, Math.max(known, incarnation));
  }

  async #attempt(act: () => Promise<void>): Promise<void> {
    try {
      await act();
    } catch (error) {
      this.told.push(messageOf(error));
    }
  }
}

export async function openStoreOn(
  disk: Disk,
  dataDir: string,
  { log, clock }: { readonly log: MemoryLog; readonly clock: Clock },
): Promise<DiskPieceStore> {
  const digests = new InlineDigests(disk);
  return openPieceStore({ dataDir, quotaBytes: QUOTA_BYTES, clock, log, disk, digests });
}

/** Reads every piece that the store vouches for; what is not the content's goes to `wrong`. @returns pieces given up. */
export async function readHeld(
  task: StoredTask,
  name: ContentName,
  wrong: string[],
): Promise<number> {
  const content = await contentOf(name);
  let givenUpCount = 0;
  for (const pieceIndex of task.held) {
    if (!(await task.prove(pieceIndex))) {
      givenUpCount++;
      continue;
    }
    const { start, end } = pieceSpan(task.layout, pieceIndex);
    const into = Buffer.alloc(end - start);
    await task.read(into, start, into.length);
    if (!into.equals(content.subarray(start, end))) wrong.push(`piece ${pieceIndex} of ${name}`);
  }
  return givenUpCount;
}

/** What the real code makes of the disk as the life left it. */
export interface Afterlife {
  readonly wrong: readonly string[];
  /** Held by name after the start, before anything was read. */
  readonly verified: ReadonlySet<ContentName>;
  readonly givenUpCount: number;
  /** Pieces that other hosts could have been told of before they were hashed. */
  readonly offeredEarly: readonly ContentName[];
  /** Files that belong to no task of the store. */
  readonly leaked: readonly string[];
  readonly usedBytes: number;
  readonly sumBytes: number;
  /** Tasks that came back under a number that was used before. */
  readonly stale: readonly ContentName[];
  readonly log: MemoryLog;
}

/** Starts a store with a sound disk where a life has ended. */
export async function startAgain(
  dataDir: string,
  life: StoreLife,
  { disk, clock }: { readonly disk: Disk; readonly clock: Clock },
): Promise<Afterlife> {
  const log = createMemoryLog();
  const store = await openStoreOn(disk, dataDir, { log, clock });
  const wrong: string[] = [];
  const verified = new Set<ContentName>();
  const offeredEarly: ContentName[] = [];
  let givenUpCount = 0;
  let sumBytes = 0;
  const stale: ContentName[] = [];
  const tasks = [...store.list()];
  // Nothing has been hashed yet: that takes at least a turn of the event loop.
  for (const { offered, description } of tasks) {
    const name = NAME_BY_TASK.get(description.taskId);
    if (offered.count > 0 && name !== undefined) offeredEarly.push(name);
  }
  for (const task of tasks) {
    const { taskId, lengthBytes } = task.description;
    const name = NAME_BY_TASK.get(taskId);
    if (name === undefined) throw new RangeError(`no task of ours: ${taskId}`);
    if (task.isVerified && task.held.isFull) verified.add(name);
    if (task.incarnation <= (life.incarnations.get(taskId) ?? 0)) stale.push(name);
    sumBytes += lengthBytes;
  }
  await store.caughtUp();
  for (const task of tasks) {
    const name = NAME_BY_TASK.get(task.description.taskId);
    if (name !== undefined) givenUpCount += await readHeld(task, name, wrong);
    if (task.offered.count !== task.held.count) wrong.push(`${name} is not offered as it is held`);
  }
  givenUpCount += log.entries.filter(({ event }) => event === "store.pieces_damaged").length;
  const { usedBytes } = store.usage();
  const names = await readdir(join(dataDir, "content"), { recursive: true });
  const isOurs = (file: string) => tasks.some((task) => file.includes(task.description.taskId));
  const leaked = names.filter((file) => file.length > 2 && !isOurs(file));
  for (const name of CONTENT_NAMES) {
    const description = descriptionOf(name);
    if (store.get(description.taskId) !== undefined) continue;
    const task = await store.create(description);
    if (typeof task === "string") continue;
    if (task.incarnation <= (life.incarnations.get(description.taskId) ?? 0)) stale.push(name);
  }
  await store.close();
  return { wrong, verified, offeredEarly, givenUpCount, leaked, usedBytes, sumBytes, stale, log };
}
