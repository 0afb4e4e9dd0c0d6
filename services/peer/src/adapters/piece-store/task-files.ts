import { constants } from "node:fs";
import { join } from "node:path";
import type { TaskId } from "@lacewing/contracts/ids.ts";
import { messageOf, PortError } from "@lacewing/runtime/errors.ts";
import type { Disk, Stretch } from "../disk/disk.ts";
import { errorCode } from "../disk/node-disk.ts";
import { DiskPace } from "./disk-pace.ts";

/** Where one stored task's bytes and its journal lie. One object per stored task: a task that comes back has another one. */
export interface TaskPaths {
  readonly data: string;
  readonly journal: string;
}

/** Where a task's files lie below the content directory. */
export function pathsOf(contentPath: string, taskId: TaskId): TaskPaths {
  const stem = join(contentPath, taskId.slice(0, 2), taskId);
  return { data: `${stem}.data`, journal: `${stem}.journal` };
}

/** Where a small task's only file lies below the content directory. */
export function smallPathOf(contentPath: string, taskId: TaskId): string {
  return join(contentPath, taskId.slice(0, 2), `${taskId}.small`);
}

/** The two open files of one task. */
export interface TaskFiles {
  readonly dataFd: number;
  readonly journalFd: number;
}

/** Tasks whose files stay open when nobody uses them: two descriptors each, well below the usual limit of 1024. */
const IDLE_OPEN_TASK_COUNT_MAX = 128;

/**
 * Reads and writes up to this length are made on the main thread, as are opening and closing, while the page cache answers
 * them ({@link DiskPace}): 256 KiB take some 60 µs then, while handing one to a pool thread and back costs 0.1 ms and two
 * context switches.
 */
const SYNCHRONOUS_BYTES_MAX = 256 * 1024;

const readPace = new DiskPace();
const writePace = new DiskPace();

interface Entry {
  readonly opened: Promise<TaskFiles>;
  userCount: number;
  isForgotten: boolean;
}

/** Keeps the files of recently used tasks open, and open for certain while somebody uses them. */
export class OpenTaskFiles {
  /** Least recently used first. */
  readonly #entries = new Map<TaskPaths, Entry>();
  /** Tasks that were given up: their paths may be another's by now. */
  readonly #abandoned = new WeakSet<TaskPaths>();
  readonly #disk: Disk;
  #isClosed = false;

  constructor(disk: Disk) {
    this.#disk = disk;
  }

  /**
   * Runs `use` with the task's open files.
   * @throws {PortError} `store_read_failed` when they cannot be opened.
   */
  async use<T>(paths: TaskPaths, use: (files: TaskFiles) => Promise<T>): Promise<T> {
    return this.#useOpened(paths, openBoth, use);
  }

  /**
   * As {@link use}, with new, empty files.
   * @throws {PortError} `store_write_failed` or `store_no_space`.
   */
  async create<T>(paths: TaskPaths, use: (files: TaskFiles) => Promise<T>): Promise<T> {
    return this.#useOpened(paths, createBoth, use);
  }

  async #useOpened<T>(
    paths: TaskPaths,
    openFiles: OpenFiles,
    use: (files: TaskFiles) => Promise<T>,
  ): Promise<T> {
    if (this.#abandoned.has(paths)) throw readFailure(new Error("the task was given up"));
    const entry = this.#take(paths, openFiles);
    try {
      return await use(await entry.opened);
    } finally {
      entry.userCount--;
      this.#closeSurplus();
      if (entry.isForgotten && entry.userCount === 0) await closeEntry(this.#disk, entry);
    }
  }

  /** The task is given up: nothing of it is opened any more, because its paths may come to be another's. */
  abandon(paths: TaskPaths): void {
    this.#abandoned.add(paths);
    this.forget(paths);
  }

  /** The files were replaced: closes them as soon as nobody uses them, so that the next use opens what is there now. */
  forget(paths: TaskPaths): void {
    const entry = this.#entries.get(paths);
    if (entry !== undefined) this.#drop(paths, entry);
  }

  /** Closes all; files in use close when their users are done. */
  close(): void {
    this.#isClosed = true;
    for (const [key, entry] of this.#entries) this.#drop(key, entry);
  }

  #take(paths: TaskPaths, openFiles: OpenFiles): Entry {
    const known = this.#entries.get(paths);
    if (known !== undefined) {
      known.userCount++;
      this.#entries.delete(paths);
      this.#entries.set(paths, known);
      return known;
    }
    const opened = openFiles(this.#disk, paths);
    const entry: Entry = { opened, userCount: 1, isForgotten: this.#isClosed };
    entry.opened.catch(() => {
      if (this.#entries.get(paths) === entry) this.#entries.delete(paths);
    });
    if (!this.#isClosed) this.#entries.set(paths, entry);
    return entry;
  }

  #closeSurplus(): void {
    if (this.#entries.size <= IDLE_OPEN_TASK_COUNT_MAX) return;
    for (const [key, entry] of this.#entries) {
      if (entry.userCount > 0) continue;
      this.#drop(key, entry);
      return;
    }
  }

  #drop(key: TaskPaths, entry: Entry): void {
    this.#entries.delete(key);
    entry.isForgotten = true;
    if (entry.userCount === 0) void closeEntry(this.#disk, entry);
  }
}

/** The journal first: data without a journal is swept up at the next start, a journal without data too. */
export async function removePair(disk: Disk, paths: TaskPaths): Promise<void> {
  await disk.remove(paths.journal);
  await disk.remove(paths.data);
}

/** Closes; a failure is of no use to anybody, the descriptor is gone either way. */
export function closeFile(disk: Disk, fd: number): void {
  try {
    disk.close(fd);
  } catch {
    // Nothing was promised about bytes that only now turn out to be lost: unproven pieces are hashed before they are served.
  }
}

/**
 * Fills `buffer[0, length)` from the file.
 * @throws {PortError} `store_read_failed`: an I/O error, or the file is shorter.
 */
export async function readExactly(
  disk: Disk,
  fd: number,
  buffer: Uint8Array,
  length: number,
  position: number,
): Promise<void> {
  let done = 0;
  while (done < length) {
    const count = await readSome(disk, fd, buffer, {
      at: done,
      length: length - done,
      position: position + done,
    });
    if (count === 0) {
      throw readFailure(new Error(`file ends at byte ${position + done}, wanted ${length} bytes`));
    }
    done += count;
  }
}

/**
 * Writes all of `bytes` at `position`.
 * @throws {PortError} `store_no_space` or `store_write_failed`.
 */
export async function writeAll(
  disk: Disk,
  fd: number,
  bytes: Uint8Array,
  position: number,
): Promise<void> {
  let done = 0;
  while (done < bytes.length) {
    done += await writeSome(disk, fd, bytes, {
      at: done,
      length: bytes.length - done,
      position: position + done,
    });
  }
}

/**
 * Gives the file its final length at once; blocks are taken only as bytes are written.
 * @throws {PortError} `store_no_space` or `store_write_failed`.
 */
export function setLength(disk: Disk, fd: number, lengthBytes: number): void {
  try {
    disk.setLength(fd, lengthBytes);
  } catch (error) {
    throw writeFailure(error);
  }
}

async function readSome(
  disk: Disk,
  fd: number,
  buffer: Uint8Array,
  stretch: Stretch,
): Promise<number> {
  const { length } = stretch;
  const isHere = length <= SYNCHRONOUS_BYTES_MAX && readPace.mayBlock(length);
  const startedAtMs = performance.now();
  try {
    return isHere ? disk.readSync(fd, buffer, stretch) : await disk.read(fd, buffer, stretch);
  } catch (error) {
    throw readFailure(error);
  } finally {
    if (isHere) readPace.took(performance.now() - startedAtMs);
  }
}

async function writeSome(
  disk: Disk,
  fd: number,
  bytes: Uint8Array,
  stretch: Stretch,
): Promise<number> {
  const { length } = stretch;
  const isHere = length <= SYNCHRONOUS_BYTES_MAX && writePace.mayBlock(length);
  const startedAtMs = performance.now();
  try {
    return isHere ? disk.writeSync(fd, bytes, stretch) : await disk.write(fd, bytes, stretch);
  } catch (error) {
    throw writeFailure(error);
  } finally {
    if (isHere) writePace.took(performance.now() - startedAtMs);
  }
}

/** Too many open files or too little memory say nothing about the bytes: those failures are retryable. */
export function readFailure(cause: unknown): PortError {
  if (cause instanceof PortError) return cause;
  return new PortError("store_read_failed", `cannot read stored bytes: ${messageOf(cause)}`, {
    retryable: ["EMFILE", "ENFILE", "ENOMEM", "EAGAIN"].includes(errorCode(cause) ?? ""),
    cause,
  });
}

/** A full disk is its own condition: evicting something mends it, trying again does not. */
export function writeFailure(cause: unknown): PortError {
  if (cause instanceof PortError) return cause;
  const isFull = ["ENOSPC", "EDQUOT", "EFBIG"].includes(errorCode(cause) ?? "");
  return new PortError(
    isFull ? "store_no_space" : "store_write_failed",
    `cannot store bytes: ${messageOf(cause)}`,
    { retryable: false, cause },
  );
}

type OpenFiles = (disk: Disk, paths: TaskPaths) => Promise<TaskFiles>;

async function openBoth(disk: Disk, paths: TaskPaths): Promise<TaskFiles> {
  return openPair(disk, paths, { flags: 0, failure: readFailure });
}

async function createBoth(disk: Disk, paths: TaskPaths): Promise<TaskFiles> {
  return openPair(disk, paths, {
    flags: constants.O_CREAT | constants.O_TRUNC,
    failure: writeFailure,
  });
}

async function openPair(
  disk: Disk,
  paths: TaskPaths,
  how: { readonly flags: number; readonly failure: (cause: unknown) => PortError },
): Promise<TaskFiles> {
  const flags = constants.O_RDWR | how.flags;
  let dataFd: number | undefined;
  try {
    dataFd = disk.open(paths.data, flags);
    return { dataFd, journalFd: disk.open(paths.journal, flags) };
  } catch (error) {
    if (dataFd !== undefined) closeFile(disk, dataFd);
    throw how.failure(error);
  }
}

async function closeEntry(disk: Disk, entry: Entry): Promise<void> {
  try {
    const files = await entry.opened;
    closeFile(disk, files.dataFd);
    closeFile(disk, files.journalFd);
  } catch {
    // It was never opened; whoever asked for it was told.
  }
}
