// oxlint-disable max-lines-per-function, vitest/valid-title -- a suite, named by who runs it
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type {
  DroppedTask,
  PieceStore,
  StoredTask,
  TaskDescription,
} from "@lacewing/peer/app/ports.ts";
import { bytesOf, seededContent } from "../support/content.ts";
import { aTask, fillTask, sha256Of } from "../support/task-builders.ts";

const MIB = 2 ** 20;
/** Room for three contents of 2 MiB and a bit. */
const QUOTA_BYTES = 7 * MIB;

/** A store of {@link QUOTA_BYTES} that is closed with its scope. */
export type OpenStore = () => Promise<{ readonly store: PieceStore; close(): Promise<void> }>;

/** What every {@link PieceStore} must do. */
export function pieceStoreContract(
  name: string,
  quotaStore: (quotaBytes: number) => ReturnType<OpenStore>,
) {
  describe(name, () => {
    let store: PieceStore;
    let opened: Awaited<ReturnType<OpenStore>>;
    let dropped: DroppedTask[];

    beforeEach(async () => {
      opened = await quotaStore(QUOTA_BYTES);
      store = opened.store;
      dropped = [];
      store.onDropped((task) => dropped.push(task));
    });
    afterEach(async () => opened.close());

    async function created(description: TaskDescription): Promise<StoredTask> {
      const task = await store.create(description);
      if (typeof task === "string") throw new Error(`refused: ${task}`);
      return task;
    }

    test("a piece is held and proven once it is committed, and its bytes read back", async () => {
      const content = await bytesOf(seededContent("a", 2 * MIB + 77));
      const task = await created(aTask("a", content.length));
      await fillTask(task, content, [1]);
      expect([...task.held]).toEqual([1]);
      expect(task.isProven(1)).toBe(true);
      expect(Buffer.from(task.digestOf(1) ?? [])).toEqual(sha256Of(content.subarray(MIB, 2 * MIB)));
      const read = Buffer.alloc(1000);
      await task.read(read, MIB + 5, 1000);
      expect(read.equals(content.subarray(MIB + 5, MIB + 1005))).toBe(true);
    });

    test("a piece whose bytes do not have the expected digest is not held", async () => {
      const task = await created(aTask("a", MIB));
      await task.write(Buffer.alloc(MIB, 1), 0);
      const outcome = await task.commitPiece(0, sha256Of(Buffer.alloc(MIB, 2)));
      expect(outcome.ok).toBe(false);
      expect(Buffer.from(outcome.sha256)).toEqual(sha256Of(Buffer.alloc(MIB, 1)));
      expect(task.held.count).toBe(0);
      expect(task.digestOf(0)).toBeUndefined();
    });

    test("a piece without an expected digest is held with the digest it has", async () => {
      const task = await created(aTask("a", 10));
      await task.write(Buffer.alloc(10, 1), 0);
      expect((await task.commitPiece(0, undefined)).ok).toBe(true);
      expect(Buffer.from(task.digestOf(0) ?? [])).toEqual(sha256Of(Buffer.alloc(10, 1)));
    });

    test("a write that touches a held piece leaves it as it is and writes the rest", async () => {
      const content = await bytesOf(seededContent("a", 2 * MIB));
      const task = await created(aTask("a", content.length));
      await fillTask(task, content, [0]);
      await task.write(Buffer.alloc(20, 0xff), MIB - 10);
      const read = Buffer.alloc(20);
      await task.read(read, MIB - 10, 20);
      expect(read.subarray(0, 10).equals(content.subarray(MIB - 10, MIB))).toBe(true);
      expect(read.subarray(10).equals(Buffer.alloc(10, 0xff))).toBe(true);
    });

    test("the digest of the whole content is the same in whatever order pieces came", async () => {
      const content = await bytesOf(seededContent("a", 2 * MIB + 77));
      for (const [at, order] of [
        [0, 1, 2],
        [2, 1, 0],
        [1, 0, 2],
      ].entries()) {
        const task = await created(aTask(`a${at}`, content.length));
        await fillTask(task, content, order);
        expect(await task.contentDigest()).toBe(`sha256:${sha256Of(content).toString("hex")}`);
      }
    });

    test("a wrong piece that was refused leaves no mark on the digest of the whole", async () => {
      const content = await bytesOf(seededContent("a", 2 * MIB + 77));
      const task = await created(aTask("a", content.length));
      await task.write(Buffer.alloc(MIB, 0xee), 0);
      const right = sha256Of(content.subarray(0, MIB));
      expect((await task.commitPiece(0, right)).ok).toBe(false);
      await fillTask(task, content);
      expect(await task.contentDigest()).toBe(`sha256:${sha256Of(content).toString("hex")}`);
    });

    test("content with a missing piece has no digest", async () => {
      const content = await bytesOf(seededContent("a", 2 * MIB));
      const task = await created(aTask("a", content.length));
      await fillTask(task, content, [1]);
      await expect(task.contentDigest()).rejects.toMatchObject({ code: "store_piece_missing" });
    });

    test("empty content has no pieces, is verified at once and has the digest of nothing", async () => {
      const task = await created(aTask("empty", 0));
      expect(task.held.size).toBe(0);
      expect(task.isVerified).toBe(true);
      expect(await task.contentDigest()).toBe(
        `sha256:${sha256Of(Buffer.alloc(0)).toString("hex")}`,
      );
    });

    test("creating a task again gives the one that is there; another length does not replace one in use", async () => {
      const task = await created(aTask("a", MIB));
      const unpin = task.pin();
      expect(await store.create(aTask("a", MIB))).toBe(task);
      expect(await store.create(aTask("a", MIB + 1))).toBe("store_failed");
      expect(store.get(task.description.taskId)).toBe(task);
      unpin();
    });

    test("the same task created twice at once is one task", async () => {
      const [one, other] = await Promise.all([created(aTask("a", MIB)), created(aTask("a", MIB))]);
      expect(one).toBe(other);
      expect(store.usage().usedBytes).toBe(MIB);
    });

    test("when the quota is reached the least recently used idle task goes, and its end is told", async () => {
      const oldest = await created(aTask("oldest", 2 * MIB));
      const middle = await created(aTask("middle", 2 * MIB));
      const newest = await created(aTask("newest", 2 * MIB));
      await new Promise((resolve) => setImmediate(resolve));
      // Used again, so the middle one is now the least recently used.
      await untilLater();
      oldest.pin()();
      await created(aTask("more", 2 * MIB));
      expect(store.get(middle.description.taskId)).toBeUndefined();
      expect(store.get(oldest.description.taskId)).toBe(oldest);
      expect(store.get(newest.description.taskId)).toBe(newest);
      expect(dropped).toMatchObject([{ taskId: middle.description.taskId, reason: "evicted" }]);
      expect(dropped[0]?.incarnation).toBeGreaterThan(middle.incarnation);
    });

    test("where nothing may go for it, content is taken only as long as there is room", async () => {
      const held = await created(aTask("held", 6 * MIB));
      await new Promise((resolve) => setImmediate(resolve));
      expect(await store.create(aTask("more", 3 * MIB), "free")).toBe("no_free_room");
      expect(store.get(held.description.taskId)).toBe(held);
      expect(dropped).toEqual([]);
      expect(await store.create(aTask("held", 6 * MIB), "free")).toBe(held);
      expect(await store.create(aTask("little", MIB), "free")).toBeTypeOf("object");
    });

    test("who may throw something out does so although another, at the same time, may not", async () => {
      await created(aTask("held", 6 * MIB));
      await new Promise((resolve) => setImmediate(resolve));
      const description = aTask("more", 3 * MIB);
      const [one, other] = await Promise.all([
        store.create(description, "free"),
        store.create(description, "make"),
      ]);
      expect(one).toBe("no_free_room");
      expect(other).toBe(store.get(description.taskId));
      expect(typeof other).toBe("object");
    });

    test("the room of a task that holds nothing is given back, and nobody is told", async () => {
      const task = await created(aTask("a", 2 * MIB));
      await store.giveBack(task);
      expect(store.get(task.description.taskId)).toBeUndefined();
      expect(store.usage().usedBytes).toBe(0);
      expect(dropped).toEqual([]);
      const again = await created(aTask("a", 2 * MIB));
      expect(again.incarnation).toBeGreaterThan(task.incarnation);
      // What is gone is not what has come since.
      await store.giveBack(task);
      expect(store.get(task.description.taskId)).toBe(again);
    });

    test("a task that is used, pinned or holds something keeps its room", async () => {
      const used = await created(aTask("used", MIB));
      used.pin();
      const pinned = await created(aTask("pinned", MIB));
      await store.pin(pinned.description.taskId, true);
      const held = await created(aTask("held", 2 * MIB));
      await held.write(new Uint8Array(MIB), 0);
      await held.commitPiece(0, undefined);
      const given = await created(aTask("given", MIB));
      const back = store.giveBack(given);
      given.pin();
      await Promise.all([back, ...[used, pinned, held].map((task) => store.giveBack(task))]);
      expect([...store.list()]).toHaveLength(4);
    });

    test("tasks in use are not evicted: then there is no room, and nothing is evicted in vain", async () => {
      const used = await created(aTask("used", 4 * MIB));
      const idle = await created(aTask("idle", 2 * MIB));
      await new Promise((resolve) => setImmediate(resolve));
      const unpin = used.pin();
      expect(await store.create(aTask("more", 6 * MIB))).toBe("no_room");
      expect(store.get(idle.description.taskId)).toBe(idle);
      unpin();
      expect(await store.create(aTask("more", 6 * MIB))).not.toBe("no_room");
      expect([...store.list()]).toHaveLength(1);
    });

    test("a task that was just created is not evicted before its creator could pin it", async () => {
      const createAndPin = async (name: string) => {
        const task = await store.create(aTask(name, QUOTA_BYTES));
        return typeof task === "string" ? task : task.pin();
      };
      const outcomes = await Promise.all([createAndPin("one"), createAndPin("other")]);
      expect(outcomes.filter((outcome) => outcome === "no_room")).toHaveLength(1);
      expect(dropped).toEqual([]);
    });

    test("a pinned task is kept whatever needs room, until it is unpinned or removed", async () => {
      const pinned = await created(aTask("pinned", 4 * MIB));
      const { taskId } = pinned.description;
      await new Promise((resolve) => setImmediate(resolve));
      expect(store.isPinned(taskId)).toBe(false);
      expect(await store.pin(taskId, true)).toBe(true);
      expect(store.isPinned(taskId)).toBe(true);
      expect(await store.create(aTask("more", 6 * MIB))).toBe("no_room");
      expect(store.get(taskId)).toBe(pinned);
      await store.pin(taskId, false);
      expect(await store.create(aTask("more", 6 * MIB))).not.toBe("no_room");
      expect(store.get(taskId)).toBeUndefined();
    });

    test("only what is held can be pinned, and what is removed is pinned no more", async () => {
      const { taskId } = aTask("a", MIB);
      expect(await store.pin(taskId, true)).toBe(false);
      await created(aTask("a", MIB));
      await store.pin(taskId, true);
      await store.remove(taskId);
      expect(store.isPinned(taskId)).toBe(false);
    });

    test("content larger than the quota is refused", async () => {
      expect(await store.create(aTask("huge", QUOTA_BYTES + 1))).toBe("no_room");
    });

    test("a removed task that comes back has a larger incarnation than anything told before", async () => {
      const first = await created(aTask("a", MIB));
      await store.remove(first.description.taskId);
      expect(dropped).toMatchObject([{ reason: "removed" }]);
      const second = await created(aTask("a", MIB));
      expect(dropped[0]?.incarnation).toBeGreaterThan(first.incarnation);
      expect(second.incarnation).toBeGreaterThan(dropped[0]?.incarnation ?? Infinity);
      expect(second.held.count).toBe(0);
    });

    test("whoever still holds a removed task gets errors, also when it has come back", async () => {
      const content = await bytesOf(seededContent("a", MIB));
      const first = await created(aTask("a", MIB));
      await store.remove(first.description.taskId);
      const second = await created(aTask("a", MIB));
      await expect(first.read(Buffer.alloc(1), 0, 1)).rejects.toMatchObject({
        code: "store_read_failed",
      });
      await expect(first.write(content, 0)).rejects.toMatchObject({ code: "store_write_failed" });
      await expect(first.commitPiece(0, undefined)).rejects.toMatchObject({
        code: "store_write_failed",
      });
      expect(await first.prove(0)).toBe(false);
      await fillTask(second, content);
      expect(second.held.isFull).toBe(true);
    });

    test("recheck of sound pieces finds nothing and gives nothing up", async () => {
      const content = await bytesOf(seededContent("a", 2 * MIB));
      const task = await created(aTask("a", content.length));
      await fillTask(task, content);
      expect(await task.recheck([0, 1])).toEqual([]);
      expect(dropped).toEqual([]);
    });

    test("a verified task says so", async () => {
      const content = await bytesOf(seededContent("a", MIB));
      const task = await created(aTask("a", content.length));
      await fillTask(task, content);
      expect(task.isVerified).toBe(false);
      await task.markVerified();
      expect(task.isVerified).toBe(true);
    });
  });
}

/** Until the wall clock shows another millisecond: uses within one count as at the same time. */
async function untilLater(): Promise<void> {
  const before = Date.now();
  while (Date.now() <= before) await new Promise((resolve) => setImmediate(resolve));
}
