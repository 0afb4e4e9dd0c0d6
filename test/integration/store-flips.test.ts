import { join } from "node:path";
import { setImmediate as nextTurn } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { createMemoryLog } from "@lacewing/observability/memory-log.ts";
import {
  type DiskPieceStore,
  openPieceStore,
} from "@lacewing/peer/adapters/piece-store/piece-store.ts";
import type { DroppedTask, StoredTask, TaskDescription } from "@lacewing/peer/app/ports.ts";
import { type Clock, systemClock } from "@lacewing/runtime/clock.ts";
import { bytesOf, seededContent } from "../support/content.ts";
import { FaultyDisk } from "../support/faulty-disk.ts";
import { InlineDigests } from "../support/inline-digests.ts";
import { aTask, fillTask } from "../support/task-builders.ts";
import { makeTempDir } from "../support/temp-dir.ts";
import { waitFor } from "../support/wait-for.ts";

const MIB = 2 ** 20;
const LARGE = aTask("large", 3 * MIB);
const SMALL = aTask("small", 20 * 1024);
const MINUTE_MS = 60_000;

/** A store on a disk whose bytes can rot: nothing about a file tells of it. */
async function startWorld(dataDir: string, { scrubRate = 0 } = {}) {
  const disk = new FaultyDisk(dataDir);
  const log = createMemoryLog();
  let laterMs = 0;
  const clock: Clock = {
    ...systemClock,
    monotonic: () => systemClock.monotonic() + laterMs,
    sleep: async (_ms, signal) => {
      await nextTurn();
      signal?.throwIfAborted();
    },
  };
  const digests = new InlineDigests(disk);
  const store = await openPieceStore({ dataDir, clock, log, disk, digests, scrubRate });
  const dropped: DroppedTask[] = [];
  store.onDropped((task) => dropped.push(task));
  return {
    store,
    disk,
    log,
    dropped,
    pass: (ms: number) => {
      laterMs += ms;
    },
  };
}

function fileOf(dataDir: string, { taskId }: TaskDescription, kind: "data" | "small"): string {
  return join(dataDir, "content", taskId.slice(0, 2), `${taskId}.${kind}`);
}

async function held(store: DiskPieceStore, description: TaskDescription): Promise<StoredTask> {
  const task = await store.create(description);
  if (typeof task === "string") throw new RangeError(`refused: ${task}`);
  const name = description.url.split("/").at(-1) ?? "";
  await fillTask(task, await bytesOf(seededContent(name, description.lengthBytes)));
  await task.contentDigest();
  await task.markVerified();
  await store.get(description.taskId)?.idle();
  return task;
}

describe("a bit that flips on the disk", () => {
  test("is found before its piece is served again, once the piece may have left the memory", async () => {
    await using dir = await makeTempDir("flips");
    const world = await startWorld(dir.path);
    const task = await held(world.store, LARGE);
    world.pass(4 * MINUTE_MS);
    expect(task.isProven(1)).toBe(true);
    await task.read(Buffer.alloc(10), MIB, 10);
    world.pass(4 * MINUTE_MS);
    // Read four minutes ago: it is in memory. Its neighbours were not read for eight.
    expect([0, 1, 2].map((index) => task.isProven(index))).toEqual([false, true, false]);
    world.disk.flip(fileOf(dir.path, LARGE, "data"), 2 * MIB + 5);
    expect(await task.prove(0)).toBe(true);
    expect(await task.prove(2)).toBe(false);
    expect([...task.held]).toEqual([0, 1]);
    expect([...task.offered]).toEqual([0, 1]);
    expect(task.isVerified).toBe(false);
    expect(world.dropped).toMatchObject([{ reason: "damaged", incarnation: task.incarnation }]);
    const line = world.log.entries.find(({ event }) => event === "store.pieces_damaged");
    expect(line?.fields).toMatchObject({ task: LARGE.taskId, pieceIndexes: [2] });
    await world.store.close();
  });

  test("is found by the slow rounds, though nobody asks for its piece", async () => {
    await using dir = await makeTempDir("flips");
    const world = await startWorld(dir.path, { scrubRate: MIB });
    const task = await held(world.store, LARGE);
    world.disk.flip(fileOf(dir.path, LARGE, "data"), MIB + 5);
    await waitFor("the loss to be told", () => world.dropped.length === 1);
    expect([...task.held]).toEqual([0, 2]);
    expect([...task.offered]).toEqual([0, 2]);
    await world.store.close();
  });

  test("in a small file is mended from memory, when the content is there", async () => {
    await using dir = await makeTempDir("flips");
    const world = await startWorld(dir.path);
    const task = await held(world.store, SMALL);
    world.disk.flip(fileOf(dir.path, SMALL, "small"), SMALL.lengthBytes);
    expect(await task.recheck([0])).toEqual([]);
    await world.store.close();
    const again = await startWorld(dir.path);
    await again.store.caughtUp();
    expect(again.store.get(SMALL.taskId)?.offered.isFull).toBe(true);
    await again.store.close();
  });

  test.each([
    { description: LARGE, kind: "data", at: 2 * MIB + 5, left: [0, 1] },
    { description: SMALL, kind: "small", at: SMALL.lengthBytes, left: [] },
  ] as const)(
    "in a .$kind file while the host is down is never offered, and never served",
    async ({ description, kind, at, left }) => {
      await using dir = await makeTempDir("flips");
      const before = await startWorld(dir.path);
      await held(before.store, description);
      await before.store.close();
      before.disk.flip(fileOf(dir.path, description, kind), at);

      const world = await startWorld(dir.path);
      const task = world.store.get(description.taskId);
      const offers: number[] = [];
      world.store.onOffered(() => offers.push(...(task?.offered ?? [])));
      expect(task?.held.isFull).toBe(true);
      expect(task?.offered.count).toBe(0);
      await world.store.caughtUp();
      expect([...new Set(offers)]).toEqual(left);
      expect([...(task?.held ?? [])]).toEqual(left);
      await waitFor("the loss to be told", () => world.dropped.length > 0);
      expect(world.dropped).toMatchObject([{ taskId: description.taskId, reason: "damaged" }]);
      await world.store.close();
    },
  );
});
