import { randomBytes } from "node:crypto";
import { pieceLengthOf } from "@lacewing/contracts/piece-length.ts";
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { seededContent } from "../support/content.ts";
import { waitForDownloads } from "../support/download-rows.ts";
import { startWorld, type World } from "../support/e2e-world.ts";
import { startFakeHost, type Misbehaviour } from "../support/fake-host.ts";
import { waitForGraph } from "../support/graph.ts";
import { type HttpAnswer, httpGet } from "../support/http.ts";
import { killChild, waitForRestart } from "../support/kill-child.ts";
import { signedUrlOf } from "../support/lfs-batch-client.ts";
import type { LfsObject } from "../support/lfs-origin.ts";
import { listTasks, taskOn } from "../support/peer-api.ts";
import { flipByte, flipByteSilently, storedFileOf } from "../support/stored-file.ts";
import { waitFor } from "../support/wait-for.ts";

const MIB = 2 ** 20;
const ORIGIN_RATE = 10 * MIB;

/** Without a seed it is certain who a child reads from: whoever else asked for the content. */
let world: World;
beforeAll(async () => {
  world = await startWorld({ peers: 3, seedPeers: 0 });
});
afterAll(async () => world?.[Symbol.asyncDispose]());

const leaseRow = z.object({
  parentHostId: z.string().nullable(),
  childHostId: z.string(),
  outcome: z.string(),
  bytes: z.coerce.number(),
});

async function leasesOf(taskId: string) {
  return world.rows(
    leaseRow,
    `select parent_host_id as "parentHostId", child_host_id as "childHostId", outcome, bytes
       from leases where task_id = $1 order by granted_at`,
    [taskId],
  );
}

async function get(
  hostId: string,
  object: LfsObject,
  onChunk: (bytesSoFar: number) => void = () => {},
): Promise<HttpAnswer> {
  return httpGet(await signedUrlOf(world.origin, object.oid), {
    proxyUrl: world.peer(hostId).proxyUrl,
    onChunk: (_chunk, bytesSoFar) => onChunk(bytesSoFar),
  });
}

function expectWhole(answer: HttpAnswer, object: LfsObject): void {
  expect(answer).toMatchObject({
    status: 200,
    isComplete: true,
    bodyBytes: object.sizeBytes,
    sha256: object.oid,
  });
}

/** The task that an object became on a host. */
async function taskIdOn(hostId: string, object: LfsObject): Promise<string> {
  const task = (await listTasks(world.peer(hostId))).find(({ anchor }) => {
    return anchor === `sha256:${object.oid}`;
  });
  if (task === undefined) throw new RangeError(`${hostId} does not hold ${object.oid}`);
  return task.taskId;
}

/** An object that only peer-1 holds. */
async function heldByPeer1(seed: string, sizeBytes: number) {
  const object = await world.origin.addObject(seededContent(seed, sizeBytes));
  expectWhole(await get("peer-1", object), object);
  const taskId = await taskIdOn("peer-1", object);
  await waitFor("the copy on peer-1 to be known", async () => {
    const held = await world.rows(
      z.object({ count: z.coerce.number() }),
      "select held_piece_count as count from peers where task_id = $1 and host_id = 'peer-1'",
      [taskId],
    );
    return held[0]?.count === Math.ceil(sizeBytes / pieceLengthOf(sizeBytes));
  });
  return { object, taskId };
}

test("kill -9 of the parent in mid-download: its children finish from elsewhere, and SQL tells it", async () => {
  await world.origin.setRate(ORIGIN_RATE);
  const object = await world.origin.addObject(seededContent("killed parent", 40 * MIB));
  const underWay = Promise.withResolvers<void>();
  const broken = get("peer-1", object, (bytesSoFar) => {
    if (bytesSoFar > 0) underWay.resolve();
  });
  await underWay.promise;
  const children = [get("peer-2", object), get("peer-3", object)];
  const taskId = await taskIdOn("peer-1", object);
  await waitFor("both children to have read from peer-1", async () => {
    const leases = await leasesOf(taskId);
    return ["peer-2", "peer-3"].every((child) =>
      leases.some((lease) => {
        return lease.childHostId === child && lease.parentHostId === "peer-1" && lease.bytes > 0;
      }),
    );
  });
  const killed = killChild(world, { peer: "peer-1" });

  for (const child of children) expectWhole(await child, object);
  expect((await broken).isComplete).toBe(false);
  // What peer-1 had read, and the rest once more: the survivors share it. The half covers what was on its way at the kill.
  expect((await world.origin.stats()).content.bytes).toBeLessThan(1.5 * object.sizeBytes);

  await waitForRestart(world, { peer: "peer-1" }, killed);
  await waitForGraph(world);
  const rows = await waitForDownloads(world, object.oid, 3);
  expect(rows.map(({ hostId, outcome }) => `${hostId} ${outcome}`).toSorted()).toEqual([
    "peer-1 interrupted",
    "peer-2 finished",
    "peer-3 finished",
  ]);
  await world.origin.setRate(undefined);
});

test("kill -STOP of the parent in mid-transfer: what came is kept, the rest comes from elsewhere", async () => {
  const sizeBytes = 192 * MIB;
  const { object, taskId } = await heldByPeer1("stopped parent", sizeBytes);
  await world.origin.resetStats();
  const pid = world.cluster.file.pids.peers["peer-1"] ?? 0;
  let isStopped = false;
  const answer = get("peer-2", object, () => {
    if (isStopped) return;
    isStopped = true;
    process.kill(pid, "SIGSTOP");
  });
  try {
    expectWhole(await answer, object);
  } finally {
    process.kill(pid, "SIGCONT");
  }
  const read = (await world.origin.stats()).content.bytes;
  expect(read).toBeGreaterThan(0);
  expect(read).toBeLessThan(sizeBytes);
  // The child is the first to notice, and says so: the scheduler's own watch is there for children that cannot.
  const blamed = await waitFor("the blame in SQL", async () => {
    const leases = await leasesOf(taskId);
    return leases.find(({ outcome }) => outcome === "stalled" || outcome === "expired");
  });
  expect(blamed).toMatchObject({
    parentHostId: "peer-1",
    childHostId: "peer-2",
    outcome: "stalled",
  });
});

test("a byte flipped in a stored piece is noticed by the parent itself when the file's time tells of it", async () => {
  const { object, taskId } = await heldByPeer1("damaged openly", 12 * MIB);
  await flipByte(storedFileOf(world.peer("peer-1"), taskId), 5 * MIB + 1234);

  expectWhole(await get("peer-2", object), object);
  await waitFor("peer-1 to give the piece up", async () => {
    const task = await taskOn(world.peer("peer-1"), taskId);
    return (
      task !== undefined && task.heldPieceCount === 11 && (task.bitmap[0] ?? 0) === 0b1101_1111
    );
  });
  // Nobody was sent wrong bytes, so nobody is blamed for any.
  expect((await leasesOf(taskId)).map(({ outcome }) => outcome)).not.toContain("digest_mismatch");
  await waitForGraph(world);
});

test("a byte flipped with the file's time put back: noticed by the parent itself, never delivered, healed from a neighbour", async () => {
  const { object, taskId } = await heldByPeer1("damaged silently", 12 * MIB);
  await flipByteSilently(storedFileOf(world.peer("peer-1"), taskId), 5 * MIB + 1234);

  expectWhole(await get("peer-2", object), object);
  await waitFor("peer-1 to give the piece up", async () => {
    const task = await taskOn(world.peer("peer-1"), taskId);
    return (
      task !== undefined && task.heldPieceCount === 11 && (task.bitmap[0] ?? 0) === 0b1101_1111
    );
  });
  expect((await leasesOf(taskId)).map(({ outcome }) => outcome)).not.toContain("digest_mismatch");
  await waitForGraph(world);
  // The damaged host heals from its neighbour, and serves right bytes again.
  await world.origin.resetStats();
  expectWhole(await get("peer-1", object), object);
  expectWhole(await get("peer-3", object), object);
  expect((await world.origin.stats()).content.bytes).toBe(0);
});

/** The head of a right answer. */
function headOf(span: { start: number; last: number; lengthBytes: number }): string {
  return (
    "HTTP/1.1 206 Partial Content\r\ncontent-type: application/octet-stream\r\n" +
    `content-length: ${span.last - span.start + 1}\r\n` +
    `content-range: bytes ${span.start}-${span.last}/${span.lengthBytes}\r\n\r\n`
  );
}

const CLAIMED_BYTES = 6 * MIB + 17;

const MISBEHAVIOURS: readonly {
  readonly name: string;
  readonly outcome: string;
  /** Of what it sends, at least and at most so many bytes are of the content that was asked for. */
  readonly sentBytes: readonly [number, number];
  readonly behave: Misbehaviour;
}[] = [
  {
    name: "sends other bytes of the right length",
    outcome: "digest_mismatch",
    sentBytes: [MIB, CLAIMED_BYTES],
    behave: (socket, span) => {
      socket.write(headOf(span));
      socket.write(randomBytes(span.last - span.start + 1));
    },
  },
  {
    name: "answers with something that is no HTTP",
    outcome: "malformed",
    sentBytes: [0, 0],
    behave: (socket) => void socket.write("SSH-2.0-OpenSSH_9.2\r\nnothing else\r\n\r\n"),
  },
  {
    name: "answers another range than it was asked for",
    outcome: "malformed",
    sentBytes: [0, 0],
    behave: (socket, span) => {
      const shifted = { ...span, start: span.start + 1, last: span.last + 1 };
      socket.write(headOf(shifted));
      socket.write(randomBytes(span.last - span.start + 1));
    },
  },
  {
    name: "ends in the middle",
    outcome: "short",
    sentBytes: [1000, 1000],
    behave: (socket, span) => {
      socket.write(headOf(span));
      socket.write(Buffer.alloc(1000));
      // An end that comes along with the bytes may be noticed before they are read; then nobody counts them.
      setTimeout(() => socket.end(), 200);
    },
  },
  {
    name: "ends along with its first bytes",
    outcome: "short",
    sentBytes: [0, 1000],
    behave: (socket, span) => {
      socket.write(headOf(span));
      socket.end(Buffer.alloc(1000));
    },
  },
  {
    name: "says nothing more in the middle",
    outcome: "stalled",
    sentBytes: [1000, 1000],
    behave: (socket, span) => {
      socket.write(headOf(span));
      socket.write(Buffer.alloc(1000));
    },
  },
  {
    name: "trickles byte by byte",
    outcome: "stalled",
    sentBytes: [1, 100],
    behave: (socket, span) => {
      socket.write(headOf(span));
      const drip = setInterval(() => socket.write("x"), 500);
      socket.once("close", () => clearInterval(drip));
    },
  },
];

for (const { name, outcome, sentBytes, behave } of MISBEHAVIOURS) {
  const [sentBytesMin, sentBytesMax] = sentBytes;
  // Each has a host and a content of its own, and some wait for deadlines most of the time.
  test.concurrent(`a parent that ${name}: nothing of it is delivered, it is blamed, and the file comes from elsewhere`, async () => {
    await using fake = await startFakeHost(
      world.cluster.file.natsUrl,
      `fake-${MISBEHAVIOURS.findIndex((entry) => entry.name === name)}`,
    );
    const content = seededContent(`claimed: ${name}`, CLAIMED_BYTES);
    const object = await world.origin.addObject(content);
    const { taskId, requestCount } = await fake.claim(world.origin, content, behave);
    await waitFor("the claim to be believed", async () => {
      const rows = await world.rows(
        z.object({ count: z.coerce.number() }),
        "select held_piece_count as count from peers where task_id = $1 and host_id = $2",
        [taskId, fake.hostId],
      );
      return rows[0]?.count === 7;
    });

    expectWhole(await get("peer-1", object), object);
    expect(requestCount()).toBeGreaterThan(0);
    await waitFor("the blame in SQL", async () => {
      const leases = await leasesOf(taskId);
      return leases.some(
        (lease) => lease.parentHostId === fake.hostId && lease.outcome === outcome,
      );
    });
    const [row] = await waitForDownloads(world, object.oid, 1);
    expect(row).toMatchObject({
      deliveredRemotePeerBytes: 0,
      deliveredBackToSourceBytes: object.sizeBytes,
    });
    const given = await waitFor("every byte from there in the account of a lease", async () => {
      const all = (await leasesOf(taskId)).filter((lease) => lease.parentHostId === fake.hostId);
      const sum = all.reduce((bytes, lease) => bytes + lease.bytes, 0);
      return sum === row?.fetchedRemotePeerBytes && all;
    });
    for (const lease of given) expect(lease.bytes).toBeLessThanOrEqual(sentBytesMax);
    expect(Math.max(...given.map(({ bytes }) => bytes))).toBeGreaterThanOrEqual(sentBytesMin);
  });
}
