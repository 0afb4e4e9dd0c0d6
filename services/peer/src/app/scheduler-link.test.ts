import { parseTaskId, type TaskId } from "@lacewing/contracts/ids.ts";
import { afterEach, beforeEach, expect, test } from "vitest";
// @boundaries-ignore tests share builders that no service ships
import { bytesOf, seededContent } from "../../../../test/support/content.ts";
// @boundaries-ignore tests share builders that no service ships
import { anchoredPath, PeerWorld } from "../../../../test/support/peer-world.ts";
// @boundaries-ignore tests share builders that no service ships
import { aTask, fillTask } from "../../../../test/support/task-builders.ts";
// @boundaries-ignore tests share builders that no service ships
import { waitFor } from "../../../../test/support/wait-for.ts";

let world: PeerWorld;
let content: Buffer;
beforeEach(async () => {
  world = new PeerWorld();
  content = await bytesOf(seededContent("link", 2 ** 20 + 5));
});
afterEach(async () => world.close());

async function hold(name: string): Promise<TaskId> {
  const task = await world.store.create(aTask(name, content.length));
  if (typeof task === "string") throw new Error(task);
  await fillTask(task, content);
  return task.description.taskId;
}

test("after a reconnect the host says all that it holds, described first, and every request that waits", async () => {
  const { promise, resolve } = Promise.withResolvers<void>();
  const path = anchoredPath(content);
  world.origin.add(path, content, { gate: { atBytes: 2 ** 18, opened: promise } });
  world.onRequest((request) => world.grantOrigin(request));
  const client = world.client(`http://origin.test${path}`);
  await waitFor("first bytes", () => client.received() > 0, { intervalMs: 2 });
  await waitFor("description", () => world.controlPlane.all("taskDescribed").length > 0);
  const taskId = await hold("kept");
  world.controlPlane.isConnected = false;
  world.controlPlane.messages.splice(0);
  world.controlPlane.reconnect();
  await waitFor("availability", () => world.controlPlane.all("piecesAvailable").length > 0);
  const [request] = world.controlPlane.all("taskRequested");
  expect(world.controlPlane.all("hostAnnounced")[0]).toMatchObject({
    full: true,
    liveRequestIds: [request?.requestId],
  });
  const kinds = world.controlPlane.messages
    .flatMap(({ events }) => events.map(({ kind }) => kind))
    .filter((kind) => kind !== undefined && "taskId" in kind.value && kind.value.taskId === taskId)
    .map((kind) => kind?.$case);
  expect(kinds).toEqual(["taskDescribed", "piecesAvailable"]);
  const [available] = world.controlPlane.all("piecesAvailable");
  expect(available?.digests).toHaveLength(2);
  resolve();
  await client.done;
});

test("a host that holds more tasks than its outbox takes at once announces all of them", async () => {
  const count = 12_000;
  const small = content.subarray(0, 10);
  for (let index = 0; index < count; index++) {
    const task = await world.store.create(aTask(`task ${index}`, small.length));
    if (typeof task === "string") throw new Error(task);
    await fillTask(task, small);
  }
  world.controlPlane.reconnect();
  await waitFor("all of them", () => world.controlPlane.all("piecesAvailable").length === count);
  expect(world.log.entries.filter(({ event }) => event === "outbox overflow")).toEqual([]);
});

test("a host that gave pieces up says so before it says what it still holds", async () => {
  const taskId = await hold("rotten");
  const task = world.store.get(taskId);
  task?.bytes.fill(0, 0, 10);
  world.controlPlane.assign({ $case: "recheck", value: { taskId, pieceIndexes: [0] } });
  await waitFor("availability", () => world.controlPlane.all("piecesAvailable").length > 0);
  const [dropped] = world.controlPlane.all("peerDropped");
  const [available] = world.controlPlane.all("piecesAvailable");
  expect(dropped).toMatchObject({ taskId, reason: "damaged", incarnation: task?.incarnation });
  expect(available?.incarnation).toBe(task?.incarnation);
  expect([...(available?.bitmap ?? [])]).toEqual([0b10]);
});

test("a receipt clears the journal, and a fact without one is kept", async () => {
  world.origin.add("/file", content, { etag: "" });
  await world.get("http://origin.test/file");
  await world.get("http://origin.test/file");
  const [first, second] = await world.facts(2);
  const downloadIds = [first?.downloadId ?? ""];
  world.controlPlane.assign({ $case: "receipts", value: { downloadIds } });
  expect([...world.journal.pending()]).toEqual([second]);
});

test("a stop breaks off what is under way and still accounts for it", async () => {
  const { promise } = Promise.withResolvers<void>();
  world.origin.add("/file", content, { gate: { atBytes: 2 ** 18, opened: promise } });
  world.onRequest((request) => world.grantOrigin(request));
  const client = world.client("http://origin.test/file");
  await waitFor("first bytes", () => client.received() > 0, { intervalMs: 2 });
  await world.link.stop(500);
  expect((await client.done).error).toBeDefined();
  expect(world.controlPlane.all("downloadFinished")[0]?.outcome).toBe("failed");
  expect(world.controlPlane.all("hostLeft")).toHaveLength(1);
  expect(parseTaskId(world.controlPlane.all("downloadFinished")[0]?.taskId ?? "")).toBeDefined();
});
