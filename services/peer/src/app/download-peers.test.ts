import { pieceLengthOf } from "@lacewing/contracts/piece-length.ts";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
// @boundaries-ignore tests share builders that no service ships
import { bytesOf, seededContent } from "../../../../test/support/content.ts";
// @boundaries-ignore tests share builders that no service ships
import { anchoredPath, PeerWorld } from "../../../../test/support/peer-world.ts";
// @boundaries-ignore tests share builders that no service ships
import { waitFor } from "../../../../test/support/wait-for.ts";

const MIB = 2 ** 20;
const HOST = "http://origin.test";
const ALL = [0, 1, 2, 3];

let world: PeerWorld;
let content: Buffer;
let url: string;
beforeEach(async () => {
  world = new PeerWorld();
  content = await bytesOf(seededContent("peers", 3 * MIB + 77));
  url = `${HOST}${anchoredPath(content)}`;
  world.origin.add(anchoredPath(content), content);
});
afterEach(async () => world.close());

describe("content that another host holds", () => {
  test("comes from it, with one byte asked of the origin, and counts as remote_peer", async () => {
    world.pieceClient.parents.set("host-b", content);
    world.onRequest((request) =>
      world.grantParent(request, { hostId: "host-b", truth: content }, ALL),
    );
    const { bytes } = await world.get(url);
    expect(bytes.equals(content)).toBe(true);
    const [fact] = await world.facts(1);
    expect(fact).toMatchObject({
      outcome: "finished",
      degraded: false,
      probeBytes: 1,
      fetched: { remotePeer: content.length, backToSource: 0 },
      delivered: { remotePeer: content.length, backToSource: 0, localPeer: 0 },
    });
    expect(world.origin.sentBytes).toBe(0);
    expect(world.controlPlane.all("piecesAvailable").flatMap(({ digests }) => digests)).toEqual([]);
    const leasedBytes = () =>
      world.controlPlane
        .all("piecesAvailable")
        .flatMap(({ leasesEnded }) => leasesEnded.map(({ bytes: leased }) => leased));
    await expect.poll(leasedBytes).toEqual([content.length]);
  });

  test("and whose first piece no lease brings: the scheduler is told what holds the client up", async () => {
    world.pieceClient.parents.set("host-b", content);
    let taskId = "";
    world.onRequest((request) => {
      taskId = request.taskId;
      const grant = (pieces: readonly number[]) =>
        world.grantParent(request, { hostId: "host-b", truth: content }, pieces);
      grant([2]);
      void waitFor(
        "the scheduler is told",
        () => world.controlPlane.blockedReaders.length > 0,
      ).then(() => grant([0, 1, 3]));
    });
    const { bytes } = await world.get(url);
    expect(bytes.equals(content)).toBe(true);
    expect(world.controlPlane.blockedReaders).toEqual([{ taskId, pieceIndex: 0 }]);
  });

  test("needs no word of an origin whose content is for everybody, not even of one that is down", async () => {
    const file = world.origin.add(anchoredPath(content), content);
    file.isDown = true;
    world.pieceClient.parents.set("host-b", content);
    world.onRequest((request) =>
      world.grantParent(request, { hostId: "host-b", truth: content }, ALL),
    );
    const part = await world.get(url, [["Range", "bytes=5-9"]], { access: "public" });
    expect(part.answer.status).toBe(206);
    expect(part.bytes.equals(content.subarray(5, 10))).toBe(true);
    const whole = await world.get(url, [], { access: "public" });
    expect(whole.bytes.equals(content)).toBe(true);
    const [fact] = await world.facts(2);
    expect(fact).toMatchObject({ probeBytes: 0, fetched: { backToSource: 0 } });
    expect(world.origin.requests).toEqual([]);
  });

  test("is served from the disk the second time, as local_peer", async () => {
    world.pieceClient.parents.set("host-b", content);
    world.onRequest((request) =>
      world.grantParent(request, { hostId: "host-b", truth: content }, ALL),
    );
    await world.get(url);
    const { bytes } = await world.get(url);
    expect(bytes.equals(content)).toBe(true);
    const facts = await world.facts(2);
    expect(facts[1]).toMatchObject({
      fetched: { remotePeer: 0, backToSource: 0 },
      delivered: { localPeer: content.length },
    });
    expect(world.controlPlane.all("taskRequested")).toHaveLength(1);
  });

  test("never shows a parent's wrong bytes: the parent is blamed and the rest comes from elsewhere", async () => {
    const lying = Buffer.from(content);
    lying.fill(0, MIB, MIB + 10);
    world.pieceClient.parents.set("host-b", lying);
    world.pieceClient.parents.set("host-c", content);
    world.onRequest((request) =>
      world.grantParent(request, { hostId: "host-b", truth: content }, ALL),
    );
    const request = world.client(url);
    await waitFor("blame", () => world.controlPlane.all("piecesFailed").length > 0, {
      intervalMs: 2,
    });
    const [failed] = world.controlPlane.all("piecesFailed");
    expect(failed).toMatchObject({
      parentHostId: "host-b",
      reason: "digest_mismatch",
      pieceIndexes: [1],
    });
    expect(request.received()).toBeLessThanOrEqual(MIB);
    const asked = world.waiting;
    world.grantParent(asked, { hostId: "host-c", truth: content }, ALL);
    const { bytes, error } = await request.done;
    expect(error).toBeUndefined();
    expect(bytes.equals(content)).toBe(true);
  });

  test("is not taken under a lease for another length: the origin that was just asked knows better", async () => {
    world.pieceClient.parents.set("host-b", content);
    world.onRequest(({ taskId, requestId }) => {
      world.grant({
        leaseId: "0-1-7",
        taskId,
        requestId,
        parentHostId: "host-b",
        parentAddress: "host-b",
        pieces: [{ start: 0, count: 10 }],
        lengthBytes: 10 * 2 ** 20,
        pieceLengthBytes: 2 ** 20,
      });
    });
    const { bytes } = await world.get(url);
    expect(bytes.equals(content)).toBe(true);
    const failed = world.controlPlane.all("piecesFailed");
    expect(failed[0]).toMatchObject({ leaseId: "0-1-7", reason: "cancelled" });
    expect(failed[0]?.detail).toMatch(/the lease is for 10485760 bytes/);
  });

  test("is not taken under a lease that names no digest for it", async () => {
    world.pieceClient.parents.set("host-b", content);
    world.onRequest((request) => {
      const { taskId, requestId } = request;
      world.grant({
        leaseId: "0-1-7",
        taskId,
        requestId,
        parentHostId: "host-b",
        parentAddress: "host-b",
        pieces: [{ start: 0, count: 4 }],
        lengthBytes: content.length,
        pieceLengthBytes: pieceLengthOf(content.length),
      });
    });
    const client = world.client(url);
    await waitFor("the refusal", () => world.controlPlane.all("piecesFailed").length === 1);
    expect(world.controlPlane.all("piecesFailed")[0]?.reason).toBe("malformed");
    expect(client.received()).toBe(0);
    client.leave();
  });
});

describe("a piece that a parent brings anew after the origin broke off in the middle of it", () => {
  /** The client gets the first half of the second piece from the origin, which sends `sent`, and the rest comes from a parent. */
  async function downloadInTwoHalves(sent: Buffer) {
    world.origin.add(anchoredPath(content), sent, { breaksAfterBytes: MIB + MIB / 2 });
    world.pieceClient.parents.set("host-b", content);
    world.onRequest((request) => world.grantOrigin(request));
    const client = world.client(url);
    const failed = () => world.controlPlane.all("piecesFailed").length > 0;
    await waitFor("half of the piece", () => client.received() >= MIB + MIB / 2, { intervalMs: 2 });
    await waitFor("the origin's failure", failed, { intervalMs: 2 });
    world.grantParent(world.waiting, { hostId: "host-b", truth: content }, [1, 2, 3]);
    return client.done;
  }

  test("ends as it should when the halves are of one content", async () => {
    const { bytes, error } = await downloadInTwoHalves(content);
    expect(error).toBeUndefined();
    expect(bytes.equals(content)).toBe(true);
    expect((await world.facts(1))[0]?.fetched?.remotePeer).toBeGreaterThan(2 * MIB);
  });

  test("is not taken for right because what is stored now agrees with the anchor", async () => {
    const lie = Buffer.from(content);
    lie.fill(0, MIB + 10, MIB + 20);
    const { bytes, error } = await downloadInTwoHalves(lie);
    expect(error).toHaveProperty("name", "AnchorMismatch");
    expect(bytes.length).toBeLessThan(content.length);
    // The copy is right, and whoever goes on where that client stopped would still have a wrong file.
    await waitFor("the check", () => [...world.store.list()][0]?.isVerified === true);
    const rest = [["range", `bytes=${bytes.length}-`]] as const;
    await expect(world.get(url, rest)).rejects.toHaveProperty("name", "AnchorMismatch");
    expect((await world.get(url)).bytes.equals(content)).toBe(true);
  });
});

describe("a lease", () => {
  test("for pieces that another fetch has under way does not end before they are here", async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    world.origin.add(anchoredPath(content), content, {
      gate: { atBytes: MIB / 2, opened: promise },
    });
    world.onRequest((request) => {
      world.grantOrigin(request, "0-1-1");
      world.grantOrigin(request, "0-1-2");
    });
    const client = world.client(url);
    await waitFor("first bytes", () => client.received() > 0, { intervalMs: 2 });
    world.link.announce(false);
    await waitFor("announce", () => world.controlPlane.all("hostAnnounced").length > 1);
    expect(world.controlPlane.all("hostAnnounced").at(-1)?.liveLeaseIds).toEqual([
      "0-1-1",
      "0-1-2",
    ]);
    resolve();
    await client.done;
    const ended = () =>
      world.controlPlane.all("piecesAvailable").flatMap(({ leasesEnded }) => leasesEnded);
    await waitFor("both ends", () => ended().length === 2);
    expect(ended().map(({ leaseId, bytes }) => [leaseId, bytes])).toEqual(
      expect.arrayContaining([
        ["0-1-1", content.length],
        ["0-1-2", 0],
      ]),
    );
  });

  test("that is repeated after its end is answered with the figures it ended with", async () => {
    world.pieceClient.parents.set("host-b", content);
    const parent = { hostId: "host-b", truth: content, leaseId: "0-1-5" };
    world.onRequest((request) => world.grantParent(request, parent, [0, 1]));
    const client = world.client(url);
    const ended = () =>
      world.controlPlane.all("piecesAvailable").flatMap(({ leasesEnded }) => leasesEnded);
    await waitFor("the end", () => ended().length === 1);
    const asked = world.waiting;
    world.grantParent(asked, parent, [0, 1]);
    await waitFor("the same end", () => ended().length === 2);
    expect(ended()[1]).toEqual(ended()[0]);
    client.leave();
    await client.done;
  });

  test("for this host's own copy of what it holds already leaves nothing pinned", async () => {
    world.pieceClient.parents.set("host-b", content);
    const taskId = "00".repeat(32);
    const own = { taskId, requestId: "" };
    world.grantParent(own, { hostId: "host-b", truth: content, leaseId: "0-1-1" }, ALL);
    await waitFor("the copy", () => [...world.store.list()][0]?.isVerified === true);
    world.grantParent(own, { hostId: "host-b", truth: content, leaseId: "0-1-2" }, ALL);
    const pinned = () => [...world.store.list()].filter((task) => task.isPinned);
    await expect.poll(pinned).toEqual([]);
  });

  test("for a request that is over is refused", async () => {
    world.grant({ leaseId: "0-1-9", taskId: "00".repeat(32), requestId: "gone" });
    await waitFor("the refusal", () => world.controlPlane.all("piecesFailed").length === 1);
    expect(world.controlPlane.all("piecesFailed")[0]).toMatchObject({
      leaseId: "0-1-9",
      reason: "cancelled",
    });
  });

  test("of an old owner of the slice is refused", async () => {
    const reasons = { $case: "announceFull", value: { reason: "test" } } as const;
    world.controlPlane.assign(reasons, 5, 3);
    world.controlPlane.assign(reasons, 4, 3);
    expect(world.log.entries.map(({ event }) => event)).toEqual([
      "full announce asked for",
      "assignment of an old epoch refused",
    ]);
  });
});

test("a task that is dropped breaks off the clients that wait for it", async () => {
  const { promise, resolve } = Promise.withResolvers<void>();
  world.origin.add(anchoredPath(content), content, { gate: { atBytes: MIB, opened: promise } });
  world.onRequest((request) => world.grantOrigin(request));
  const client = world.client(url);
  await waitFor("first bytes", () => client.received() > 0, { intervalMs: 2 });
  const [task] = world.store.list();
  world.controlPlane.assign({
    $case: "dropTask",
    value: { taskId: task?.description.taskId ?? "", reason: "poisoned", lengthBytes: 0 },
  });
  expect(String((await client.done).error)).toMatch(/dropped: poisoned/);
  expect([...world.store.list()]).toEqual([]);
  resolve();
});

describe("a copy that this host has checked against its anchor", () => {
  const drop = (reason: string) => {
    const [task] = world.store.list();
    const value = { taskId: task?.description.taskId ?? "", reason, lengthBytes: 0 };
    world.controlPlane.assign({ $case: "dropTask", value });
  };
  const announced = () => world.controlPlane.all("hostAnnounced").at(-1)?.inventoryDigest;

  test.each(["poisoned", "digest_conflict", "validator_changed"])(
    "stays, in parts too, when the task is dropped as %s because of what others were sent",
    async (reason) => {
      world.onRequest((request) => world.grantOrigin(request));
      await world.get(url);
      await waitFor("the check", () => [...world.store.list()][0]?.isVerified === true);
      drop(reason);
      expect([...world.store.list()]).toHaveLength(1);
      const part = await world.get(url, [["range", "bytes=10-19"]]);
      expect(part.bytes.equals(content.subarray(10, 20))).toBe(true);
      expect(world.origin.sentBytes).toBe(content.length);
    },
  );

  test("is not spoken of any more when the cluster has given it up", async () => {
    const nothing = announced();
    world.onRequest((request) => world.grantOrigin(request));
    await world.get(url);
    await waitFor("the check", () => world.controlPlane.all("taskVerified").length === 1);
    drop("poisoned");
    world.controlPlane.assign({ $case: "announceFull", value: { reason: "test" } });
    await waitFor("the announce", () => world.controlPlane.all("hostAnnounced").length === 2);
    expect(announced()).toBe(nothing);
    await world.link.stop(200);
    expect(world.controlPlane.all("taskVerified")).toHaveLength(1);
  });

  test("goes like any other when it has no anchor", async () => {
    world.origin.add("/plain", content);
    world.onRequest((request) => world.grantOrigin(request));
    await world.get(`${HOST}/plain`);
    await waitFor("the check", () => [...world.store.list()][0]?.isVerified === true);
    drop("validator_changed");
    expect([...world.store.list()]).toEqual([]);
  });
});
