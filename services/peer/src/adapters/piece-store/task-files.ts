import {
  closeSync,
  constants,
  ftruncateSync,
  openSync,
  read,
  readSync,
  write,
  writeSync,
} from "node:fs";
import { rm } from "node:fs/promises";
import { messageOf, PortError } from "@lacewing/runtime/errors.ts";
import { DiskPace } from "./disk-pace.ts";

/** Where one stored task's bytes and its journal lie. One object per stored task: a task that comes back has another one. */
export interface TaskPaths {
  readonly data: string;
  readonly journal: string;
}

/** The two open files of one task. */
export interface TaskFiles {
  readonly dataFd: number;
  readonly journalFd: number;
}

/** Store files are nobody else's business: contents may be private. */
export const STORE_FILE_MODE = 0o600;
export const STORE_DIR_MODE = 0o700;

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
  #isClosed = false;

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
    openFiles: (paths: TaskPaths) => Promise<TaskFiles>,
    use: (files: TaskFiles) => Promise<T>,
  ): Promise<T> {
    if (this.#abandoned.has(paths)) throw readFailure(new Error("the task was given up"));
    const entry = this.#take(paths, openFiles);
    try {
      return await use(await entry.opened);
    } finally {
      entry.userCount--;
      this.#closeSurplus();
      if (entry.isForgotten && entry.userCount === 0) await closeEntry(entry);
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

  #take(paths: TaskPaths, openFiles: (paths: TaskPaths) => Promise<TaskFiles>): Entry {
    const known = this.#entries.get(paths);
    if (known !== undefined) {
      known.userCount++;
      this.#entries.delete(paths);
      this.#entries.set(paths, known);
      return known;
    }
    const entry: Entry = { opened: openFiles(paths), userCount: 1, isForgotten: this.#isClosed };
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
    if (entry.userCount === 0) void closeEntry(entry);
  }
}

/** Opens for reading and writing; never follows a link that somebody may have put there. */
export async function openFile(path: string, flags = 0): Promise<number> {
  return openSync(path, constants.O_RDWR | constants.O_NOFOLLOW | flags, STORE_FILE_MODE);
}

/** The journal first: data without a journal is swept up at the next start, a journal without data too. */
export async function removePair(paths: TaskPaths): Promise<void> {
  await rm(paths.journal, { force: true });
  await rm(paths.data, { force: true });
}

/** Closes; a failure is of no use to anybody, the descriptor is gone either way. */
export async function closeFile(fd: number): Promise<void> {
  try {
    closeSync(fd);
  } catch {
    // Nothing was promised about bytes that only now turn out to be lost: unproven pieces are hashed before they are served.
  }
}

/**
 * Fills `buffer[0, length)` from the file.
 * @throws {PortError} `store_read_failed`: an I/O error, or the file is shorter.
 */
export async function readExactly(
  fd: number,
  buffer: Uint8Array,
  length: number,
  position: number,
): Promise<void> {
  let done = 0;
  while (done < length) {
    const count = await readSome(fd, buffer, { at: done, length: length - done, position });
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
export async function writeAll(fd: number, bytes: Uint8Array, position: number): Promise<void> {
  let done = 0;
  while (done < bytes.length) {
    done += await writeSome(fd, bytes, { at: done, length: bytes.length - done, position });
  }
}

/**
 * Gives the file its final length at once; blocks are taken only as bytes are written.
 * @throws {PortError} `store_no_space` or `store_write_failed`.
 */
export async function setLength(fd: number, lengthBytes: number): Promise<void> {
  try {
    ftruncateSync(fd, lengthBytes);
  } catch (error) {
    throw writeFailure(error);
  }
}

/** A stretch of a buffer, `length` bytes from `at`, that belongs at `position + at` of the file. */
interface Stretch {
  readonly at: number;
  readonly length: number;
  readonly position: number;
}

async function readSome(
  fd: number,
  buffer: Uint8Array,
  { at, length, position }: Stretch,
): Promise<number> {
  if (length <= SYNCHRONOUS_BYTES_MAX && readPace.mayBlock(length)) {
    const startedAtMs = performance.now();
    try {
      return readSync(fd, buffer, at, length, position + at);
    } catch (error) {
      throw readFailure(error);
    } finally {
      readPace.took(performance.now() - startedAtMs);
    }
  }
  return new Promise((resolve, reject) => {
    read(fd, buffer, at, length, position + at, (error, count) =>
      error === null ? resolve(count) : reject(readFailure(error)),
    );
  });
}

async function writeSome(
  fd: number,
  bytes: Uint8Array,
  { at, length, position }: Stretch,
): Promise<number> {
  if (length <= SYNCHRONOUS_BYTES_MAX && writePace.mayBlock(length)) {
    const startedAtMs = performance.now();
    try {
      return writeSync(fd, bytes, at, length, position + at);
    } catch (error) {
      throw writeFailure(error);
    } finally {
      writePace.took(performance.now() - startedAtMs);
    }
  }
  return new Promise((resolve, reject) => {
    write(fd, bytes, at, length, position + at, (error, count) =>
      error === null ? resolve(count) : reject(writeFailure(error)),
    );
  });
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

/** The system's name of a failure, `ENOENT` and the like. */
export function errorCode(error: unknown): string | undefined {
  return error instanceof Error && "code" in error && typeof error.code === "string"
    ? error.code
    : undefined;
}

async function openBoth(paths: TaskPaths): Promise<TaskFiles> {
  return openPair(paths, 0, readFailure);
}

async function createBoth(paths: TaskPaths): Promise<TaskFiles> {
  return openPair(paths, constants.O_CREAT | constants.O_TRUNC, writeFailure);
}

async function openPair(
  paths: TaskPaths,
  flags: number,
  failure: (cause: unknown) => PortError,
): Promise<TaskFiles> {
  let dataFd: number | undefined;
  try {
    dataFd = await openFile(paths.data, flags);
    return { dataFd, journalFd: await openFile(paths.journal, flags) };
  } catch (error) {
    if (dataFd !== undefined) await closeFile(dataFd);
    throw failure(error);
  }
}

async function closeEntry(entry: Entry): Promise<void> {
  try {
    const files = await entry.opened;
    await Promise.all([closeFile(files.dataFd), closeFile(files.journalFd)]);
  } catch {
    // It was never opened; whoever asked for it was told.
  }
}
