import { createHash } from "node:crypto";
import type { ByteSpan } from "@lacewing/contracts/pieces.ts";
import type { Disk } from "../disk/disk.ts";
import { readExactly } from "./task-files.ts";

/** Up to this length hashing (70 µs) costs the main thread less than asking a worker and waiting for its answer. */
export const SMALL_PIECE_BYTES_MAX = 128 * 1024;

/** Hashes a small span on the main thread. @throws {PortError} `store_read_failed`. */
export async function readSmallDigest(disk: Disk, fd: number, span: ByteSpan): Promise<Uint8Array> {
  const length = span.end - span.start;
  const bytes = Buffer.allocUnsafe(length);
  await readExactly(disk, fd, bytes, length, span.start);
  return createHash("sha256").update(bytes).digest();
}

/** Whether a digest is the expected one; any is when none is expected. */
export function agrees(sha256: Uint8Array, expected: Uint8Array | undefined): boolean {
  return expected === undefined || Buffer.compare(sha256, expected) === 0;
}
