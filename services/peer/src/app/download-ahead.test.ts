import { pieceAt } from "@lacewing/contracts/pieces.ts";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
// @boundaries-ignore tests share builders that no service ships
import { bytesOf, seededContent } from "../../../../test/support/content.ts";
// @boundaries-ignore tests share builders that no service ships
import { anchoredPath, layoutOf, PeerWorld } from "../../../../test/support/peer-world.ts";
// @boundaries-ignore tests share builders that no service ships
import { fillTask } from "../../../../test/support/task-builders.ts";
// @boundaries-ignore tests share builders that no service ships
import { waitFor } from "../../../../test/support/wait-for.ts";

const MIB = 2 ** 20;
const PARENT = { hostId: "host-b" };
const ALL = [0, 1, 2, 3];

let world: PeerWorld;
let content: Buffer;
let url: string;
beforeEach(async () => {
  world = new PeerWorld();
  content = await bytesOf(seededContent("ahead", 3 * MIB + 77));
  url = `http://origin.test${anchoredPath(content)}`;
  world.origin.add(anchoredPath(content), content);
  world.pieceClient.parents.set("host-b", content);
  world.pieceClient.parents.set("host-c", content);
});
afterEach(async () => world.close());

const heldPieces = () => [...([...world.store.list()][0]?.held ?? [])];
const parentsAsked = () => world.pieceClient.reads.map(({ address }) => address);
const askedPieces = () =>
  world.pieceClient.reads.map(({ span }) => [
    pieceAt(layoutOf(content), span.start),
    pieceAt(layoutOf(content), span.end - 1),
  ]);

describe("a lease ahead", () => {
  test("asks for each of its pieces alone, in order, and goes on while digests are late", async () => {
    world.onRequest((request) => world.grantAhead(request, PARENT, content, { granted: ALL }));
    const client = world.client(url);
    await waitFor("all requests", () => world.pieceClient.reads.length === 4, { intervalMs: 2 });
    expect(askedPieces()).toEqual([
      [0, 0],
      [1, 1],
      [2, 2],
      [3, 3],
    ]);
    expect(world.pieceClient.reads.every(({ isAhead }) => isAhead === true)).toBe(true);
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect([client.received(), heldPieces()]).toEqual([0, []]);
    const { taskId } = world.waiting;
    world.sayDigests(taskId, content, [1, 3]);
    await waitFor("what was said", () => heldPieces().length === 2, { intervalMs: 2 });
    expect([client.received(), heldPieces()]).toEqual([0, [1, 3]]);
    world.sayDigests(taskId, content, [0, 2]);
    const { bytes, error } = await client.done;
    expect(error).toBeUndefined();
    expect(bytes.equals(content)).toBe(true);
    const ended = () => world.controlPlane.all("piecesAvailable").flatMap((all) => all.leasesEnded);
    await expect.poll(() => ended().map((lease) => lease.bytes)).toEqual([content.length]);
    expect(world.origin.sentBytes).toBe(0);
  });

  test("asks for one piece after the other: the next one when the bytes of the one before are here", async () => {
    const gate = Promise.withResolvers<void>();
    world.pieceClient.beforeChunk = async () => gate.promise;
    world.onRequest((request) =>
      world.grantAhead(request, PARENT, content, { granted: [0, 2], known: [0, 2] }),
    );
    const client = world.client(url);
    await waitFor("a request", () => world.pieceClient.reads.length > 0, { intervalMs: 2 });
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(askedPieces()).toEqual([[0, 0]]);
    gate.resolve();
    await waitFor("both", () => heldPieces().length === 2, { intervalMs: 2 });
    client.leave();
    await client.done;
  });

  test("skips a piece that came from elsewhere before its turn", async () => {
    const gate = Promise.withResolvers<void>();
    world.pieceClient.beforeChunk = async () => gate.promise;
    world.onRequest((request) =>
      world.grantAhead(request, PARENT, content, { granted: ALL, known: [0, 3] }),
    );
    const client = world.client(url);
    await waitFor("a request", () => world.pieceClient.reads.length > 0, { intervalMs: 2 });
    for (const stored of world.store.list()) await fillTask(stored, content, [1, 2]);
    gate.resolve();
    expect((await client.done).bytes.equals(content)).toBe(true);
    expect(askedPieces()).toEqual([
      [0, 0],
      [3, 3],
    ]);
  });

  test("takes digests from other leases of the content", async () => {
    world.onRequest((request) => world.grantAhead(request, PARENT, content, { granted: ALL }));
    const client = world.client(url);
    await waitFor("all requests", () => world.pieceClient.reads.length === 4, { intervalMs: 2 });
    const parent = { hostId: "host-c", truth: content };
    world.grantParent(world.waiting, parent, ALL);
    expect((await client.done).bytes.equals(content)).toBe(true);
    expect(parentsAsked()).not.toContain("host-c");
  });

  test("blames its parent for bytes that do not have the digest that is said later, and shows none of them", async () => {
    const lying = Buffer.from(content);
    lying.fill(0, 10, 20);
    world.pieceClient.parents.set("host-b", lying);
    world.onRequest((request) => world.grantAhead(request, PARENT, content, { granted: [0] }));
    const client = world.client(url);
    await waitFor("the request", () => world.pieceClient.reads.length === 1, { intervalMs: 2 });
    await new Promise((resolve) => setTimeout(resolve, 20));
    world.sayDigests(world.waiting.taskId, content, [0]);
    await waitFor("blame", () => world.controlPlane.all("piecesFailed").length > 0);
    expect(world.controlPlane.all("piecesFailed")[0]).toMatchObject({
      parentHostId: "host-b",
      reason: "digest_mismatch",
      pieceIndexes: [0],
    });
    expect([client.received(), heldPieces()]).toEqual([0, []]);
    world.grantParent(world.waiting, { hostId: "host-c", truth: content }, ALL);
    expect((await client.done).bytes.equals(content)).toBe(true);
  });

  test("that waits for its client loses no digest that is said meanwhile", async () => {
    const origin = Promise.withResolvers<void>();
    world.origin.beforeAnswer = async () => origin.promise;
    world.onRequest((request) => {
      world.grantAhead(request, PARENT, content, { granted: ALL, known: [3] });
      world.sayDigests(request.taskId, content, [0, 1, 2]);
      origin.resolve();
    });
    const { bytes } = await world.get(url);
    expect(bytes.equals(content)).toBe(true);
    expect(parentsAsked()).toEqual(ALL.map(() => "host-b"));
  });
});

test("what was said of a content that is dropped is not believed of the next one under its name", async () => {
  world.onRequest((request) => world.grantAhead(request, PARENT, content, { granted: ALL }));
  const client = world.client(url);
  await waitFor("all requests", () => world.pieceClient.reads.length === 4, { intervalMs: 2 });
  const { taskId } = world.waiting;
  world.sayDigests(taskId, Buffer.alloc(content.length), [3]);
  world.controlPlane.assign({
    $case: "dropTask",
    value: { taskId, reason: "retired", lengthBytes: 0 },
  });
  expect(String((await client.done).error)).toMatch(/dropped/);
  const next = world.client(url);
  await waitFor("all again", () => world.pieceClient.reads.length === 8, { intervalMs: 2 });
  world.sayDigests(taskId, content, ALL);
  expect((await next.done).bytes.equals(content)).toBe(true);
  expect(world.origin.sentBytes).toBe(0);
});

test("digests that make no sense are ignored, and what follows is understood", async () => {
  world.onRequest((request) => world.grantAhead(request, PARENT, content, { granted: ALL }));
  const client = world.client(url);
  await waitFor("all requests", () => world.pieceClient.reads.length === 4, { intervalMs: 2 });
  const { taskId } = world.waiting;
  const digests = new Uint8Array(4 * 32).fill(7);
  for (const pieces of [[{ start: 0, count: 3 }], [{ start: 1, count: 4 }]])
    world.controlPlane.assign({ $case: "pieceDigests", value: { taskId, pieces, digests } });
  world.sayDigests(taskId, content, ALL);
  expect((await client.done).bytes.equals(content)).toBe(true);
  const ignored = world.log.entries.filter(({ event }) => event.startsWith("piece digests"));
  expect(ignored).toHaveLength(2);
});
