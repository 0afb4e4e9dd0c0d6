import { createCipheriv, createHash } from "node:crypto";
import { open, stat } from "node:fs/promises";
import { z } from "zod";

/** What a test origin serves, described so that it can be sent to another process. */
export const contentSchema = z.discriminatedUnion("kind", [
  /** Pseudo-random bytes, the same for the same seed; made as they are read, so a gigabyte needs no disk. */
  z.object({
    kind: z.literal("seeded"),
    seed: z.string(),
    sizeBytes: z.number().int().min(0),
  }),
  z.object({ kind: z.literal("file"), path: z.string(), sizeBytes: z.number().int().min(0) }),
  z.object({ kind: z.literal("text"), text: z.string() }),
]);
export type Content = Readonly<z.infer<typeof contentSchema>>;

/** Random access to a content's bytes. */
export interface ContentReader {
  readonly sizeBytes: number;
  /** Exactly `lengthBytes` bytes from `offset`; the caller stays inside the content. */
  read(offset: number, lengthBytes: number): Promise<Buffer>;
  [Symbol.asyncDispose](): Promise<void>;
}

const READ_BYTES = 2 ** 20;
const CIPHER_BLOCK_BYTES = 16;
/** The plaintext of the key stream; longer reads are put together from several. */
const ZEROS = Buffer.alloc(READ_BYTES + CIPHER_BLOCK_BYTES);

export function seededContent(seed: string, sizeBytes: number): Content {
  return { kind: "seeded", seed, sizeBytes };
}

export function textContent(text: string): Content {
  return { kind: "text", text };
}

/** A file on disk with its present size. */
export async function fileContent(path: string): Promise<Content> {
  return { kind: "file", path, sizeBytes: (await stat(path)).size };
}

export function sizeOf(content: Content): number {
  return content.kind === "text" ? Buffer.byteLength(content.text) : content.sizeBytes;
}

/** @throws when the content is a file that cannot be opened. */
export async function openContent(content: Content): Promise<ContentReader> {
  switch (content.kind) {
    case "seeded":
      return {
        sizeBytes: content.sizeBytes,
        read: async (offset, lengthBytes) => seededBytes(content.seed, offset, lengthBytes),
        [Symbol.asyncDispose]: async () => {},
      };
    case "text":
      return bufferReader(Buffer.from(content.text));
    case "file": {
      const handle = await open(content.path);
      return {
        sizeBytes: content.sizeBytes,
        read: async (offset, lengthBytes) => {
          const buffer = Buffer.allocUnsafe(lengthBytes);
          const { bytesRead } = await handle.read(buffer, 0, lengthBytes, offset);
          if (bytesRead !== lengthBytes) {
            throw new RangeError(`${content.path}: ${bytesRead} of ${lengthBytes} bytes read`);
          }
          return buffer;
        },
        [Symbol.asyncDispose]: async () => handle.close(),
      };
    }
  }
}

export function bufferReader(buffer: Buffer): ContentReader {
  return {
    sizeBytes: buffer.length,
    read: async (offset, lengthBytes) => buffer.subarray(offset, offset + lengthBytes),
    [Symbol.asyncDispose]: async () => {},
  };
}

/** The whole content in memory; for contents of test size. */
export async function bytesOf(content: Content): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of partsOf(content)) parts.push(part);
  return Buffer.concat(parts);
}

/** SHA-256 of the whole content, lower-case hex: the oid that Git LFS gives it. */
export async function sha256Of(content: Content): Promise<string> {
  const hash = createHash("sha256");
  for await (const part of partsOf(content)) hash.update(part);
  return hash.digest("hex");
}

async function* partsOf(content: Content): AsyncGenerator<Buffer> {
  await using reader = await openContent(content);
  for (let offset = 0; offset < reader.sizeBytes; offset += READ_BYTES) {
    yield await reader.read(offset, Math.min(READ_BYTES, reader.sizeBytes - offset));
  }
}

/** AES-128 in counter mode is random access and runs at memory speed; the seed is the key. */
function seededBytes(seed: string, offset: number, lengthBytes: number): Buffer {
  if (lengthBytes > READ_BYTES) {
    const head = seededBytes(seed, offset, READ_BYTES);
    return Buffer.concat([head, seededBytes(seed, offset + READ_BYTES, lengthBytes - READ_BYTES)]);
  }
  const key = createHash("sha256").update(`content ${seed}`).digest().subarray(0, 16);
  const counter = Buffer.alloc(CIPHER_BLOCK_BYTES);
  counter.writeBigUInt64BE(BigInt(Math.floor(offset / CIPHER_BLOCK_BYTES)), 8);
  const skip = offset % CIPHER_BLOCK_BYTES;
  const stream = createCipheriv("aes-128-ctr", key, counter);
  return stream.update(ZEROS.subarray(0, skip + lengthBytes)).subarray(skip);
}
