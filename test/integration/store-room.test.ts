import { expect, test } from "vitest";
import { createMemoryLog } from "@lacewing/observability/memory-log.ts";
import type { EvictionLimits } from "@lacewing/peer/adapters/piece-store/evictor.ts";
import {
  type DiskPieceStore,
  openPieceStore,
} from "@lacewing/peer/adapters/piece-store/piece-store.ts";
import type { DroppedTask, StoredTask } from "@lacewing/peer/app/ports.ts";
import { type Clock, systemClock } from "@lacewing/runtime/clock.ts";
import { bytesOf, seededContent } from "../support/content.ts";
import { type DiskFault, type DiskStep, FaultyDisk } from "../support/faulty-disk.ts";
import { InlineDigests } from "../support/inline-digests.ts";
import { aTask, fillTask } from "../support/task-builders.ts";
import { makeTempDir } from "../support/temp-dir.ts";

const MIB = 2 ** 20;
const HOUR_MS = 3_600_000;
const SMALL_BYTES = 20 * 1024;

async function startWorld(
  dataDir: string,
  options: {
    readonly quotaBytes?: number;
    readonly eviction?: EvictionLimits;
    readonly faultAt?: (step: DiskStep) => DiskFault | undefined;
  } = {},
) {
  let nowMs = 1_700_000_000_000;
  const clock: Clock = { ...systemClock, now: () => ++nowMs };
  const disk = new FaultyDisk(dataDir, options.faultAt);
  const log = createMemoryLog();
  const { quotaBytes, eviction } = options;
  const digests = new InlineDigests(disk);
  const store = await openPieceStore({ dataDir, quotaBytes, eviction, clock, log, disk, digests });
  const dropped: DroppedTask[] = [];
  store.onDropped((task) => dropped.push(task));
  return {
    store,
    disk,
    log,
    dropped,
    pass: (ms: number) => {
      nowMs += ms;
    },
  };
}

async function held(store: DiskPieceStore, name: string, lengthBytes: number): Promise<StoredTask> {
  const task = await store.create(aTask(name, lengthBytes));
  if (typeof task === "string") throw new RangeError(`refused: ${task}`);
  const unpin = task.pin();
  await fillTask(task, await bytesOf(seededContent(name, lengthBytes)));
  await task.contentDigest();
  await task.markVerified();
  unpin();
  await new Promise((resolve) => setImmediate(resolve));
  return task;
}

function namesOf(store: DiskPieceStore): readonly string[] {
  return Array.from(store.list(), ({ description }) => description.url.split("/").at(-1) ?? "");
}

test("pinned content goes although the disk refuses to unpin it, and the log says so", async () => {
  await using dir = await makeTempDir("room");
  let isFailing = false;
  const faultAt = ({ path }: DiskStep): DiskFault | undefined =>
    isFailing && path.includes("pinned") ? "EIO" : undefined;
  const world = await startWorld(dir.path, { faultAt });
  const { description } = await held(world.store, "pinned", SMALL_BYTES);
  await world.store.pin(description.taskId, true);
  isFailing = true;
  await world.store.remove(description.taskId);
  isFailing = false;
  expect(namesOf(world.store)).toEqual([]);
  expect(world.log.entries.some(({ event }) => event === "store.unpin_failed")).toBe(true);
  await world.store.close();
});

test("content that nobody used for its time to live goes; what is used, or pinned, stays", async () => {
  await using dir = await makeTempDir("room");
  const eviction = { watermarks: { high: 1, low: 1 }, ttlMs: HOUR_MS };
  const world = await startWorld(dir.path, { eviction });
  await held(world.store, "old", MIB);
  const pinned = await held(world.store, "pinned", SMALL_BYTES);
  const used = await held(world.store, "used", MIB);
  await world.store.pin(pinned.description.taskId, true);
  const unpin = used.pin();
  world.pass(2 * HOUR_MS);
  const fresh = await held(world.store, "fresh", SMALL_BYTES);
  await world.store.expire();
  expect(namesOf(world.store)).toEqual(["pinned", "used", "fresh"]);
  expect(world.dropped).toMatchObject([{ reason: "evicted" }]);
  expect(world.store.usage().usedBytes).toBe(MIB + 2 * SMALL_BYTES);
  expect(fresh.held.isFull).toBe(true);
  unpin();
  await world.store.close();
});

test("above the high watermark eviction goes on down to the low one", async () => {
  await using dir = await makeTempDir("room");
  const eviction = { watermarks: { high: 0.8, low: 0.5 }, ttlMs: 0 };
  const world = await startWorld(dir.path, { quotaBytes: 10 * MIB, eviction });
  for (const name of ["a", "b", "c", "d"]) await held(world.store, name, 2 * MIB);
  expect(world.dropped).toEqual([]);
  await held(world.store, "e", 2 * MIB);
  expect(namesOf(world.store)).toEqual(["d", "e"]);
  await world.store.close();
});

test("a pin outlives a restart", async () => {
  await using dir = await makeTempDir("room");
  const before = await startWorld(dir.path, { quotaBytes: 3 * MIB });
  const { description } = await held(before.store, "pinned", 2 * MIB);
  await before.store.pin(description.taskId, true);
  await before.store.close();
  const world = await startWorld(dir.path, { quotaBytes: 3 * MIB });
  expect(world.store.isPinned(description.taskId)).toBe(true);
  expect(await world.store.create(aTask("more", 2 * MIB))).toBe("no_room");
  await world.store.close();
});

test("a disk that others have filled evicts what is idle and takes the write, though the quota had room", async () => {
  await using dir = await makeTempDir("room");
  let isFull = false;
  const world = await startWorld(dir.path, {
    faultAt: ({ name, path }) => {
      if (name === "remove" && path.endsWith(".data")) isFull = false;
      const isWrite = name === "write" || name === "writeSync";
      return isFull && isWrite && path.endsWith(".data") ? "ENOSPC" : undefined;
    },
  });
  await held(world.store, "idle", MIB);
  isFull = true;
  const task = await held(world.store, "wanted", 2 * MIB);
  expect(task.isVerified).toBe(true);
  expect(namesOf(world.store)).toEqual(["wanted"]);
  expect(world.dropped).toMatchObject([{ reason: "evicted" }]);
  const line = world.log.entries.find(({ event }) => event === "store.disk_full");
  expect(line?.fields).toMatchObject({ task: task.description.taskId, evictedCount: 1 });
  await world.store.close();
});

test("a full disk without anything to evict refuses the write, and nothing else", async () => {
  await using dir = await makeTempDir("room");
  const world = await startWorld(dir.path, {
    faultAt: ({ name, path }) =>
      path.endsWith(".data") && (name === "write" || name === "writeSync") ? "ENOSPC" : undefined,
  });
  await expect(held(world.store, "wanted", 2 * MIB)).rejects.toMatchObject({
    code: "store_no_space",
  });
  expect(namesOf(world.store)).toEqual(["wanted"]);
  await world.store.close();
});

test("small content that a full disk refuses is written when something was evicted for it", async () => {
  await using dir = await makeTempDir("room");
  let isFull = false;
  const world = await startWorld(dir.path, {
    faultAt: ({ name, path }) => {
      if (name === "remove" && path.endsWith(".data")) isFull = false;
      return isFull && name === "writeSync" && path.endsWith(".small") ? "ENOSPC" : undefined;
    },
  });
  await held(world.store, "idle", MIB);
  isFull = true;
  const small = await held(world.store, "small", SMALL_BYTES);
  await world.store.get(small.description.taskId)?.idle();
  expect(small.isVerified).toBe(true);
  await world.store.close();
  const again = await startWorld(dir.path);
  expect(namesOf(again.store)).toEqual(["small"]);
  await again.store.close();
});
