import type { Disk } from "../disk/disk.ts";
import { writeAll } from "./task-files.ts";
import {
  type ByteSpan,
  type PieceLayout,
  pieceSpan,
  piecesCovering,
} from "@lacewing/contracts/pieces.ts";

interface WriteInFlight {
  readonly start: number;
  readonly end: number;
  readonly done: Promise<unknown>;
}

/** The writes of one task that the kernel has not finished: a digest taken meanwhile would be of neither state. */
export class WritesInFlight {
  readonly #writes = new Set<WriteInFlight>();

  get count(): number {
    return this.#writes.size;
  }

  /** Settles as `writing` does. */
  async track(start: number, end: number, writing: Promise<void>): Promise<void> {
    const write = { start, end, done: writing };
    this.#writes.add(write);
    try {
      await writing;
    } finally {
      this.#writes.delete(write);
    }
  }

  /** Resolves when no write that began before touches [start, end) any more, whatever came of it. */
  async settled(start: number, end: number): Promise<void> {
    const touching = [...this.#writes].filter((write) => write.start < end && write.end > start);
    await Promise.allSettled(touching.map((write) => write.done));
  }
}

/** The parts of a span that lie in pieces that may be written, joined where they touch. */
export function openSpans(
  layout: PieceLayout,
  { start, end }: ByteSpan,
  isClosed: (pieceIndex: number) => boolean,
): readonly ByteSpan[] {
  const spans: { start: number; end: number }[] = [];
  const pieces = piecesCovering(layout, { start, end });
  for (let pieceIndex = pieces.start; pieceIndex < pieces.end; pieceIndex++) {
    if (isClosed(pieceIndex)) continue;
    const piece = pieceSpan(layout, pieceIndex);
    const part = { start: Math.max(start, piece.start), end: Math.min(end, piece.end) };
    const last = spans.at(-1);
    if (last?.end === part.start) last.end = part.end;
    else spans.push(part);
  }
  return spans;
}

/** Writes the parts of a buffer that belong to these spans; its first byte lies at `offset` of the file. */
export async function writeSpans(
  disk: Disk,
  fd: number,
  { buffer, offset }: { readonly buffer: Uint8Array; readonly offset: number },
  spans: readonly ByteSpan[],
): Promise<void> {
  for (const { start, end } of spans) {
    await writeAll(disk, fd, buffer.subarray(start - offset, end - offset), start);
  }
}
