import { systemClock } from "@lacewing/runtime/clock.ts";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
// @boundaries-ignore tests share builders that no service ships
import { bytesOf, seededContent } from "../../../../test/support/content.ts";
// @boundaries-ignore tests share builders that no service ships
import { PeerWorld } from "../../../../test/support/peer-world.ts";
// @boundaries-ignore tests share builders that no service ships
import { waitFor } from "../../../../test/support/wait-for.ts";

const MIB = 2 ** 20;
const URL_OF_FILE = "http://origin.test/file";
const KEEP = { keepOnAbort: true } as const;
const PREFETCH = { prefetch: true } as const;
const FIRST_BYTES = [["Range", "bytes=0-9"]] as const;

let world: PeerWorld;
let content: Buffer;
beforeEach(async () => {
  world = new PeerWorld();
  content = await bytesOf(seededContent("background", 6 * MIB + 7));
});
afterEach(async () => world.close());

function gateAt(atBytes: number) {
  const { promise, resolve } = Promise.withResolvers<void>();
  return { gate: { atBytes, opened: promise }, open: resolve };
}

const isHeldWhole = () => [...world.store.list()][0]?.held.isFull === true;
const requestsEnded = () => world.controlPlane.all("requestEnded").length;

/** @returns how many bytes the client got. */
async function leaveAfterFirstBytes(): Promise<number> {
  world.onRequest((request) => world.grantOrigin(request));
  const client = world.client(URL_OF_FILE, [], KEEP);
  await waitFor("first bytes", () => client.received() >= MIB, { intervalMs: 2 });
  client.leave();
  await client.done;
  return client.received();
}

describe("with keepOnAbort", () => {
  test("what a client that leaves had begun to get is fetched to its end, and its row counts every byte", async () => {
    const { gate, open } = gateAt(MIB);
    world.origin.add("/file", content, { gate });
    const receivedBytes = await leaveAfterFirstBytes();
    expect(requestsEnded()).toBe(0);
    open();
    await waitFor("the whole", isHeldWhole);
    const [fact] = await world.facts(1);
    expect(fact).toMatchObject({
      outcome: "client_gone",
      fetched: { backToSource: content.length },
      delivered: { backToSource: receivedBytes },
    });
    expect(world.origin.sentBytes).toBe(content.length);
    await waitFor("the request's end", () => requestsEnded() === 1);
    await expect.poll(() => [...world.store.list()][0]?.isPinned).toBe(false);
  });

  test("a client that comes back shares what goes on", async () => {
    const { gate, open } = gateAt(MIB);
    world.origin.add("/file", content, { gate });
    await leaveAfterFirstBytes();
    const again = world.client(URL_OF_FILE, [["Range", `bytes=${MIB}-`]], KEEP);
    await waitFor("the second client", () => world.origin.requests.length === 2);
    open();
    expect((await again.done).bytes.equals(content.subarray(MIB))).toBe(true);
    expect(world.origin.sentBytes).toBe(content.length);
  });

  test("an origin that fails for good ends it, and frees its place", async () => {
    world = new PeerWorld({ isHurried: true });
    const { gate, open } = gateAt(MIB);
    const file = world.origin.add("/file", content, { gate });
    world.controlPlane.isConnected = false;
    for (let round = 0; round < 6; round++) {
      file.isDown = false;
      const client = world.client(URL_OF_FILE, [], KEEP);
      await waitFor("first bytes", () => client.received() > 0, { intervalMs: 2 });
      file.isDown = true;
      file.breaksAfterBytes = MIB;
      client.leave();
      await client.done;
      open();
      await world.facts(round + 1);
      file.breaksAfterBytes = Infinity;
    }
    const said = world.log.entries.map(({ event }) => event);
    expect(said.filter((event) => event === "completing in the background")).toHaveLength(6);
  });

  test("what nothing comes of is given up after hours, and the origin is left alone", async () => {
    const hours = Promise.withResolvers<void>();
    world = new PeerWorld({
      clock: {
        ...systemClock,
        sleep: async (ms, signal) =>
          ms < 3_600_000 ? systemClock.sleep(ms, signal) : hours.promise,
      },
    });
    const { gate } = gateAt(MIB);
    world.origin.add("/file", content, { gate });
    await leaveAfterFirstBytes();
    hours.resolve();
    await waitFor("the request's end", () => requestsEnded() === 1);
    await expect.poll(() => world.origin.brokenOffCount).toBe(1);
    await expect.poll(() => [...world.store.list()][0]?.isPinned).toBe(false);
  });

  test("no more than a few contents at once are completed so", async () => {
    const { gate, open } = gateAt(MIB);
    world.onRequest((request) => world.grantOrigin(request));
    for (let number = 0; number < 5; number++) {
      world.origin.add(`/file-${number}`, content, { gate, etag: `"v${number}"` });
      const client = world.client(`${URL_OF_FILE}-${number}`, [], KEEP);
      await waitFor("first bytes", () => client.received() >= MIB, { intervalMs: 2 });
      client.leave();
      await client.done;
    }
    open();
    await world.facts(5);
    const held = [...world.store.list()].filter((task) => task.held.isFull);
    expect(held).toHaveLength(4);
    expect(world.log.entries.map(({ event }) => event)).toContain(
      "not completed in the background: enough is",
    );
  });
});

describe("with prefetch", () => {
  test("a part has the whole fetched: the next client is served from here", async () => {
    world.origin.add("/file", content);
    world.onRequest((request) => world.grantOrigin(request));
    const part = await world.get(URL_OF_FILE, FIRST_BYTES, PREFETCH);
    expect(part.bytes.equals(content.subarray(0, 10))).toBe(true);
    const asked = () => world.controlPlane.all("taskRequested");
    await waitFor("the scheduler to be told", () => asked().at(-1)?.wantedEnd === content.length);
    expect(new Set(asked().map(({ requestId }) => requestId)).size).toBe(1);
    world.grantOrigin(world.waiting);
    await waitFor("the whole", isHeldWhole);
    const [fact] = await world.facts(1);
    expect(fact).toMatchObject({
      outcome: "finished",
      fetched: { backToSource: content.length },
      delivered: { backToSource: 10 },
    });
    expect(world.origin.sentBytes).toBe(content.length);
    const { bytes } = await world.get(URL_OF_FILE);
    expect(bytes.equals(content)).toBe(true);
    expect(world.origin.sentBytes).toBe(content.length);
  });

  test("goes on without the scheduler, and many parts make one of it", async () => {
    world.controlPlane.isConnected = false;
    world.origin.add("/file", content);
    await Promise.all([
      world.get(URL_OF_FILE, FIRST_BYTES, PREFETCH),
      world.get(URL_OF_FILE, [["Range", `bytes=${3 * MIB}-${3 * MIB + 9}`]], PREFETCH),
    ]);
    await waitFor("the whole", isHeldWhole);
    await world.facts(2);
    const said = world.log.entries.filter(({ event }) => event === "completing in the background");
    expect(said).toHaveLength(1);
    expect(world.origin.sentBytes).toBe(content.length);
  });

  test("a client that wants the whole and leaves is not gone on without", async () => {
    const { gate } = gateAt(MIB);
    world.origin.add("/file", content, { gate });
    world.onRequest((request) => world.grantOrigin(request));
    const client = world.client(URL_OF_FILE, [], PREFETCH);
    await waitFor("first bytes", () => client.received() > 0, { intervalMs: 2 });
    client.leave();
    await client.done;
    await expect.poll(() => world.origin.brokenOffCount).toBe(1);
    expect((await world.facts(1))[0]?.outcome).toBe("client_gone");
  });
});
