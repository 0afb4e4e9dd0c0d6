import {
  closeSync,
  constants,
  fsync,
  ftruncateSync,
  mkdirSync,
  openSync,
  read,
  readSync,
  renameSync,
  statfsSync,
  statSync,
  utimesSync,
  write,
  writeSync,
} from "node:fs";
import { readdir, rm, stat } from "node:fs/promises";
import type { Disk, FileLook } from "./disk.ts";

/** Store files are nobody else's business: contents may be private. */
export const STORE_FILE_MODE = 0o600;
export const STORE_DIR_MODE = 0o700;

/** The disk itself. */
export const nodeDisk: Disk = {
  open: (path, flags) => openSync(path, flags | constants.O_NOFOLLOW, STORE_FILE_MODE),
  close: (fd) => closeSync(fd),
  readSync: (fd, buffer, { at, length, position }) => readSync(fd, buffer, at, length, position),
  read: async (fd, buffer, { at, length, position }) =>
    new Promise((resolve, reject) => {
      read(fd, buffer, at, length, position, (error, count) =>
        error === null ? resolve(count) : reject(error),
      );
    }),
  writeSync: (fd, bytes, { at, length, position }) => writeSync(fd, bytes, at, length, position),
  write: async (fd, bytes, { at, length, position }) =>
    new Promise((resolve, reject) => {
      write(fd, bytes, at, length, position, (error, count) =>
        error === null ? resolve(count) : reject(error),
      );
    }),
  setLength: (fd, lengthBytes) => ftruncateSync(fd, lengthBytes),
  sync: async (fd) =>
    new Promise((resolve, reject) => {
      fsync(fd, (error) => (error === null ? resolve() : reject(error)));
    }),
  rename: (from, to) => renameSync(from, to),
  remove: async (path) => rm(path, { force: true }),
  makeFolder: (path) => void mkdirSync(path, { recursive: true, mode: STORE_DIR_MODE }),
  list: async (path) => readdir(path),
  look: async (path) => {
    try {
      return lookOf(await stat(path, { bigint: true }));
    } catch (error) {
      if (errorCode(error) === "ENOENT") return undefined;
      throw error;
    }
  },
  lookSync: (path) => {
    const stats = statSync(path, { bigint: true, throwIfNoEntry: false });
    return stats === undefined ? undefined : lookOf(stats);
  },
  touch: (path, modifiedAtMs) => utimesSync(path, modifiedAtMs / 1000, modifiedAtMs / 1000),
  space: (path) => {
    const { bavail, blocks, bsize } = statfsSync(path);
    return { freeBytes: bavail * bsize, sizeBytes: blocks * bsize };
  },
};

/** The system's name of a failure, `ENOENT` and the like. */
export function errorCode(error: unknown): string | undefined {
  return error instanceof Error && "code" in error && typeof error.code === "string"
    ? error.code
    : undefined;
}

function lookOf(stats: {
  readonly ino: bigint;
  readonly size: bigint;
  readonly mtimeNs: bigint;
  readonly ctimeNs: bigint;
}): FileLook {
  const { ino: inode, size, mtimeNs: modifiedAtNs, ctimeNs: changedAtNs } = stats;
  return { inode, sizeBytes: Number(size), modifiedAtNs, changedAtNs };
}
