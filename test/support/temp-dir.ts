import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A directory that goes away with its scope: `await using dir = await makeTempDir("clone")`. */
export interface TempDir {
  readonly path: string;
  /** A path inside. */
  join(...parts: readonly string[]): string;
  /** Leaves the directory where it is, for somebody to look at. */
  keep(): void;
  [Symbol.asyncDispose](): Promise<void>;
}

/** Short, because a unix socket inside may need a path of at most 107 bytes. Follows `TMPDIR`. */
export async function makeTempDir(purpose: string): Promise<TempDir> {
  const path = await mkdtemp(join(tmpdir(), `lw-${purpose}-`));
  let isKept = false;
  return {
    path,
    join: (...parts) => join(path, ...parts),
    keep: () => {
      isKept = true;
    },
    [Symbol.asyncDispose]: async () => {
      // A process that is just ending may still drop a file into it: a few more tries.
      if (!isKept) await rm(path, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}
