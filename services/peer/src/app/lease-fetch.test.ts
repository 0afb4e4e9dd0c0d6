import { systemClock } from "@lacewing/runtime/clock.ts";
import { PortError } from "@lacewing/runtime/errors.ts";
import { expect, test } from "vitest";
// @boundaries-ignore tests share builders that no service ships
import { MemoryPieceStore } from "../../../../test/support/memory-piece-store.ts";
// @boundaries-ignore tests share builders that no service ships
import { MemoryPieceClient } from "../../../../test/support/memory-piece-client.ts";
// @boundaries-ignore tests share builders that no service ships
import { ScriptedOrigin } from "../../../../test/support/scripted-origin.ts";
// @boundaries-ignore tests share builders that no service ships
import { aTask } from "../../../../test/support/task-builders.ts";
import { type FetchEvents, runFetch } from "./lease-fetch.ts";
import { PaceWatch } from "./pace-watch.ts";
import { OriginAccess } from "./origin-access.ts";
import { type PieceClient, TransferError } from "./ports.ts";

const NO_EVENTS: FetchEvents = {
  received: () => {},
  held: () => {},
  partial: () => {},
  giveWay: () => undefined,
  writing: () => {},
  arrived: () => {},
};

test("a fetch that failed is over only when its last write is: no late bytes land on those of the next source", async () => {
  const task = await new MemoryPieceStore().create(aTask("late", 100));
  if (typeof task === "string") throw new Error(task);
  const disk = Promise.withResolvers<void>();
  task.write = async () => disk.promise;
  const pieceClient: PieceClient = {
    read: async (_request, sink) => {
      sink.write(new Uint8Array(10), 0).catch(() => undefined);
      throw new TransferError("short", "the parent is gone");
    },
    close: () => {},
  };
  let isOver = false;
  const fetching = runFetch({
    task,
    source: { kind: "parent", hostId: "b", address: "b", token: "", digests: new Map() },
    run: { start: 0, count: 1 },
    writtenBefore: () => undefined,
    watch: new PaceWatch(systemClock),
    pieceClient,
    traceparent: "",
    events: NO_EVENTS,
    signal: new AbortController().signal,
  }).finally(() => (isOver = true));
  await new Promise(setImmediate);
  expect(isOver).toBe(false);
  disk.resolve();
  expect(await fetching).toMatchObject({ ok: false, reason: "short" });
});

test("bytes wait for their turn before they are written, and what waits when the fetch ends is not written", async () => {
  const task = await new MemoryPieceStore().create(aTask("paced", 100));
  if (typeof task === "string") throw new Error(task);
  const written: number[] = [];
  const writing: number[] = [];
  task.write = async (_buffer, offset) => {
    written.push(offset);
  };
  const turns: (() => void)[] = [];
  const stop = new AbortController();
  const pieceClient: PieceClient = {
    read: async (_request, sink) => {
      const first = sink.write(new Uint8Array(10), 0);
      const second = sink.write(new Uint8Array(20), 10);
      await Promise.all([first, second]);
    },
    close: () => {},
  };
  const asked: number[] = [];
  const fetching = runFetch({
    task,
    source: { kind: "parent", hostId: "b", address: "b", token: "", digests: new Map() },
    run: { start: 0, count: 1 },
    writtenBefore: () => undefined,
    watch: new PaceWatch(systemClock),
    pieceClient,
    paces: {
      download: async (bytes) => {
        asked.push(bytes);
        await new Promise<void>((resolve) => turns.push(resolve));
      },
      backToSource: undefined,
    },
    traceparent: "",
    events: { ...NO_EVENTS, writing: (count) => writing.push(count) },
    signal: stop.signal,
  });
  await new Promise(setImmediate);
  expect([asked, written]).toEqual([[10, 20], []]);
  turns[0]?.();
  await new Promise(setImmediate);
  expect([written, writing]).toEqual([[0], [1, 2, 1]]);
  stop.abort();
  turns[1]?.();
  expect(await fetching).toMatchObject({ ok: false, reason: "cancelled" });
  expect([written, writing.at(-1)]).toEqual([[0], 0]);
});

test("a disk that fails while the origin is read is not the origin's failure", async () => {
  const task = await new MemoryPieceStore().create(aTask("full", 100));
  if (typeof task === "string") throw new Error(task);
  task.write = async () => {
    throw new PortError("store_write_failed", "disk full", { retryable: false });
  };
  const origin = new ScriptedOrigin();
  origin.add("/full", new Uint8Array(100), { etag: '"v1"' });
  const access = new OriginAccess({
    requestId: "r",
    origin,
    url: new URL("http://origin.test/full"),
    headers: [],
    useTls: false,
  });
  const end = await runFetch({
    task,
    source: { kind: "origin", access },
    run: { start: 0, count: 1 },
    writtenBefore: () => undefined,
    watch: new PaceWatch(systemClock),
    pieceClient: new MemoryPieceClient(),
    traceparent: "",
    events: NO_EVENTS,
    signal: new AbortController().signal,
  });
  expect(end).toMatchObject({ ok: false, reason: "storage", bytes: 100 });
});
