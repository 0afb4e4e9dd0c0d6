import { once } from "node:events";
import { connect } from "node:net";
import { afterAll, describe, expect, test } from "vitest";
import { pieceSpan } from "@lacewing/contracts/pieces.ts";
import type { StoredTask } from "@lacewing/peer/app/ports.ts";
import { bytesOf, seededContent } from "../support/content.ts";
import {
  aRead,
  aToken,
  countOpenHandles,
  created,
  memorySink,
  type Parent,
  startParent,
  startPieceClient,
} from "../support/piece-hosts.ts";
import { aTask, fillTask } from "../support/task-builders.ts";
import { waitFor } from "../support/wait-for.ts";

const MIB = 2 ** 20;
const LENGTH = 2 * MIB + 77;
const never = new AbortController().signal;
const description = aTask("relayed", LENGTH);
const content = await bytesOf(seededContent("relayed", LENGTH));

afterAll(countOpenHandles());

/** Asks for one piece before anybody says that the parent holds it. */
function askFor(parent: Parent, pieceIndex: number, claims: Parameters<typeof aToken>[1] = {}) {
  const pieces = startPieceClient();
  const span = pieceSpan(description, pieceIndex);
  const { bytes, sink } = memorySink(span.start, span.end - span.start);
  const token = aToken({ description }, { ahead: true, ...claims });
  const gone = new AbortController();
  const read = aRead(parent.server.address, { description }, span, token);
  const done = pieces.read(read, sink, gone.signal).finally(() => pieces.close());
  done.catch(() => undefined);
  const isRight = () => bytes.equals(content.subarray(span.start, span.end));
  return { done, isRight, hangUp: () => gone.abort(new Error("the child is gone")) };
}

async function isParked(parent: Parent, count = 1): Promise<void> {
  await waitFor("the read to wait", () => parent.server.parkedCount === count, { intervalMs: 2 });
}

/** As a download does it: the piece is held, then told of. */
async function hold(parent: Parent, task: StoredTask, pieceIndex: number): Promise<void> {
  await fillTask(task, content, [pieceIndex]);
  parent.arrivals.arrived(description.taskId);
}

describe("a read ahead of its piece", () => {
  test("is answered as soon as the parent holds it, and not before, and takes no upload slot until then", async () => {
    await using parent = await startParent({ uploadSlotCount: 1 });
    const task = await created(parent, description);
    const first = askFor(parent, 1);
    await isParked(parent);
    const later = askFor(parent, 0);
    await isParked(parent, 2);
    expect(parent.server.uploadCount).toBe(0);
    await hold(parent, task, 1);
    await first.done;
    expect(first.isRight()).toBe(true);
    expect(parent.server.parkedCount).toBe(1);
    await hold(parent, task, 0);
    await later.done;
    expect(later.isRight()).toBe(true);
    expect(parent.server.parkedCount).toBe(0);
  });

  test("waits for a task that is not made yet as well", async () => {
    await using parent = await startParent();
    const read = askFor(parent, 2);
    await isParked(parent);
    const task = await created(parent, description);
    await hold(parent, task, 0);
    expect(parent.server.parkedCount).toBe(1);
    await hold(parent, task, 2);
    await read.done;
    expect(read.isRight()).toBe(true);
  });

  test("waits for a small content alone, not in one exchange with others", async () => {
    await using parent = await startParent();
    using pieces = startPieceClient();
    const small = content.subarray(0, 1000);
    const tasks = await Promise.all(
      ["a", "b"].map(async (name) => created(parent, aTask(name, small.length))),
    );
    const reads = tasks.map(async (task) => {
      const { bytes, sink } = memorySink(0, small.length);
      const token = aToken(task, { ahead: true });
      const read = aRead(parent.server.address, task, undefined, token);
      await pieces.read({ ...read, isAhead: true }, sink, never);
      return bytes.equals(small);
    });
    const all = Promise.all(reads);
    all.catch(() => undefined);
    await isParked(parent, 2);
    for (const task of tasks) {
      await fillTask(task, small);
      parent.arrivals.arrived(task.description.taskId);
    }
    expect(await all).toEqual([true, true]);
  });

  test("is answered at once where the piece is held already", async () => {
    await using parent = await startParent();
    const task = await created(parent, description);
    await fillTask(task, content, [1]);
    const read = askFor(parent, 1);
    await read.done;
    expect(read.isRight()).toBe(true);
  });

  test("finds no upload slot when its piece comes while all are taken", async () => {
    await using parent = await startParent({ uploadSlotCount: 0 });
    const task = await created(parent, description);
    const read = askFor(parent, 1);
    await isParked(parent);
    await hold(parent, task, 1);
    await expect(read.done).rejects.toMatchObject({ reason: "busy" });
  });

  test.each(["a task that is made", "a task that never is"])(
    "is told that its piece is not held when it does not come in time, of %s",
    async (what) => {
      await using parent = await startParent({ parkMsMax: 50 });
      if (what === "a task that is made") await created(parent, description);
      const read = askFor(parent, 1);
      await isParked(parent);
      await expect(read.done).rejects.toMatchObject({ reason: "not_held" });
      expect(parent.server.parkedCount).toBe(0);
      expect(parent.arrivals.taskCount).toBe(0);
    },
  );

  test("leaves nothing behind when its child hangs up", async () => {
    await using parent = await startParent({ parkMsMax: 90_000 });
    await created(parent, description);
    const nothingIsLeft = countOpenHandles();
    const read = askFor(parent, 1);
    await isParked(parent);
    read.hangUp();
    await expect(read.done).rejects.toThrow("the child is gone");
    await isParked(parent, 0);
    expect(parent.arrivals.taskCount).toBe(0);
    await nothingIsLeft();
  });

  test("ends at once when the server closes", async () => {
    const parent = await startParent();
    await using _ = parent;
    await created(parent, description);
    const read = askFor(parent, 1);
    await isParked(parent);
    const beganAtMs = performance.now();
    await parent.server.close();
    expect(performance.now() - beganAtMs).toBeLessThan(500);
    await expect(read.done).rejects.toMatchObject({ reason: "not_held" });
  });

  test("is refused at once when so many wait that no more may", async () => {
    await using parent = await startParent({ parkedCountMax: 1 });
    const task = await created(parent, description);
    const first = askFor(parent, 1);
    await isParked(parent);
    await expect(askFor(parent, 0).done).rejects.toMatchObject({ reason: "not_held" });
    await hold(parent, task, 1);
    await first.done;
    expect(first.isRight()).toBe(true);
  });
});

test("no child waits for so much that nothing is left for others", async () => {
  await using parent = await startParent({ parkedOfChildMax: 1 });
  const task = await created(parent, description);
  const first = askFor(parent, 1, { childHostId: "greedy" });
  await isParked(parent);
  const more = askFor(parent, 0, { childHostId: "greedy" });
  await expect(more.done).rejects.toMatchObject({ reason: "not_held" });
  const other = askFor(parent, 0, { childHostId: "modest" });
  await isParked(parent, 2);
  await hold(parent, task, 1);
  await first.done;
  await isParked(parent, 1);
  const again = askFor(parent, 2, { childHostId: "greedy" });
  await isParked(parent, 2);
  await hold(parent, task, 0);
  await hold(parent, task, 2);
  await Promise.all([other.done, again.done]);
  expect([first, other, again].map((read) => read.isRight())).toEqual([true, true, true]);
});

describe("a read that does not wait", () => {
  test("is one under a lease of what the parent holds", async () => {
    await using parent = await startParent();
    await created(parent, description);
    const read = askFor(parent, 1, { ahead: false });
    await expect(read.done).rejects.toMatchObject({ reason: "not_held" });
  });

  test("is one of several pieces, or of a piece that the lease does not name", async () => {
    await using parent = await startParent();
    await created(parent, description);
    const token = aToken({ description }, { ahead: true });
    using pieces = startPieceClient();
    const read = aRead(parent.server.address, { description }, { start: 0, end: 2 * MIB }, token);
    const { sink } = memorySink(0, 2 * MIB);
    await expect(pieces.read(read, sink, never)).rejects.toMatchObject({ reason: "not_held" });
    const foreign = askFor(parent, 1, { pieces: [{ start: 0, count: 1 }] });
    await expect(foreign.done).rejects.toThrow("status 403");
  });

  test("is one without a range that can be understood", async () => {
    await using parent = await startParent();
    const [host = "", port = ""] = parent.server.address.split(":");
    const socket = connect(Number(port), host);
    await once(socket, "connect");
    const token = aToken({ description }, { ahead: true });
    socket.write(
      `GET /v1/tasks/${description.taskId}/content HTTP/1.1\r\nhost: a\r\nlacewing-lease: ${token}\r\nconnection: close\r\n\r\n`,
    );
    let answer = "";
    for await (const chunk of socket) answer += String(chunk);
    expect(answer).toMatch(/^HTTP\/1.1 404 .*not_held\n$/s);
  });
});
