import { constants } from "node:fs";
import { dirname } from "node:path";
import type { Disk } from "./disk.ts";

/** All of a small file; `undefined` when there is none. @throws the system's error. */
export function readWholeFile(disk: Disk, path: string): Buffer | undefined {
  const look = disk.lookSync(path);
  if (look === undefined) return undefined;
  const fd = disk.open(path, constants.O_RDONLY);
  try {
    return readUpTo(disk, fd, { length: look.sizeBytes, position: 0 });
  } finally {
    disk.close(fd);
  }
}

/**
 * Replaces a file in one step: a crash, also of the machine, leaves the old one or the new one.
 * Waits for the disk, so nothing on the request path may wait for it.
 *
 * @throws the system's error; the file is as it was, or replaced.
 */
export async function replaceFile(disk: Disk, path: string, bytes: Uint8Array): Promise<void> {
  const temporary = `${path}.new`;
  await withOpen(disk, temporary, WRITE_ANEW, async (fd) => {
    writeWhole(disk, fd, bytes);
    await disk.sync(fd);
  });
  disk.rename(temporary, path);
  await withOpen(disk, dirname(path), constants.O_RDONLY, async (fd) => disk.sync(fd));
}

/** Makes the file when it is missing, empties it when it is there. */
export const WRITE_ANEW = constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC;

/** Writes everything from the start of the file. @throws the system's error. */
export function writeWhole(disk: Disk, fd: number, bytes: Uint8Array): void {
  let at = 0;
  while (at < bytes.length) {
    at += disk.writeSync(fd, bytes, { at, length: bytes.length - at, position: at });
  }
}

/** Up to `length` bytes; fewer at the end of the file. @throws the system's error. */
export function readUpTo(
  disk: Disk,
  fd: number,
  { length, position }: { readonly length: number; readonly position: number },
): Buffer {
  const buffer = Buffer.alloc(length);
  let at = 0;
  while (at < length) {
    const stretch = { at, length: length - at, position: position + at };
    const count = disk.readSync(fd, buffer, stretch);
    if (count === 0) break;
    at += count;
  }
  return buffer.subarray(0, at);
}

async function withOpen(
  disk: Disk,
  path: string,
  flags: number,
  use: (fd: number) => Promise<void>,
): Promise<void> {
  const fd = disk.open(path, flags);
  try {
    await use(fd);
  } finally {
    disk.close(fd);
  }
}
