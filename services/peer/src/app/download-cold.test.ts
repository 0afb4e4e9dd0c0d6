import { afterEach, beforeEach, describe, expect, test } from "vitest";
// @boundaries-ignore tests share builders that no service ships
import { bytesOf, seededContent } from "../../../../test/support/content.ts";
// @boundaries-ignore tests share builders that no service ships
import { anchoredPath, PeerWorld } from "../../../../test/support/peer-world.ts";
// @boundaries-ignore tests share builders that no service ships
import { sha256Of } from "../../../../test/support/task-builders.ts";
// @boundaries-ignore tests share builders that no service ships
import { waitFor } from "../../../../test/support/wait-for.ts";

const MIB = 2 ** 20;
const HOST = "http://origin.test";

let world: PeerWorld;
let content: Buffer;
beforeEach(async () => {
  world = new PeerWorld();
  content = await bytesOf(seededContent("cold", 2 * MIB + 12_345));
});
afterEach(async () => world.close());

function gateAt(atBytes: number) {
  const { promise, resolve } = Promise.withResolvers<void>();
  return { gate: { atBytes, opened: promise }, open: resolve };
}

describe("content that nobody has", () => {
  test("comes exactly from the origin under an open lease, is described, announced with digests, and accounted once", async () => {
    world.origin.add("/file", content);
    world.onRequest((request) => world.grantOrigin(request));
    const { answer, bytes, error } = await world.get(`${HOST}/file`);
    expect(error).toBeUndefined();
    expect(answer.status).toBe(200);
    expect(bytes.equals(content)).toBe(true);
    const [fact] = await world.facts(1);
    expect(fact).toMatchObject({
      outcome: "finished",
      httpStatus: 200,
      degraded: false,
      fetched: { localPeer: 0, remotePeer: 0, backToSource: content.length },
      delivered: { localPeer: 0, remotePeer: 0, backToSource: content.length },
    });
    expect(world.origin.sentBytes).toBe(content.length);
    expect(world.origin.requests).toHaveLength(1);
    await waitFor("verification", () => world.controlPlane.all("taskVerified").length > 0);
    expect(world.controlPlane.all("taskDescribed")[0]?.lengthBytes).toBe(content.length);
    const last = world.controlPlane.all("piecesAvailable").at(-1);
    expect([...(last?.bitmap ?? [])]).toEqual([0b111]);
    const digests = world.controlPlane.all("piecesAvailable").flatMap((value) => value.digests);
    expect(digests.map(({ pieceIndex }) => pieceIndex).toSorted((a, b) => a - b)).toEqual([
      0, 1, 2,
    ]);
    expect(Buffer.from(digests[0]?.sha256 ?? [])).toEqual(sha256Of(content.subarray(0, MIB)));
    const slice = Number.parseInt(fact?.taskId.slice(0, 2) ?? "", 16) % 64;
    expect(world.controlPlane.messages.map(({ subject }) => subject)).toContain(
      `lw.v1.ev.${slice}.host-a`,
    );
  });

  test("reaches the client before the origin has finished", async () => {
    const { gate, open } = gateAt(256 * 1024);
    world.origin.add("/file", content, { gate });
    world.onRequest((request) => world.grantOrigin(request));
    const client = world.client(`${HOST}/file`);
    await waitFor("first bytes", () => client.received() >= 256 * 1024, { intervalMs: 2 });
    open();
    expect((await client.done).bytes.equals(content)).toBe(true);
  });

  test("leaves the origin's connection usable when its client has everything before the answer's end is seen", async () => {
    const { gate, open } = gateAt(content.length);
    world.origin.add("/file", content, { gate });
    world.onRequest((request) => world.grantOrigin(request));
    const { bytes } = await world.get(`${HOST}/file`);
    expect(bytes.equals(content)).toBe(true);
    open();
    await world.facts(1);
    expect(world.origin.brokenOffCount).toBe(0);
  });

  test("whose answer does not end when all of it is here is accounted for all the same", async () => {
    const { gate } = gateAt(content.length);
    world.origin.add("/file", content, { gate });
    world.onRequest((request) => world.grantOrigin(request));
    const { bytes } = await world.get(`${HOST}/file`);
    expect(bytes.equals(content)).toBe(true);
    const [fact] = await world.facts(1);
    expect(fact).toMatchObject({ outcome: "finished", fetched: { backToSource: content.length } });
    expect(world.origin.brokenOffCount).toBe(1);
    expect(world.controlPlane.all("piecesFailed")).toEqual([]);
  });

  test("is shared when the scheduler says so: the stream ends with its piece, whoever joins, and the rest comes from others", async () => {
    const { gate, open } = gateAt(256 * 1024);
    world.origin.add("/file", content, { gate });
    world.pieceClient.parents.set("host-b", content);
    world.onRequest((request) => world.grantOrigin(request, "0-1-1"));
    const first = world.client(`${HOST}/file`);
    await waitFor("first bytes", () => first.received() > 0, { intervalMs: 2 });
    const asked = world.waiting;
    world.controlPlane.assign({
      $case: "leaseEnd",
      value: { leaseId: "0-1-1", taskId: asked.taskId, reason: "shared" },
    });
    const second = world.client(`${HOST}/file`);
    await waitFor("second client", () => second.received() > 0, { intervalMs: 2 });
    open();
    await waitFor("the end of the lease", () => world.controlPlane.all("piecesFailed").length > 0);
    world.grantParent(asked, { hostId: "host-b", truth: content, leaseId: "0-1-2" }, [1, 2]);

    expect((await first.done).bytes.equals(content)).toBe(true);
    expect((await second.done).bytes.equals(content)).toBe(true);
    expect(world.controlPlane.all("piecesFailed")).toMatchObject([
      { leaseId: "0-1-1", reason: "cancelled", pieceIndexes: [1, 2] },
    ]);
    expect(world.pieceClient.reads.map(({ span }) => span)).toEqual([
      { start: MIB, end: content.length },
    ]);
    expect(world.controlPlane.all("taskDescribed")[0]?.originRanges).toBe(true);
  });

  test("is read once for two clients that want it at the same time", async () => {
    const { gate, open } = gateAt(MIB);
    world.origin.add("/file", content, { gate });
    world.onRequest((request) => world.grantOrigin(request));
    const first = world.client(`${HOST}/file`);
    await waitFor("first bytes", () => first.received() > 0, { intervalMs: 2 });
    const second = world.client(`${HOST}/file`);
    await waitFor("second client", () => second.received() > 0, { intervalMs: 2 });
    open();
    expect((await first.done).bytes.equals(content)).toBe(true);
    expect((await second.done).bytes.equals(content)).toBe(true);
    const facts = await world.facts(2);
    const fetched = facts.reduce((sum, fact) => sum + (fact.fetched?.backToSource ?? 0), 0);
    expect(fetched).toBe(content.length);
    expect(world.origin.sentBytes).toBe(content.length);
  });

  test("goes on for the second client when the first, whose answer is being read, leaves", async () => {
    const { gate, open } = gateAt(MIB);
    world.origin.add("/file", content, { gate });
    world.onRequest((request) => world.grantOrigin(request));
    const first = world.client(`${HOST}/file`);
    await waitFor("first bytes", () => first.received() > 0, { intervalMs: 2 });
    const second = world.client(`${HOST}/file`);
    await waitFor("second client", () => second.received() > 0, { intervalMs: 2 });
    first.leave();
    await first.done;
    open();
    expect((await second.done).bytes.equals(content)).toBe(true);
    expect(world.origin.brokenOffCount).toBe(0);
    const facts = await world.facts(2);
    expect(facts.map(({ outcome }) => outcome).toSorted()).toEqual(["client_gone", "finished"]);
    const fetched = facts.reduce((sum, fact) => sum + (fact.fetched?.backToSource ?? 0), 0);
    expect(fetched).toBe(world.origin.sentBytes);
  });

  test("is no longer read when the only client leaves", async () => {
    const { gate } = gateAt(MIB);
    world.origin.add("/file", content, { gate });
    world.onRequest((request) => world.grantOrigin(request));
    const client = world.client(`${HOST}/file`);
    await waitFor("first bytes", () => client.received() >= MIB, { intervalMs: 2 });
    client.leave();
    await client.done;
    await waitFor("the origin to be freed", () => world.origin.brokenOffCount === 1);
    const [fact] = await world.facts(1);
    expect(fact).toMatchObject({ outcome: "client_gone", fetched: { backToSource: MIB } });
    await waitFor("the request's end", () => world.controlPlane.all("requestEnded").length === 1);
    await waitFor("the lease's end", () => world.controlPlane.all("piecesFailed").length === 1);
    expect(world.controlPlane.all("piecesFailed")[0]?.reason).toBe("cancelled");
  });

  test("counts every byte of a piece that was begun for a small range, and has the piece afterwards", async () => {
    world.origin.add("/file", content);
    world.onRequest((request) => world.grantOrigin(request));
    const { answer, bytes } = await world.get(`${HOST}/file`, [["Range", "bytes=100-199"]]);
    expect(answer.status).toBe(206);
    expect(bytes.equals(content.subarray(100, 200))).toBe(true);
    const [fact] = await world.facts(1);
    expect(fact).toMatchObject({
      outcome: "finished",
      fetched: { backToSource: MIB },
      delivered: { backToSource: 100 },
      probeBytes: 1,
    });
    expect(world.origin.sentBytes).toBe(MIB);
    expect([...world.store.list()][0]?.held.has(0)).toBe(true);
  });

  test("whose read breaks off again and again goes on in the middle of a piece, and costs one copy", async () => {
    world = new PeerWorld({ isHurried: true });
    world.controlPlane.isConnected = false;
    world.origin.add("/file", content, { breaksAfterBytes: 300 * 1024 });
    const { bytes } = await world.get(`${HOST}/file`);
    expect(Buffer.compare(bytes, content)).toBe(0);
    expect(world.origin.sentBytes).toBe(content.length);
  });

  test("whose read breaks off again and again after next to nothing fails the client after a bounded number of tries", async () => {
    world = new PeerWorld({ isHurried: true });
    world.controlPlane.isConnected = false;
    world.origin.add("/file", content, { breaksAfterBytes: 1024 });
    const { error } = await world.get(`${HOST}/file`);
    expect(String(error)).toMatch(/6 times in a row/);
    expect(world.origin.requests.length).toBeLessThan(10);
    expect((await world.facts(1))[0]?.outcome).toBe("failed");
  });
});

describe("anchored content", () => {
  test("is asked for whole by the client that may read it before another one probes it", async () => {
    const path = anchoredPath(content);
    world.origin.add(path, content);
    const requests: string[] = [];
    world.onRequest((request) => {
      requests.push(request.requestId);
      if (requests.length < 2) return;
      // One message says both.
      const [taskId, first = "", second = ""] = [request.taskId, ...requests];
      world.grantOrigin({ ...request, requestId: first });
      const value = { taskId, requestId: second, reason: "wait", nextByMs: 1000, lengthBytes: 0 };
      world.controlPlane.assign({ $case: "pending", value });
    });
    const clients = [world.get(`${HOST}${path}`), world.get(`${HOST}${path}`)];
    for (const { bytes } of await Promise.all(clients)) expect(bytes.equals(content)).toBe(true);
    expect(world.origin.requests.map(({ range }) => range)).toEqual([
      undefined,
      { start: 0, end: 1 },
    ]);
    expect(world.origin.sentBytes).toBe(content.length);
  });

  test("that is wrong breaks the connection off before its last bytes, is forgotten, and poisons the task", async () => {
    const wrong = Buffer.from(content);
    wrong.writeUInt8(wrong.readUInt8(5) ^ 1, 5);
    world.origin.add(anchoredPath(content), wrong);
    world.onRequest((request) => world.grantOrigin(request));
    const { bytes, error } = await world.get(`${HOST}${anchoredPath(content)}`);
    expect(error).toHaveProperty("name", "AnchorMismatch");
    expect(bytes.length).toBeLessThan(content.length);
    expect((await world.facts(1))[0]?.outcome).toBe("anchor_mismatch");
    await waitFor("poison", () => world.controlPlane.all("taskPoisoned").length === 1);
    expect([...world.store.list()]).toEqual([]);
  });

  test("that is wrong is broken off for a range that is the whole as well", async () => {
    const wrong = Buffer.from(content);
    wrong.writeUInt8(wrong.readUInt8(5) ^ 1, 5);
    world.origin.add(anchoredPath(content), wrong);
    world.onRequest((request) => world.grantOrigin(request));
    const range = [["range", "bytes=0-"]] as const;
    const { bytes, error } = await world.get(`${HOST}${anchoredPath(content)}`, range);
    expect(error).toHaveProperty("name", "AnchorMismatch");
    expect(bytes.length).toBeLessThan(content.length);
  });

  test("that was wrong a moment ago is not given in parts: they cannot be checked", async () => {
    const wrong = Buffer.from(content).fill(1);
    world.origin.add(anchoredPath(content), wrong);
    world.onRequest((request) => world.grantOrigin(request));
    await world.get(`${HOST}${anchoredPath(content)}`);
    const rest = [["range", "bytes=100-"]] as const;
    await expect(world.get(`${HOST}${anchoredPath(content)}`, rest)).rejects.toHaveProperty(
      "name",
      "AnchorMismatch",
    );
  });

  test("of one small piece withholds its end until the anchor holds, and then ends cleanly", async () => {
    const small = content.subarray(0, 1000);
    world.origin.add(anchoredPath(small), small);
    world.onRequest((request) => world.grantOrigin(request));
    const { bytes, answer } = await world.get(`${HOST}${anchoredPath(small)}`);
    expect(bytes.equals(small)).toBe(true);
    expect(answer.headers).toContainEqual(["lacewing-verified", "pieces"]);
  });

  test("that failed once is fetched anew for the next client", async () => {
    const wrong = Buffer.from(content).fill(1);
    const file = world.origin.add(anchoredPath(content), wrong);
    world.onRequest((request) => world.grantOrigin(request));
    expect((await world.get(`${HOST}${anchoredPath(content)}`)).error).toBeDefined();
    file.bytes = content;
    expect((await world.get(`${HOST}${anchoredPath(content)}`)).bytes.equals(content)).toBe(true);
  });
});
