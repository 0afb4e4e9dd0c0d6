import {
  chmod,
  chown,
  mkdir,
  readdir,
  rm,
  stat,
  truncate,
  utimes,
  writeFile,
} from "node:fs/promises";
import { openSync, closeSync, readSync, writeSync } from "node:fs";
import { spawnSync } from "node:child_process";
import { dirname, join } from "node:path";
import { describe, expect, test } from "vitest";
import { createMemoryLog } from "@lacewing/observability/memory-log.ts";
import {
  openPieceStore,
  type DiskPieceStore,
} from "@lacewing/peer/adapters/piece-store/piece-store.ts";
import type { DroppedTask, TaskDescription } from "@lacewing/peer/app/ports.ts";
import { systemClock } from "@lacewing/runtime/clock.ts";
import { pieceStoreContract } from "../contract/piece-store-contract.ts";
import { bytesOf, seededContent } from "../support/content.ts";
import { aTask, fillTask, sha256Of } from "../support/task-builders.ts";
import { makeTempDir } from "../support/temp-dir.ts";

const MIB = 2 ** 20;

pieceStoreContract("piece store on disk", async (quotaBytes) => {
  const dir = await makeTempDir("store");
  const store = await opened(dir.path, { quotaBytes });
  return {
    store,
    close: async () => {
      await store.close();
      await dir[Symbol.asyncDispose]();
    },
  };
});

const log = createMemoryLog();

async function opened(dataDir: string, options: { readonly quotaBytes?: number } = {}) {
  return openPieceStore({ dataDir, clock: systemClock, log, hashWorkers: 1, ...options });
}

async function created(store: DiskPieceStore, description: TaskDescription) {
  const task = await store.create(description);
  if (typeof task === "string") throw new Error(`refused: ${task}`);
  return task;
}

function pathOf(dataDir: string, description: TaskDescription, kind: "data" | "journal") {
  const { taskId } = description;
  return join(dataDir, "content", taskId.slice(0, 2), `${taskId}.${kind}`);
}

/** Turns one byte of a file over, as a failing disk or a stranger would. */
function flipByte(path: string, offset: number): void {
  const fd = openSync(path, "r+");
  const byte = Buffer.alloc(1);
  readSync(fd, byte, 0, 1, offset);
  byte[0] = (byte[0] ?? 0) ^ 0xff;
  writeSync(fd, byte, 0, 1, offset);
  closeSync(fd);
}

describe("after a restart", () => {
  const description = aTask("a", 3 * MIB + 5);

  test("pieces are held but neither proven nor offered, proving one hashes it, and the task is as verified as it was", async () => {
    await using dir = await makeTempDir("store");
    const content = await bytesOf(seededContent("a", description.lengthBytes));
    const before = await opened(dir.path);
    const filled = await created(before, description);
    await fillTask(filled, content);
    await filled.markVerified();
    const { incarnation } = filled;
    await before.close();

    const store = await opened(dir.path);
    const task = store.get(description.taskId);
    expect(task?.description).toEqual(description);
    expect(task?.incarnation).toBeGreaterThan(incarnation);
    expect(task?.held.isFull).toBe(true);
    expect(task?.isVerified).toBe(true);
    expect(task?.isProven(2)).toBe(false);
    expect(task?.offered.count).toBe(0);
    expect(await task?.prove(2)).toBe(true);
    expect(task?.isProven(2)).toBe(true);
    expect(await task?.contentDigest()).toBe(`sha256:${sha256Of(content).toString("hex")}`);
    expect(store.usage().usedBytes).toBe(description.lengthBytes);
    await store.close();
  });

  test("a journal torn in its last record loses that record only, and takes new ones", async () => {
    await using dir = await makeTempDir("store");
    const content = await bytesOf(seededContent("a", description.lengthBytes));
    const before = await opened(dir.path);
    await fillTask(await created(before, description), content, [0, 1]);
    await before.close();
    const journal = pathOf(dir.path, description, "journal");
    await truncate(journal, (await stat(journal)).size - 3);

    const between = await opened(dir.path);
    const torn = between.get(description.taskId);
    expect([...(torn?.held ?? [])]).toEqual([0]);
    if (torn !== undefined) await fillTask(torn, content, [1, 3]);
    await between.close();

    const store = await opened(dir.path);
    expect([...(store.get(description.taskId)?.held ?? [])]).toEqual([0, 1, 3]);
    await store.close();
  });

  test("a piece whose data did not reach the disk is given up when it is proven", async () => {
    await using dir = await makeTempDir("store");
    const content = await bytesOf(seededContent("a", description.lengthBytes));
    const before = await opened(dir.path);
    const filled = await created(before, description);
    await fillTask(filled, content);
    await filled.markVerified();
    await before.close();
    flipByte(pathOf(dir.path, description, "data"), MIB + 17);

    const store = await opened(dir.path);
    const dropped: DroppedTask[] = [];
    store.onDropped((task) => dropped.push(task));
    const task = store.get(description.taskId);
    expect(await task?.prove(0)).toBe(true);
    expect(await task?.prove(1)).toBe(false);
    expect([...(task?.held ?? [])]).toEqual([0, 2, 3]);
    expect(task?.isVerified).toBe(false);
    expect(dropped).toEqual([
      { taskId: description.taskId, incarnation: task?.incarnation, reason: "damaged" },
    ]);
    expect(task?.incarnation).toBeGreaterThan(filled.incarnation);
    await store.close();

    const again = await opened(dir.path);
    expect(again.get(description.taskId)?.incarnation).toBeGreaterThan(
      task?.incarnation ?? Infinity,
    );
    expect([...(again.get(description.taskId)?.held ?? [])]).toEqual([0, 2, 3]);
    await again.close();
  });

  test("content with a damaged piece has no digest, and the piece is given up", async () => {
    await using dir = await makeTempDir("store");
    const content = await bytesOf(seededContent("a", description.lengthBytes));
    const before = await opened(dir.path);
    await fillTask(await created(before, description), content);
    await before.close();
    flipByte(pathOf(dir.path, description, "data"), 2 * MIB);

    const store = await opened(dir.path);
    const task = store.get(description.taskId);
    await expect(task?.contentDigest()).rejects.toMatchObject({ code: "store_piece_damaged" });
    expect([...(task?.held ?? [])]).toEqual([0, 1, 3]);
    await store.close();
  });

  test("data without a journal, a journal without data and a data file of another length are removed", async () => {
    await using dir = await makeTempDir("store");
    const names = ["no-journal", "no-data", "short", "sound"];
    const before = await opened(dir.path);
    for (const name of names) await created(before, aTask(name, MIB));
    await before.close();
    await rm(pathOf(dir.path, aTask("no-journal", MIB), "journal"));
    await rm(pathOf(dir.path, aTask("no-data", MIB), "data"));
    await truncate(pathOf(dir.path, aTask("short", MIB), "data"), 99);

    const store = await opened(dir.path);
    expect([...store.list()].map((task) => task.description.url)).toEqual([
      "http://origin.test/sound",
    ]);
    await store.close();
    const files = await readdir(join(dir.path, "content"), { recursive: true });
    expect(files.filter((name) => name.includes("."))).toHaveLength(2);
  });

  test("a task that was removed before the restart gets a larger incarnation when it comes back", async () => {
    await using dir = await makeTempDir("store");
    const before = await opened(dir.path);
    const dropped: DroppedTask[] = [];
    before.onDropped((task) => dropped.push(task));
    await created(before, description);
    await before.remove(description.taskId);
    await before.close();
    const store = await opened(dir.path);
    const back = await created(store, description);
    expect(back.incarnation).toBeGreaterThan(dropped[0]?.incarnation ?? Infinity);
    await store.close();
  });
});

describe("a stranger who writes to a task's file", () => {
  test("is noticed at the next use: nothing is proven any more", async () => {
    await using dir = await makeTempDir("store");
    const description = aTask("a", 2 * MIB);
    const store = await opened(dir.path);
    const task = await created(store, description);
    await fillTask(task, await bytesOf(seededContent("a", 2 * MIB)));
    await new Promise((resolve) => setImmediate(resolve));
    task.pin()();
    expect(task.isProven(0)).toBe(true);
    const data = pathOf(dir.path, description, "data");
    flipByte(data, 5);
    await utimes(data, 1_800_000_000, 1_800_000_000);
    const unpin = task.pin();
    expect(task.isProven(0)).toBe(false);
    expect(await task.prove(0)).toBe(false);
    expect(await task.prove(1)).toBe(true);
    unpin();
    await store.close();
  });
});

describe("writers of the same piece", () => {
  test("a wrong copy that is written while the right one is being committed does not get into the piece", async () => {
    await using dir = await makeTempDir("store");
    const content = await bytesOf(seededContent("a", 4 * MIB));
    const store = await opened(dir.path);
    const task = await created(store, aTask("a", 4 * MIB, { pieceLengthBytes: 4 * MIB }));
    await task.write(content, 0);
    const committing = task.commitPiece(0, sha256Of(content));
    await task.write(Buffer.alloc(4 * MIB, 0xee), 0);
    expect((await committing).ok).toBe(true);
    expect(await task.recheck([0])).toEqual([]);
    await store.close();
  });

  test("a commit waits for writes of its piece that are under way", async () => {
    await using dir = await makeTempDir("store");
    const content = await bytesOf(seededContent("a", 4 * MIB));
    const store = await opened(dir.path);
    const task = await created(store, aTask("a", 4 * MIB, { pieceLengthBytes: 4 * MIB }));
    const writing = Array.from({ length: 16 }, async (_, part) =>
      task.write(content.subarray((part * MIB) / 4, ((part + 1) * MIB) / 4), (part * MIB) / 4),
    );
    expect((await task.commitPiece(0, sha256Of(content))).ok).toBe(true);
    await Promise.all(writing);
    await store.close();
  });
});

describe("the data directory", () => {
  test("is used by one store at a time, and free again after it is closed", async () => {
    await using dir = await makeTempDir("store");
    const store = await opened(dir.path);
    await expect(opened(dir.path)).rejects.toThrow(`in use by process ${process.pid}`);
    await store.close();
    await (await opened(dir.path)).close();
  });

  test("is free when the process that had it is gone, or its number is another's now", async () => {
    await using dir = await makeTempDir("store");
    const { pid } = spawnSync("true");
    await writeFile(dir.join("store.lock"), `${pid} 123-boot`);
    await (await opened(dir.path)).close();
    await writeFile(dir.join("store.lock"), `${process.pid} 1-other-boot`);
    const store = await opened(dir.path);
    expect([...store.list()]).toEqual([]);
    await store.close();
  });

  test.skipIf(process.getuid?.() !== 0)("of another user is refused", async () => {
    await using dir = await makeTempDir("store");
    await mkdir(dir.join("theirs"));
    await chown(dir.join("theirs"), 65534, 65534);
    await expect(opened(dir.join("theirs"))).rejects.toThrow("belongs to user 65534");
  });

  test("shows its content to nobody else", async () => {
    await using dir = await makeTempDir("store");
    await mkdir(dir.join("content"), { mode: 0o755 });
    await chmod(dir.join("content"), 0o755);
    const description = aTask("a", MIB);
    const store = await opened(dir.path);
    await created(store, description);
    const data = pathOf(dir.path, description, "data");
    for (const path of [dir.join("content"), dirname(data)]) {
      expect((await stat(path)).mode & 0o777).toBe(0o700);
    }
    expect((await stat(data)).mode & 0o777).toBe(0o600);
    expect((await stat(pathOf(dir.path, description, "journal"))).mode & 0o777).toBe(0o600);
    await store.close();
  });

  test("takes a content's blocks only as they are written", async () => {
    await using dir = await makeTempDir("store");
    const store = await opened(dir.path);
    const description = aTask("sparse", 512 * MIB);
    await created(store, description);
    const { size, blocks } = await stat(pathOf(dir.path, description, "data"));
    expect(size).toBe(512 * MIB);
    expect(blocks * 512).toBeLessThan(MIB);
    await store.close();
  });
});
