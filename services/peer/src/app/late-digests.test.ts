import { createHash } from "node:crypto";
import { systemClock } from "@lacewing/runtime/clock.ts";
import { beforeEach, describe, expect, test } from "vitest";
// @boundaries-ignore tests share builders that no service ships
import { MemoryPieceStore } from "../../../../test/support/memory-piece-store.ts";
// @boundaries-ignore tests share builders that no service ships
import { MemoryPieceClient } from "../../../../test/support/memory-piece-client.ts";
// @boundaries-ignore tests share builders that no service ships
import { aTask } from "../../../../test/support/task-builders.ts";
import { ExpectedDigests, type PieceDigests } from "./expected-digests.ts";
import { runFetch } from "./lease-fetch.ts";
import { PaceWatch } from "./pace-watch.ts";
import type { StoredTask } from "./ports.ts";

const content = Buffer.alloc(1000, "late");
const RIGHT = createHash("sha256").update(content).digest();
const ZEROS = new Uint8Array(32);

let task: StoredTask;
let told: (string | number)[];
let stop: AbortController;
beforeEach(async () => {
  const made = await new MemoryPieceStore().create(aTask("late", content.length));
  if (typeof made === "string") throw new Error(made);
  task = made;
  told = [];
  stop = new AbortController();
});

/** Reads the one piece of a content from a parent. */
async function fetchFrom(digests: PieceDigests, ahead?: { readonly digestMsMax: number }) {
  const pieceClient = new MemoryPieceClient();
  pieceClient.parents.set("b", content);
  return runFetch({
    task,
    source: { kind: "parent", hostId: "b", address: "b", token: "", digests },
    run: { start: 0, count: 1 },
    writtenBefore: () => undefined,
    watch: new PaceWatch(systemClock),
    pieceClient,
    ahead,
    traceparent: "",
    events: {
      received: () => {},
      held: () => told.push("held"),
      partial: () => told.push("shown"),
      giveWay: () => undefined,
      writing: (count) => told.push(count),
      arrived: () => told.push("arrived"),
    },
    signal: stop.signal,
  });
}

async function untilArrived(): Promise<void> {
  await expect.poll(() => told, { interval: 2 }).toContain("arrived");
}

describe("a piece of a lease ahead whose digest is not known", () => {
  test("is not held, nor shown, before its digest is here, and is not the parent's fault meanwhile", async () => {
    const digests = new ExpectedDigests(1);
    const fetching = fetchFrom(digests, { digestMsMax: 5_000 });
    await untilArrived();
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(told).toEqual([1, 0, 1, "arrived"]);
    expect(task.held.count).toBe(0);
    digests.learn([[0, RIGHT]]);
    expect(await fetching).toEqual({ ok: true, bytes: content.length });
    expect(told.slice(4)).toEqual([0, "held"]);
    expect(task.held.count).toBe(1);
  });

  test("waits for nothing when the digest came before the bytes", async () => {
    const digests = new ExpectedDigests(1);
    digests.learn([[0, RIGHT]]);
    expect(await fetchFrom(digests, { digestMsMax: 5_000 })).toMatchObject({ ok: true });
    expect(told).toContain("held");
    expect(Math.max(...told.filter((value) => typeof value === "number"))).toBe(1);
  });

  test("is given up when its digest does not come in time, and that is said", async () => {
    const end = await fetchFrom(new ExpectedDigests(1), { digestMsMax: 30 });
    expect(end).toMatchObject({
      ok: false,
      reason: "stalled",
      detail: "the digest of piece 0 did not come within 30 ms",
      wrongPiece: undefined,
    });
    expect(task.held.count).toBe(0);
  });

  test("that turns out to be another one is the parent's wrong piece", async () => {
    const digests = new ExpectedDigests(1);
    const fetching = fetchFrom(digests, { digestMsMax: 5_000 });
    await untilArrived();
    digests.learn([[0, createHash("sha256").update("another").digest()]]);
    expect(await fetching).toMatchObject({ ok: false, reason: "digest_mismatch", wrongPiece: 0 });
    expect(task.held.count).toBe(0);
  });

  test("waits no longer than the lease", async () => {
    const fetching = fetchFrom(new ExpectedDigests(1), { digestMsMax: 60_000 });
    await untilArrived();
    stop.abort(new Error("lease ended"));
    expect(await fetching).toMatchObject({ ok: false, reason: "cancelled" });
    expect(task.held.count).toBe(0);
  });

  test("waits on when zeros, or the digest of another piece, are said", async () => {
    const digests = new ExpectedDigests(1);
    const fetching = fetchFrom(digests, { digestMsMax: 60 });
    await untilArrived();
    digests.learn([
      [0, ZEROS],
      [1, RIGHT],
    ]);
    expect(await fetching).toMatchObject({ ok: false, reason: "stalled" });
    expect(digests.get(1)).toBeUndefined();
  });
});

test("a lease of what the parent holds names its digests: one that is missing fails at once", async () => {
  const none = { ok: false, reason: "malformed" };
  expect(await fetchFrom(new Map())).toMatchObject(none);
  expect(await fetchFrom(new Map([[0, new Uint8Array(5)]]))).toMatchObject(none);
  expect(await fetchFrom(new ExpectedDigests(1))).toMatchObject(none);
  const wrong = { ok: false, reason: "digest_mismatch" };
  expect(await fetchFrom(new Map([[0, ZEROS]]))).toMatchObject(wrong);
});
