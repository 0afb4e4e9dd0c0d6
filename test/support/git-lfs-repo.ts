import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { messageOf } from "@lacewing/runtime/errors.ts";
import { seededContent } from "./content.ts";
import { gitEnvironment } from "./git-client.ts";
import type { LfsObject, LfsOrigin } from "./lfs-origin.ts";
import { runProcessOrThrow } from "./processes.ts";

/** A file of the repository whose content is an LFS object. */
export interface LfsFile extends LfsObject {
  /** Inside the repository, with `/`. */
  readonly path: string;
}

/** A bare repository that git can clone by its path; its LFS objects lie at an origin. */
export interface LfsRepo {
  readonly path: string;
  /** Name in `lfs.url`. */
  readonly name: string;
  readonly files: readonly LfsFile[];
}

/** A file that a clone should have and has not. */
export interface FileMismatch {
  readonly path: string;
  readonly reason: string;
}

/** Contents are hashed a few at a time: hashing is the cost, and the pool has four threads. */
const HASH_CONCURRENCY = 4;

/**
 * Makes a bare repository of LFS pointers and offers the objects at the origin. `git lfs push` has no part in it:
 * pointers are written as https://github.com/git-lfs/git-lfs/blob/v3.3.0/docs/spec.md has them.
 *
 * @param request.folder where `<name>.git` is made
 */
export async function makeLfsRepo(request: {
  readonly folder: string;
  readonly name: string;
  readonly origin: LfsOrigin;
  readonly files: readonly {
    readonly path: string;
    readonly sizeBytes: number;
    readonly seed: string;
  }[];
}): Promise<LfsRepo> {
  const path = join(request.folder, `${request.name}.git`);
  const files: LfsFile[] = [];
  for (const { path: filePath, sizeBytes, seed } of request.files) {
    const object = await request.origin.addObject(seededContent(seed, sizeBytes));
    files.push({ path: filePath, ...object });
  }
  const env = gitEnvironment({ home: request.folder });
  await runProcessOrThrow({
    command: "git",
    args: ["init", "--quiet", "--bare", "--initial-branch=main", path],
    env,
  });
  await runProcessOrThrow({
    command: "git",
    args: ["-C", path, "fast-import", "--quiet"],
    env,
    input: fastImportOf(files),
  });
  return { path, name: request.name, files };
}

export function pointerOf(object: LfsObject): string {
  return `version https://git-lfs.github.com/spec/v1\noid sha256:${object.oid}\nsize ${object.sizeBytes}\n`;
}

/** Compares every LFS file of a working tree with its oid, bit for bit. Empty when all is right. */
export async function verifyClone(
  repo: LfsRepo,
  workTree: string,
): Promise<readonly FileMismatch[]> {
  const mismatches: FileMismatch[] = [];
  const queue = [...repo.files];
  const worker = async () => {
    for (let file = queue.shift(); file !== undefined; file = queue.shift()) {
      const reason = await mismatchOf(join(workTree, file.path), file.oid);
      if (reason !== undefined) mismatches.push({ path: file.path, reason });
    }
  };
  await Promise.all(Array.from({ length: HASH_CONCURRENCY }, worker));
  return mismatches;
}

async function mismatchOf(path: string, oid: string): Promise<string | undefined> {
  const hash = createHash("sha256");
  try {
    await pipeline(createReadStream(path, { highWaterMark: 2 ** 20 }), hash);
  } catch (error) {
    return messageOf(error);
  }
  const found = hash.digest("hex");
  return found === oid ? undefined : `sha256 is ${found}, the oid is ${oid}`;
}

/** One commit with `.gitattributes` and the pointers, in the language of `git fast-import`. */
function fastImportOf(files: readonly LfsFile[]): string {
  const attributes = files
    .map((file) => `/${file.path} filter=lfs diff=lfs merge=lfs -text\n`)
    .join("");
  const tree = [
    { path: ".gitattributes", text: attributes },
    ...files.map((file) => ({ path: file.path, text: pointerOf(file) })),
  ];
  const message = "Add large files\n";
  const author = "Lacewing Test <test@lacewing.invalid> 1703143864 +0000";
  return [
    `commit refs/heads/main\nauthor ${author}\ncommitter ${author}\n${dataOf(message)}`,
    ...tree.map(({ path, text }) => `M 100644 inline ${path}\n${dataOf(text)}`),
    "done\n",
  ].join("");
}

function dataOf(text: string): string {
  return `data ${Buffer.byteLength(text)}\n${text}\n`;
}
