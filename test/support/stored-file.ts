import { open, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { runProcessOrThrow } from "./processes.ts";

/** Where a peer keeps the bytes of a task. */
export function storedFileOf(peer: { readonly dataDir: string }, taskId: string): string {
  return join(peer.dataDir, "content", taskId.slice(0, 2), `${taskId}.data`);
}

/** Inverts one byte in place, as a failing disk or a stray program would. The file's times tell of it. */
export async function flipByte(path: string, offset: number): Promise<void> {
  const file = await open(path, "r+");
  try {
    const { buffer } = await file.read(Buffer.alloc(1), 0, 1, offset);
    buffer.writeUInt8(buffer.readUInt8(0) ^ 0xff, 0);
    await file.write(buffer, 0, 1, offset);
  } finally {
    await file.close();
  }
}

/** As {@link flipByte}, but with the file's modification time put back. */
export async function flipByteSilently(path: string, offset: number): Promise<void> {
  // `utimes` of Node rounds to microseconds; `touch -r` keeps the nanoseconds.
  const reference = `${path}.times`;
  await writeFile(reference, "");
  await runProcessOrThrow({ command: "touch", args: ["-r", path, reference] });
  await flipByte(path, offset);
  await runProcessOrThrow({ command: "touch", args: ["-r", reference, path] });
}
