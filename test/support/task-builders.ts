import { createHash } from "node:crypto";
import { taskIdOf } from "@lacewing/contracts/ids.ts";
import { pieceSpan } from "@lacewing/contracts/pieces.ts";
import type { StoredTask, TaskDescription } from "@lacewing/peer/app/ports.ts";

const MIB = 2 ** 20;

export function sha256Of(bytes: Uint8Array): Buffer {
  return createHash("sha256").update(bytes).digest();
}

/** The description of a made-up content; its name decides its id. */
export function aTask(
  name: string,
  lengthBytes: number,
  overrides: Partial<TaskDescription> = {},
): TaskDescription {
  const hex = (text: string) => createHash("sha256").update(text).digest("hex");
  return {
    taskId: taskIdOf("origin.test", [name], hex),
    url: `http://origin.test/${name}`,
    sharingDomain: "origin.test",
    anchor: undefined,
    lengthBytes,
    pieceLengthBytes: MIB,
    etag: '"v1"',
    lastModified: "",
    contentType: "application/octet-stream",
    createdAtMs: 1_700_000_000_000,
    ...overrides,
  };
}

/** Writes the bytes of some pieces and commits them, in the order given; all of them when none are named. */
export async function fillTask(
  task: StoredTask,
  content: Uint8Array,
  pieceIndexes: Iterable<number> = Array.from({ length: task.held.size }, (_, index) => index),
): Promise<void> {
  for (const pieceIndex of pieceIndexes) {
    const span = pieceSpan(task.layout, pieceIndex);
    const bytes = content.subarray(span.start, span.end);
    await task.write(bytes, span.start);
    const { ok } = await task.commitPiece(pieceIndex, sha256Of(bytes));
    if (!ok) throw new Error(`piece ${pieceIndex} does not have the digest of its own bytes`);
  }
}
