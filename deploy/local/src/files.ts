import { randomBytes } from "node:crypto";
import { lstatSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import type { z } from "zod";
import { DamagedFile, LocalError } from "./local-error.ts";

/** Replaces a file so that a reader sees the old or the new content, never half; readable by the owner only. */
export function writePrivateFile(path: string, content: string): void {
  const temporary = `${path}.${process.pid}.${randomBytes(4).toString("hex")}`;
  writeFileSync(temporary, content, { mode: 0o600, flush: true });
  renameSync(temporary, path);
}

export function writePrivateJson(path: string, value: unknown): void {
  writePrivateFile(path, `${JSON.stringify(value, undefined, 2)}\n`);
}

/**
 * Reads a JSON file at the top of a data dir; `undefined` when it does not exist.
 *
 * @throws {DamagedFile} when it is not what we wrote.
 * @throws {LocalError} when it cannot be read.
 */
export function readJson<T extends z.ZodType>(path: string, schema: T): z.infer<T> | undefined {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw new LocalError(`cannot read ${path}`, "Check who owns it.", { cause: error });
  }
  try {
    return schema.parse(JSON.parse(text));
  } catch (error) {
    throw new DamagedFile(
      `${path} is damaged or from another version`,
      `Remove this file, or the whole data directory with \`lacewing down --purge --data ${dirname(path)}\`.`,
      { cause: error },
    );
  }
}

/** What `read` finds, or `undefined` when its file is damaged: for whoever is about to remove it. */
export function ifIntact<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof DamagedFile) return undefined;
    throw error;
  }
}

/**
 * Makes a directory that only we may enter.
 *
 * @throws {LocalError} when somebody else has made it before us, which is possible in a shared place such as `/tmp`.
 */
export function makePrivateDirectory(path: string): void {
  mkdirSync(path, { recursive: true, mode: 0o700 });
  const { uid, mode } = lstatSync(path);
  const isOurs = process.getuid === undefined || uid === process.getuid();
  if (!isOurs || (mode & 0o077) !== 0) {
    throw new LocalError(
      `${path} belongs to somebody else or is open to others`,
      "Remove it, or choose a data directory with a shorter path (--data DIR).",
    );
  }
}

/** Whether a file system call failed because the path, or a directory on it, does not exist. */
export function isMissing(error: unknown): boolean {
  const code = errorCode(error);
  return code === "ENOENT" || code === "ENOTDIR";
}

/** The system's name of a failed call (`EACCES`, `EADDRINUSE`), if it has one. */
export function errorCode(error: unknown): string | undefined {
  return error instanceof Error && "code" in error && typeof error.code === "string"
    ? error.code
    : undefined;
}
