import { copyFile, readdir, rm, stat, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { createMemoryLog } from "@lacewing/observability/memory-log.ts";
import type { Disk } from "@lacewing/peer/adapters/disk/disk.ts";
import { nodeDisk } from "@lacewing/peer/adapters/disk/node-disk.ts";
import {
  openPieceStore,
  type DiskPieceStore,
} from "@lacewing/peer/adapters/piece-store/piece-store.ts";
import type { DroppedTask, StoredTask } from "@lacewing/peer/app/ports.ts";
import { systemClock } from "@lacewing/runtime/clock.ts";
import { bytesOf, seededContent } from "../support/content.ts";
import { flipByte } from "../support/stored-file.ts";
import { aTask, fillTask, sha256Of } from "../support/task-builders.ts";
import { makeTempDir } from "../support/temp-dir.ts";
import { waitFor } from "../support/wait-for.ts";

const LENGTH = 20 * 1024;
const description = aTask("small", LENGTH);
const log = createMemoryLog();

async function opened(dataDir: string, disk = nodeDisk): Promise<DiskPieceStore> {
  return openPieceStore({ dataDir, clock: systemClock, log, hashWorkers: 1, disk });
}

async function created(store: DiskPieceStore, name = "small"): Promise<StoredTask> {
  const task = await store.create(aTask(name, LENGTH));
  if (typeof task === "string") throw new Error(`refused: ${task}`);
  return task;
}

async function filled(store: DiskPieceStore, name = "small"): Promise<StoredTask> {
  const task = await created(store, name);
  await fillTask(task, await bytesOf(seededContent(name, LENGTH)));
  await task.markVerified();
  return task;
}

function pathOf(dataDir: string, name = "small"): string {
  const { taskId } = aTask(name, LENGTH);
  return join(dataDir, "content", taskId.slice(0, 2), `${taskId}.small`);
}

async function filesOf(dataDir: string): Promise<readonly string[]> {
  const names = await readdir(join(dataDir, "content"), { recursive: true });
  return names.filter((name) => name.includes("."));
}

describe("small content", () => {
  test("is one file, written shortly after it was verified and not before", async () => {
    await using dir = await makeTempDir("small");
    const store = await opened(dir.path);
    const task = await created(store);
    await fillTask(task, await bytesOf(seededContent("small", LENGTH)));
    expect(await filesOf(dir.path)).toEqual([]);
    await task.markVerified();
    await waitFor("the file", async () => (await filesOf(dir.path)).length === 1);
    expect((await stat(pathOf(dir.path))).mode & 0o777).toBe(0o600);
    await store.close();
  });

  test("is there after an orderly stop, however soon it came, and is hashed before it is shown", async () => {
    await using dir = await makeTempDir("small");
    const content = await bytesOf(seededContent("small", LENGTH));
    const before = await opened(dir.path);
    const { incarnation } = await filled(before);
    await before.close();
    const store = await opened(dir.path);
    const task = store.get(description.taskId);
    expect(task?.description).toEqual(description);
    expect(task?.incarnation).toBeGreaterThan(incarnation);
    expect([task?.isVerified, task?.held.isFull, task?.offered.isFull]).toEqual([
      true,
      true,
      false,
    ]);
    expect(task?.isProven(0)).toBe(false);
    const read = Buffer.alloc(100);
    await task?.read(read, 50, 100);
    expect(read.equals(content.subarray(50, 150))).toBe(true);
    expect(task?.isProven(0)).toBe(true);
    expect(Buffer.from(task?.digestOf(0) ?? [])).toEqual(sha256Of(content));
    expect(store.usage().usedBytes).toBe(LENGTH);
    await store.close();
  });

  test("is shown from memory as it was hashed, and after a start, or when it is gone, not before it was read", async () => {
    await using dir = await makeTempDir("small");
    const content = await bytesOf(seededContent("small", LENGTH));
    const store = await opened(dir.path);
    const task = await created(store);
    await task.write(content, 0);
    expect(task.inMemory?.()).toBeUndefined();
    await task.commitPiece(0, undefined);
    await task.markVerified();
    expect(content.equals(task.inMemory?.() ?? Buffer.alloc(0))).toBe(true);
    await store.close();
    const again = await opened(dir.path);
    const found: StoredTask | undefined = again.get(description.taskId);
    expect(found?.held.isFull).toBe(true);
    await waitFor("the prover's look", () => found?.offered.isFull === true);
    // The look is at the file: nothing of it stays.
    expect(found?.inMemory?.()).toBeUndefined();
    expect(await found?.prove(0)).toBe(true);
    expect(content.equals(found?.inMemory?.() ?? Buffer.alloc(0))).toBe(true);
    await again.remove(description.taskId);
    expect(found?.inMemory?.()).toBeUndefined();
    await again.close();
  });

  test("with a byte turned over is never shown: it is given up and can be fetched again", async () => {
    await using dir = await makeTempDir("small");
    const before = await opened(dir.path);
    await filled(before);
    await before.close();
    const { size } = await stat(pathOf(dir.path));
    await flipByte(pathOf(dir.path), size - 5);
    const store = await opened(dir.path);
    const dropped: DroppedTask[] = [];
    store.onDropped((task) => dropped.push(task));
    const task = store.get(description.taskId);
    await expect(task?.read(Buffer.alloc(10), 0, 10)).rejects.toMatchObject({
      code: "store_read_failed",
    });
    expect(await task?.prove(0)).toBe(false);
    expect(task?.held.count).toBe(0);
    await waitFor("the loss to be told", () => dropped.length === 1);
    expect(dropped[0]).toMatchObject({ reason: "damaged", incarnation: task?.incarnation });
    expect(await filesOf(dir.path)).toEqual([]);
    if (task !== undefined) await fillTask(task, await bytesOf(seededContent("small", LENGTH)));
    expect(task?.isProven(0)).toBe(true);
    await store.close();
  });

  test("in a file that is cut anywhere, or whose head is damaged, is removed at the next start", async () => {
    await using dir = await makeTempDir("small");
    const before = await opened(dir.path);
    const names = ["cut-0", "cut-10", "cut-100", "cut-end", "head", "sound"];
    for (const name of names) await filled(before, name);
    await before.close();
    const { size } = await stat(pathOf(dir.path, "cut-end"));
    for (const [name, length] of [
      ["cut-0", 0],
      ["cut-10", 10],
      ["cut-100", 100],
      ["cut-end", size - 1],
    ] as const) {
      await truncate(pathOf(dir.path, name), length);
    }
    await flipByte(pathOf(dir.path, "head"), 30);
    const store = await opened(dir.path);
    expect([...store.list()].map((task) => task.description.url)).toEqual([
      "http://origin.test/sound",
    ]);
    await store.close();
    expect(await filesOf(dir.path)).toHaveLength(1);
  });

  test("that is evicted or removed leaves no file, also when it was about to be written", async () => {
    await using dir = await makeTempDir("small");
    const store = await opened(dir.path);
    await filled(store);
    await store.remove(description.taskId);
    await filled(store, "other");
    await waitFor("the other's file", async () => (await filesOf(dir.path)).length > 0);
    await store.remove(aTask("other", LENGTH).taskId);
    expect(await filesOf(dir.path)).toEqual([]);
    await store.close();
  });

  test("that cannot be written stays in memory, says so in the log, and is written when there is a way again", async () => {
    await using dir = await makeTempDir("small");
    const store = await opened(dir.path);
    const dropped: DroppedTask[] = [];
    store.onDropped((task) => dropped.push(task));
    const task = await created(store);
    // A file where its folder should be.
    const folder = join(dir.path, "content", description.taskId.slice(0, 2));
    await writeFile(folder, "in the way");
    const content = await bytesOf(seededContent("small", LENGTH));
    await fillTask(task, content);
    await task.markVerified();
    await waitFor("the failure to be told", () =>
      log.entries.some(({ event }) => event === "store.small_write_failed"),
    );
    const read = Buffer.alloc(LENGTH);
    await task.read(read, 0, LENGTH);
    expect(read.equals(content)).toBe(true);
    expect(dropped).toEqual([]);
    await rm(folder);
    await store.close();
    expect(await filesOf(dir.path)).toHaveLength(1);
  });

  test("that nobody finished keeps no bytes in memory once nobody waits for it", async () => {
    await using dir = await makeTempDir("small");
    const store = await opened(dir.path);
    const task = await created(store);
    const unpin = task.pin();
    await task.write(Buffer.alloc(100, 7), 0);
    unpin();
    await new Promise((resolve) => setImmediate(resolve));
    const read = Buffer.alloc(100);
    await expect(task.read(read, 0, 100)).rejects.toMatchObject({ code: "store_read_failed" });
    await store.close();
  });
});

test("of a task that is there in both forms the small one goes, and a disk that keeps it keeps no store from opening", async () => {
  await using dir = await makeTempDir("doubled");
  await using other = await makeTempDir("small");
  const small = await opened(other.path);
  await filled(small);
  await small.close();
  const store = await opened(dir.path);
  const large = await store.create(aTask("small", 2 ** 20));
  if (typeof large === "string") throw new Error(large);
  await fillTask(large, await bytesOf(seededContent("large", 2 ** 20)));
  await large.markVerified();
  await store.close();
  await copyFile(pathOf(other.path), pathOf(dir.path));

  const disk: Disk = { ...nodeDisk, remove: async () => Promise.reject(new Error("EIO")) };
  const failing = await opened(dir.path, disk);
  expect(failing.get(description.taskId)?.description.lengthBytes).toBe(2 ** 20);
  await failing.close();
  expect(log.entries.map(({ event }) => event)).toContain("store.remove_failed");
  const healthy = await opened(dir.path);
  expect(healthy.get(description.taskId)?.isVerified).toBe(true);
  await healthy.close();
  expect((await filesOf(dir.path)).some((name) => name.endsWith(".small"))).toBe(false);
});
