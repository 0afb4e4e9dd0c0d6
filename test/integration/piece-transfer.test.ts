import { closeSync, openSync, readSync, statSync, utimesSync, writeSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import type { TaskDescription } from "@lacewing/peer/app/ports.ts";
import { systemClock } from "@lacewing/runtime/clock.ts";
import { bytesOf, seededContent } from "../support/content.ts";
import {
  aRead,
  aToken,
  countOpenHandles,
  created,
  holding,
  memorySink,
  type Parent,
  startParent,
  startPieceClient,
  startRawServer,
  taskSink,
} from "../support/piece-hosts.ts";
import { aTask, fillTask, sha256Of } from "../support/task-builders.ts";
import { waitFor } from "../support/wait-for.ts";

const MIB = 2 ** 20;
const never = new AbortController().signal;

afterAll(countOpenHandles());

describe("a parent whose sending is limited", () => {
  test("asks for every byte before it is sent, and sends nothing before its turn", async () => {
    const asked: number[] = [];
    const turn = Promise.withResolvers<void>();
    const pace = async (bytes: number) => {
      asked.push(bytes);
      await turn.promise;
    };
    await using parent = await startParent({ pace });
    using pieces = startPieceClient();
    const { content, task } = await holding(parent, "a", 3 * MIB + 5);
    const { bytes, offsets, sink } = memorySink(0, content.length);
    const reading = pieces.read(aRead(parent.server.address, task), sink, never);
    await waitFor("the first bytes to ask", () => asked.length === 1);
    expect(offsets).toEqual([]);
    turn.resolve();
    await reading;
    expect(Buffer.compare(bytes, content)).toBe(0);
    expect(asked.reduce((sum, count) => sum + count, 0)).toBe(content.length);
  });

  test("does not take its own waiting for a child that is slow", async () => {
    let askedCount = 0;
    const pace = () => (++askedCount === 2 ? systemClock.sleep(60) : undefined);
    await using parent = await startParent({ pace, slowReaderMs: 20 });
    using pieces = startPieceClient();
    const { content, task } = await holding(parent, "a", 300 * 1024);
    const { bytes, sink } = memorySink(0, content.length);
    await pieces.read(aRead(parent.server.address, task), sink, never);
    expect(Buffer.compare(bytes, content)).toBe(0);
  });
});

describe("a child that reads from a parent", () => {
  test("gets a whole task, told in growing offsets, and commits every piece", async () => {
    await using parent = await startParent();
    await using other = await startParent();
    using pieces = startPieceClient();
    const { content, task } = await holding(parent, "a", 9 * MIB + 4321);
    const copy = await created(other, task.description);
    const { offsets, written } = memorySink(0, content.length);
    await pieces.read(
      aRead(parent.server.address, task),
      { write: async (buffer, offset) => copy.write(buffer, offset), written },
      never,
    );
    expect(offsets.at(-1)).toBe(content.length);
    expect(offsets).toEqual([...offsets].toSorted((a, b) => a - b));
    for (let index = 0; index < copy.held.size; index++) {
      expect((await copy.commitPiece(index, task.digestOf(index))).ok).toBe(true);
    }
    expect(await copy.contentDigest()).toBe(`sha256:${sha256Of(content).toString("hex")}`);
    expect(parent.sentBytes).toBe(content.length);
  });

  test("gets exactly the bytes of any range", async () => {
    await using parent = await startParent();
    using pieces = startPieceClient();
    const { content, task } = await holding(parent, "a", 3 * MIB + 5);
    const spans = [
      [0, 1],
      [MIB - 1, MIB + 1],
      [MIB, 2 * MIB],
      [77, 3 * MIB],
      [3 * MIB, 3 * MIB + 5],
    ];
    for (const [start = 0, end = 0] of spans) {
      const { bytes, sink } = memorySink(start, end - start);
      await pieces.read(aRead(parent.server.address, task, { start, end }), sink, never);
      expect(bytes.equals(content.subarray(start, end))).toBe(true);
    }
  });

  test("uses one connection for a thousand reads one after the other", async () => {
    await using parent = await startParent();
    const { content, task } = await holding(parent, "a", MIB);
    await using proxy = await startRawServer((socket) => {
      const [host = "", port = ""] = parent.server.address.split(":");
      const upstream = connect(Number(port), host);
      upstream.on("error", () => socket.destroy());
      socket.on("close", () => upstream.destroy());
      socket.pipe(upstream).pipe(socket);
    });
    using pieces = startPieceClient();
    for (let at = 0; at < 1000; at++) {
      const { bytes, sink } = memorySink(at * 100, 100);
      const span = { start: at * 100, end: at * 100 + 100 };
      await pieces.read(aRead(proxy.address, task, span), sink, never);
      expect(bytes.equals(content.subarray(span.start, span.end))).toBe(true);
    }
    expect(proxy.connectionCount).toBe(1);
  });

  test("is slowed down, not flooded, when its own disk is slow", async () => {
    await using parent = await startParent();
    using pieces = startPieceClient();
    const { content, task } = await holding(parent, "a", 8 * MIB);
    const { bytes, write, written } = memorySink(0, content.length);
    let underWay = 0;
    let underWayMax = 0;
    const slow = {
      write: async (buffer: Uint8Array, offset: number) => {
        underWayMax = Math.max(underWayMax, ++underWay);
        for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
        await write(buffer, offset);
        underWay--;
      },
      written,
    };
    await pieces.read(aRead(parent.server.address, task), slow, never);
    expect(underWayMax).toBeLessThanOrEqual(4);
    expect(bytes.equals(content)).toBe(true);
  });

  test("that gives up frees its connection and the parent's slot at once", async () => {
    await using parent = await startParent({ uploadSlotCount: 1 });
    using pieces = startPieceClient();
    const { task } = await holding(parent, "a", 64 * MIB);
    const stop = new AbortController();
    const { write } = memorySink(0, 64 * MIB);
    const reading = pieces.read(
      aRead(parent.server.address, task),
      {
        write,
        written: () => stop.abort(new Error("nobody wants it any more")),
      },
      stop.signal,
    );
    await expect(reading).rejects.toThrow("nobody wants it any more");
    await waitFor("the slot to be free", () => parent.server.uploadCount === 0);
  });

  test("whose disk fails is told so, and the parent is not blamed", async () => {
    await using parent = await startParent();
    using pieces = startPieceClient();
    const { task } = await holding(parent, "a", MIB);
    const failing = {
      write: async () => Promise.reject(new Error("disk full")),
      written: () => {},
    };
    await expect(
      pieces.read(aRead(parent.server.address, task), failing, never),
    ).rejects.toMatchObject({ reason: "storage" });
  });
});

describe("a parent", () => {
  test("serves a piece to curl-like clients with plain HTTP", async () => {
    await using parent = await startParent();
    const { content, task } = await holding(parent, "a", 2 * MIB);
    const path = `/v1/tasks/${task.description.taskId}/content`;
    const answer = await get(parent.server.address, path, {
      range: "bytes=1048576-2097151",
      "lacewing-lease": aToken(task),
    });
    expect(answer.status).toBe(206);
    expect(answer.headers.get("content-range")).toBe("bytes 1048576-2097151/2097152");
    expect(answer.headers.get("transfer-encoding")).toBeNull();
    expect(Buffer.from(await answer.arrayBuffer()).equals(content.subarray(MIB))).toBe(true);
  });

  test("refuses what no lease covers, and says nothing about what it holds", async () => {
    await using parent = await startParent();
    const { task } = await holding(parent, "a", 2 * MIB);
    const stranger = { description: aTask("unknown", 100) };
    const statusOf = async (
      token: string | undefined,
      of = task.description,
      range = "bytes=0-9",
    ) => {
      const lease = token === undefined ? {} : { "lacewing-lease": token };
      const path = `/v1/tasks/${of.taskId}/content`;
      const answer = await get(parent.server.address, path, { range, ...lease });
      return [answer.status, (await answer.text()).trim()];
    };
    const good = aToken(task);
    const forged = `${good.slice(0, -4)}AAAA`;
    expect(await statusOf(undefined)).toEqual([401, "lease_missing"]);
    expect(await statusOf("nonsense")).toEqual([401, "lease_malformed"]);
    expect(await statusOf(forged)).toEqual([401, "lease_forged"]);
    expect(await statusOf(undefined, stranger.description)).toEqual([401, "lease_missing"]);
    expect(await statusOf(aToken(task, { expiresAtMs: 1 }))).toEqual([401, "lease_expired"]);
    expect(await statusOf(aToken(task, { parentHostId: "other" }))).toEqual([
      403,
      "lease_other_host",
    ]);
    expect(await statusOf(aToken(stranger))).toEqual([403, "lease_other_task"]);
    const second = aToken(task, { pieces: [{ start: 1, count: 1 }] });
    expect(await statusOf(second)).toEqual([403, "lease_not_covered"]);
    expect(await statusOf(aToken(stranger), stranger.description)).toEqual([404, "not_held"]);
    expect((await statusOf(good, task.description, "bytes=0-2097152"))[0]).toBe(416);
    expect((await statusOf(good, task.description, "bytes=0-1,3-4"))[0]).toBe(416);
  });

  test("does not serve a piece that it does not hold", async () => {
    await using parent = await startParent();
    using pieces = startPieceClient();
    const content = await bytesOf(seededContent("a", 2 * MIB));
    const task = await created(parent, aTask("a", content.length));
    await fillTask(task, content, [0]);
    const { sink } = memorySink(0, content.length);
    await expect(
      pieces.read(aRead(parent.server.address, task), sink, never),
    ).rejects.toMatchObject({ reason: "not_held" });
  });

  test("with every slot taken says when to come back, to degraded readers first", async () => {
    await using parent = await startParent({ uploadSlotCount: 2 });
    using pieces = startPieceClient();
    const { task } = await holding(parent, "a", 32 * MIB);
    const release: (() => void)[] = [];
    const stuck = {
      write: async () => new Promise<void>((resolve) => release.push(resolve)),
      written: () => {},
    };
    const stop = new AbortController();
    const read = async (token?: string) => {
      const { sink } = memorySink(0, 32 * MIB);
      return pieces.read(
        aRead(parent.server.address, task, { start: 0, end: 10 }, token),
        sink,
        never,
      );
    };
    const occupy = async () =>
      pieces.read(aRead(parent.server.address, task), stuck, stop.signal).catch(() => {});
    const first = occupy();
    await waitFor("a slot to be taken", () => parent.server.uploadCount === 1);
    await expect(read(aToken(task, { degraded: true }))).rejects.toMatchObject({ reason: "busy" });
    await read();
    const second = occupy();
    await waitFor("both slots to be taken", () => parent.server.uploadCount === 2);
    await expect(read()).rejects.toThrow("status 503, retry after 1 s");
    stop.abort();
    for (const go of release) go();
    await Promise.all([first, second]);
  });

  test("breaks the connection of a child that stops reading", async () => {
    await using parent = await startParent({ slowReaderMs: 200 });
    using pieces = startPieceClient();
    const { task } = await holding(parent, "a", 64 * MIB);
    const stuck = { write: async () => new Promise<void>(() => {}), written: () => {} };
    const stop = new AbortController();
    const reading = pieces.read(aRead(parent.server.address, task), stuck, stop.signal);
    await waitFor("the slot to be taken", () => parent.server.uploadCount === 1);
    await waitFor("the slot to be free", () => parent.server.uploadCount === 0);
    stop.abort(new Error("enough"));
    await expect(reading).rejects.toThrow("enough");
    expect(parent.log.entries.at(-1)).toMatchObject({
      event: "piece_server.broken_off",
      fields: { why: "slow_reader" },
    });
  });

  test("answers about its health", async () => {
    let isReady = false;
    await using parent = await startParent({ isReady: () => isReady });
    const statusOf = async (path: string) => (await get(parent.server.address, path)).status;
    expect(await statusOf("/healthz")).toBe(200);
    expect(await statusOf("/readyz")).toBe(503);
    isReady = true;
    expect(await statusOf("/readyz")).toBe(200);
    expect(await (await get(parent.server.address, "/metrics")).text()).toBe("lacewing_test 1\n");
    expect(await statusOf("/v1/tasks/x/content")).toBe(404);
  });
});

describe("a byte that is flipped in a parent's stored piece", () => {
  test("is never sent when the file shows that somebody wrote to it", async () => {
    await using parent = await startParent();
    using pieces = startPieceClient();
    const { task } = await holding(parent, "a", 2 * MIB);
    flipByte(dataPathOf(parent, task.description), 5);
    utimesSync(dataPathOf(parent, task.description), 1_800_000_000, 1_800_000_000);
    const { sink } = memorySink(0, MIB);
    await expect(
      pieces.read(aRead(parent.server.address, task, { start: 0, end: MIB }), sink, never),
    ).rejects.toMatchObject({ reason: "not_held" });
    expect([...task.held]).toEqual([1]);
  });

  test("in a later piece of an answer breaks the connection before the piece", async () => {
    await using parent = await startParent();
    using pieces = startPieceClient();
    const { task } = await holding(parent, "a", 2 * MIB);
    flipByte(dataPathOf(parent, task.description), MIB + 5);
    utimesSync(dataPathOf(parent, task.description), 1_800_000_000, 1_800_000_000);
    const { offsets, sink } = memorySink(0, 2 * MIB);
    await expect(
      pieces.read(aRead(parent.server.address, task), sink, never),
    ).rejects.toMatchObject({ reason: "short" });
    expect(Math.max(0, ...offsets)).toBeLessThanOrEqual(MIB);
  });

  test("is never sent although the file's modification time was put back", async () => {
    await using parent = await startParent();
    using pieces = startPieceClient();
    const { task } = await holding(parent, "a", 2 * MIB);
    const path = dataPathOf(parent, task.description);
    const { atime, mtime } = statSync(path);
    flipByte(path, 5);
    utimesSync(path, atime, mtime);
    const { sink } = memorySink(0, MIB);
    await expect(
      pieces.read(aRead(parent.server.address, task, { start: 0, end: MIB }), sink, never),
    ).rejects.toMatchObject({ reason: "not_held" });
    expect([...task.held]).toEqual([1]);
  });

  test("is caught by the child when it happens while the parent is at it", async () => {
    await using parent = await startParent();
    await using other = await startParent();
    using pieces = startPieceClient();
    const { task } = await holding(parent, "a", 2 * MIB);
    using _inUse = usage(task.pin());
    flipByte(dataPathOf(parent, task.description), 5);
    const copy = await created(other, task.description);
    await pieces.read(aRead(parent.server.address, task), taskSink(copy), never);
    expect((await copy.commitPiece(0, task.digestOf(0))).ok).toBe(false);
    expect((await copy.commitPiece(1, task.digestOf(1))).ok).toBe(true);
    expect([...copy.held]).toEqual([1]);
  });
});

function usage(end: () => void): Disposable {
  return { [Symbol.dispose]: end };
}

async function get(address: string, path: string, headers: Readonly<Record<string, string>> = {}) {
  return fetch(`http://${address}${path}`, { headers: { connection: "close", ...headers } });
}

function dataPathOf(parent: Parent, { taskId }: TaskDescription): string {
  return join(parent.dir.path, "content", taskId.slice(0, 2), `${taskId}.data`);
}

function flipByte(path: string, offset: number): void {
  const fd = openSync(path, "r+");
  const byte = Buffer.alloc(1);
  readSync(fd, byte, 0, 1, offset);
  byte[0] = (byte[0] ?? 0) ^ 0xff;
  writeSync(fd, byte, 0, 1, offset);
  closeSync(fd);
}
