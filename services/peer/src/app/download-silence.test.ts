import { setTimeout } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
// @boundaries-ignore tests share builders that no service ships
import { bytesOf, seededContent } from "../../../../test/support/content.ts";
// @boundaries-ignore tests share builders that no service ships
import { anchoredPath, layoutOf, PeerWorld } from "../../../../test/support/peer-world.ts";
// @boundaries-ignore tests share builders that no service ships
import { waitFor } from "../../../../test/support/wait-for.ts";

const MIB = 2 ** 20;
const HOST = "http://origin.test";

let world: PeerWorld;
let content: Buffer;
let url: string;
beforeEach(async () => {
  world = new PeerWorld();
  content = await bytesOf(seededContent("silence", 3 * MIB + 77));
  url = `${HOST}${anchoredPath(content)}`;
  world.origin.add(anchoredPath(content), content);
});
afterEach(async () => world.close());

describe("without a word from the scheduler", () => {
  test("a download goes to the origin after the second question and is marked degraded", async () => {
    const { bytes } = await world.get(url);
    expect(bytes.equals(content)).toBe(true);
    const [fact] = await world.facts(1);
    expect(fact).toMatchObject({ degraded: true, fetched: { backToSource: content.length } });
    expect(world.controlPlane.all("taskRequested").length).toBeGreaterThanOrEqual(2);
    expect(world.origin.requests).toHaveLength(1);
  });

  test("that is busy with others, a download waits on: the origin's copy is somebody else's already", async () => {
    world.pieceClient.parents.set("host-b", content);
    const busy = setInterval(
      () => world.controlPlane.assign({ $case: "receipts", value: { downloadIds: [] } }),
      100,
    );
    try {
      const client = world.client(url);
      await waitFor("second question", () => world.controlPlane.all("taskRequested").length > 1);
      await setTimeout(1_000);
      world.grantParent(world.waiting, { hostId: "host-b", truth: content }, [0]);
      await waitFor("first bytes", () => client.received() > 0);
      // Owes the next word again, longer than a second question takes.
      await setTimeout(2_500);
      world.grantParent(world.waiting, { hostId: "host-b", truth: content }, [1, 2, 3]);
      expect((await client.done).bytes.equals(content)).toBe(true);
    } finally {
      clearInterval(busy);
    }
    const [fact] = await world.facts(1);
    expect(fact).toMatchObject({ degraded: false, fetched: { backToSource: 0 } });
  });

  test("a download that had begun goes on from the holder it knows, then from the origin", async () => {
    world.pieceClient.parents.set("host-b", content);
    world.onRequest((request) =>
      world.grantParent(request, { hostId: "host-b", truth: content }, [0]),
    );
    const client = world.client(url);
    await waitFor("first bytes", () => client.received() > 0, { intervalMs: 2 });
    const asked = world.waiting;
    world.grantParent(asked, { hostId: "host-b", truth: content, leaseId: "0-1-2" }, [1, 2]);
    world.controlPlane.assign({
      $case: "leaseEnd",
      value: { leaseId: "0-1-2", taskId: asked.taskId, reason: "expired" },
    });
    const { bytes } = await client.done;
    expect(bytes.equals(content)).toBe(true);
    const [fact] = await world.facts(1);
    expect(world.pieceClient.reads.map(({ token }) => token)).toContain("self-host-b");
    expect(fact?.degraded).toBe(true);
    expect(fact?.delivered).toEqual({
      localPeer: 0,
      remotePeer: 3 * MIB,
      backToSource: content.length - 3 * MIB,
    });
    expect(fact?.fetched?.backToSource).toBe(world.origin.sentBytes);
  });

  test("a read of the origin gives way when the scheduler comes back with a parent", async () => {
    world.controlPlane.isConnected = false;
    const { promise, resolve } = Promise.withResolvers<void>();
    world.origin.add(anchoredPath(content), content, {
      gate: { atBytes: MIB / 2, opened: promise },
    });
    world.pieceClient.parents.set("host-b", content);
    const client = world.client(url);
    await waitFor("first bytes", () => client.received() > 0, { intervalMs: 2 });
    const asked = world.waiting;
    world.grantParent(asked, { hostId: "host-b", truth: content }, [1, 2, 3]);
    resolve();
    expect((await client.done).bytes.equals(content)).toBe(true);
    const [fact] = await world.facts(1);
    expect(fact?.fetched?.remotePeer).toBe(content.length - layoutOf(content).pieceLengthBytes);
  });

  test("but to wait, what others bring reaches a client whose origin does not answer", async () => {
    world.origin.add(anchoredPath(content), content).isDown = true;
    world.pieceClient.parents.set("host-b", content);
    world.onRequest(({ taskId, requestId }) => {
      const value = { taskId, requestId, reason: "busy", nextByMs: 1_000, lengthBytes: 0 };
      world.controlPlane.assign({ $case: "pending", value });
    });
    const client = world.client(url, [], { access: "public" });
    await waitFor("the question to the origin", () => world.origin.requests.length > 0);
    world.grantParent(world.waiting, { hostId: "host-b", truth: content }, [0, 1, 2, 3]);
    expect((await client.done).bytes.equals(content)).toBe(true);
    const [fact] = await world.facts(1);
    expect(fact).toMatchObject({ outcome: "finished", fetched: { backToSource: 0 } });
  });
});
