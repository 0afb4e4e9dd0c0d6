import { afterAll, expect, test } from "vitest";
import type { TaskRequested } from "@lacewing/contracts/gen/lacewing/events/v1/events.ts";
import { parseTaskId } from "@lacewing/contracts/ids.ts";
import { rangesOf } from "@lacewing/contracts/pieces.ts";
import { createPieceClient } from "@lacewing/peer/adapters/piece-transfer/piece-client.ts";
import { startPieceServer } from "@lacewing/peer/adapters/piece-transfer/piece-server.ts";
import { systemClock } from "@lacewing/runtime/clock.ts";
import { bytesOf, seededContent } from "../support/content.ts";
import { anchoredPath, layoutOf, PeerWorld } from "../support/peer-world.ts";
import { aToken, CLUSTER_SECRET, countOpenHandles, hostId } from "../support/piece-hosts.ts";
import { aTask } from "../support/task-builders.ts";
import { waitFor } from "../support/wait-for.ts";

const MIB = 2 ** 20;
const content = await bytesOf(seededContent("relay", 7 * MIB + 77));
const url = `http://origin.test${anchoredPath(content)}`;
const ALL = [0, 1, 2, 3, 4, 5, 6, 7];
const EVEN = [0, 2, 4, 6];
const ODD = [1, 3, 5, 7];

afterAll(countOpenHandles());

/** A host that reads from others and serves them over real connections; the test is its scheduler and its origin. */
async function startHost(name: string) {
  const pieceClient = createPieceClient();
  const world = new PeerWorld({ pieceClient });
  const { store, arrivals, log } = world;
  const server = await startPieceServer({
    listen: { host: "127.0.0.1", port: 0 },
    hostId: hostId(name),
    clusterSecret: CLUSTER_SECRET,
    store,
    arrivals,
    clock: systemClock,
    log,
    isReady: () => true,
    metrics: () => "",
    serveBytes: { add: () => {} },
  });
  /** As a lease of pieces names this host. */
  const asParent = (task: string, pieces: readonly number[]) => {
    const taskId = parseTaskId(task);
    if (taskId === undefined) throw new Error(`"${task}" is no task id`);
    const description = aTask("relay", content.length, { ...layoutOf(content), taskId });
    const claims = { parentHostId: name, pieces: rangesOf(pieces), ahead: true };
    return { hostId: name, address: server.address, token: aToken({ description }, claims) };
  };
  return {
    world,
    server,
    asParent,
    heldCount: () => [...store.list()][0]?.held.count ?? 0,
    [Symbol.asyncDispose]: async () => {
      await world.close();
      await server.close();
      pieceClient.close();
    },
  };
}

type Host = Awaited<ReturnType<typeof startHost>>;

/** A client asks; what the scheduler says to that is up to `granted`. */
function download(host: Host, granted: (request: TaskRequested) => void) {
  host.world.origin.add(anchoredPath(content), content);
  host.world.onRequest(granted);
  return host.world.client(url);
}

/** A host whose origin stops before `atBytes` until it is opened. */
function readOrigin(host: Host, atBytes: number) {
  const { promise, resolve } = Promise.withResolvers<void>();
  host.world.origin.add(anchoredPath(content), content, { gate: { atBytes, opened: promise } });
  host.world.onRequest((request) => host.world.grantOrigin(request));
  return { client: host.world.client(url), open: resolve };
}

test("a host that is told to read ahead of its parent gets each piece when the parent has it, and shows it when it is known to be right", async () => {
  await using first = await startHost("first");
  await using second = await startHost("second");
  const origin = readOrigin(first, 2 * MIB);
  const child = download(second, (request) => {
    const parent = first.asParent(request.taskId, ALL);
    second.world.grantAhead(request, parent, content, { granted: ALL });
  });
  await waitFor("a read to wait at the parent", () => first.server.parkedCount === 1);
  const { taskId } = second.world.waiting;
  second.world.sayDigests(taskId, content, [0]);
  await waitFor("the first piece", () => child.received() === MIB);
  await waitFor("the parent to hold two pieces", () => first.heldCount() === 2);
  await waitFor("the child to hold its first", () => second.heldCount() === 1);
  origin.open();
  await waitFor("the parent to hold everything", () => first.heldCount() === ALL.length);
  expect(child.received()).toBe(MIB);
  second.world.sayDigests(taskId, content, ALL);
  const { bytes, error } = await child.done;
  expect(error).toBeUndefined();
  expect(bytes.equals(content)).toBe(true);
  expect((await origin.client.done).bytes.equals(content)).toBe(true);
  expect(second.world.origin.sentBytes).toBe(0);
  expect(first.server.parkedCount).toBe(0);
});

test("hosts that read every second piece of the first reader give each other the rest, though none had anything when they were told", async () => {
  await using first = await startHost("first");
  await using left = await startHost("left");
  await using right = await startHost("right");
  const relay = (host: Host, other: Host, own: readonly number[], theirs: readonly number[]) =>
    download(host, (request) => {
      const { taskId } = request;
      host.world.grantAhead(request, first.asParent(taskId, own), content, { granted: own });
      host.world.grantAhead(request, other.asParent(taskId, theirs), content, { granted: theirs });
    });
  const clients = [relay(left, right, EVEN, ODD), relay(right, left, ODD, EVEN)];
  const isWaiting = ({ server }: Host, count: number) => server.parkedCount === count;
  await waitFor(
    "all reads to wait",
    () => isWaiting(first, 2) && isWaiting(left, 1) && isWaiting(right, 1),
  );
  const origin = readOrigin(first, 3 * MIB);
  await waitFor("the first pieces", () => first.heldCount() === 3);
  const { taskId } = left.world.waiting;
  for (const { world } of [left, right]) world.sayDigests(taskId, content, [0, 1, 2]);
  await waitFor("all of them everywhere", () => left.heldCount() + right.heldCount() === 6);
  origin.open();
  for (const { world } of [left, right]) world.sayDigests(taskId, content, [3, 4, 5, 6, 7]);
  for (const client of [...clients, origin.client]) {
    const { bytes, error } = await client.done;
    expect(error).toBeUndefined();
    expect(bytes.equals(content)).toBe(true);
  }
  for (const { world } of [left, right]) {
    expect(world.origin.sentBytes).toBe(0);
    expect(world.controlPlane.all("piecesFailed")).toEqual([]);
  }
});
