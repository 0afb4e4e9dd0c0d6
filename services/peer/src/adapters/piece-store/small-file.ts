import { constants } from "node:fs";
import { dirname } from "node:path";
import { crc32 } from "node:zlib";
import type { TaskDescription } from "../../app/ports.ts";
import type { Disk } from "../disk/disk.ts";
import { errorCode } from "../disk/node-disk.ts";
import { readUpTo, WRITE_ANEW, writeWhole } from "../disk/whole-file.ts";
import { decodeDescription, encodeDescription } from "./description-json.ts";
import { readFailure, writeFailure } from "./task-files.ts";

/**
 * One whole, verified content in one file: magic, length and CRC-32 of the head, the head as JSON, the content. It is written
 * once and never changed, so that a small content costs one file creation and no journal.
 */
export interface SmallHead {
  readonly description: TaskDescription;
  readonly incarnation: number;
  /** SHA-256 of the content, 32 bytes. */
  readonly sha256: Uint8Array;
}

const MAGIC = Buffer.from("LWSMALL1");
const PREFIX_BYTES = MAGIC.length + 8;
/** A description of two texts of the greatest length each. */
const HEAD_BYTES_MAX = 64 * 1024;

/**
 * Writes the file anew. It is not synced: what a power loss leaves is found by its length, its head's checksum, or by hashing
 * the content before it is shown.
 *
 * @throws {PortError} `store_no_space` or `store_write_failed`.
 */
export function writeSmallFile(
  disk: Disk,
  path: string,
  head: SmallHead,
  content: Uint8Array,
): void {
  try {
    const fd = openAnew(disk, path);
    try {
      writeWhole(disk, fd, Buffer.concat([encodeHead(head), content]));
    } catch (error) {
      giveBack(disk, fd);
      throw error;
    } finally {
      disk.close(fd);
    }
  } catch (error) {
    throw writeFailure(error);
  }
}

/** Making a folder may take a millisecond: it is made when its first file is written, while no client waits. */
function openAnew(disk: Disk, path: string): number {
  try {
    return disk.open(path, WRITE_ANEW);
  } catch (error) {
    if (errorCode(error) !== "ENOENT") throw error;
    disk.makeFolder(dirname(path));
    return disk.open(path, WRITE_ANEW);
  }
}

/**
 * Reads the head of a file of `fileBytes` bytes.
 *
 * @returns why it is of no use, when it is not whole.
 * @throws the system's error when the file cannot be read.
 */
export function readSmallHead(disk: Disk, path: string, fileBytes: number): SmallHead | string {
  return withFile(disk, path, (fd) => {
    const prefix = readUpTo(disk, fd, { length: PREFIX_BYTES, position: 0 });
    if (prefix.length < PREFIX_BYTES || !prefix.subarray(0, MAGIC.length).equals(MAGIC)) {
      return "not a small file";
    }
    const length = prefix.readUInt32LE(MAGIC.length);
    if (length > HEAD_BYTES_MAX) return "head too long";
    const json = readUpTo(disk, fd, { length: length, position: PREFIX_BYTES });
    if (json.length < length || crc32(json) !== prefix.readUInt32LE(MAGIC.length + 4)) {
      return "head damaged";
    }
    const head = decodeHead(json);
    if (head === undefined) return "head is not understood";
    const wholeBytes = PREFIX_BYTES + length + head.description.lengthBytes;
    return fileBytes === wholeBytes ? head : `file has ${fileBytes} of ${wholeBytes} bytes`;
  });
}

/**
 * The content at the end of the file; not checked.
 * @throws {PortError} `store_read_failed` when it cannot be read, or is shorter.
 */
export function readSmallContent(disk: Disk, path: string, lengthBytes: number): Buffer {
  try {
    return withFile(disk, path, (fd) => {
      const prefix = readUpTo(disk, fd, { length: PREFIX_BYTES, position: 0 });
      const headBytes = prefix.length < PREFIX_BYTES ? 0 : prefix.readUInt32LE(MAGIC.length);
      const content = readUpTo(disk, fd, {
        length: lengthBytes,
        position: PREFIX_BYTES + headBytes,
      });
      if (content.length === lengthBytes) return content;
      throw new Error(`file ends after ${content.length} of ${lengthBytes} content bytes`);
    });
  } catch (error) {
    throw readFailure(error);
  }
}

function encodeHead({ description, incarnation, sha256 }: SmallHead): Buffer {
  const json = Buffer.from(
    JSON.stringify({
      description: encodeDescription(description),
      incarnation,
      sha256: Buffer.from(sha256).toString("hex"),
    }),
  );
  const prefix = Buffer.alloc(PREFIX_BYTES);
  MAGIC.copy(prefix);
  prefix.writeUInt32LE(json.length, MAGIC.length);
  prefix.writeUInt32LE(crc32(json), MAGIC.length + 4);
  return Buffer.concat([prefix, json]);
}

function decodeHead(json: Buffer): SmallHead | undefined {
  let fields: unknown;
  try {
    fields = JSON.parse(json.toString("utf8"));
  } catch {
    return undefined;
  }
  if (typeof fields !== "object" || fields === null) return undefined;
  const { description: text, incarnation, sha256 } = { ...blankHead, ...fields };
  const description = typeof text === "string" ? decodeDescription(text) : undefined;
  const isDigest = typeof sha256 === "string" && /^[0-9a-f]{64}$/.test(sha256);
  if (description === undefined || !isDigest || !Number.isSafeInteger(incarnation))
    return undefined;
  return { description, incarnation: Number(incarnation), sha256: Buffer.from(sha256, "hex") };
}

const blankHead: Readonly<Record<"description" | "incarnation" | "sha256", unknown>> = {
  description: undefined,
  incarnation: undefined,
  sha256: undefined,
};

function withFile<T>(disk: Disk, path: string, use: (fd: number) => T): T {
  const fd = disk.open(path, constants.O_RDONLY);
  try {
    return use(fd);
  } finally {
    disk.close(fd);
  }
}

/** Half a file is of no use, and its blocks may be what the disk lacks. */
function giveBack(disk: Disk, fd: number): void {
  try {
    disk.setLength(fd, 0);
  } catch {
    // The next start sweeps it up.
  }
}
