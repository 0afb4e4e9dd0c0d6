import { afterEach, beforeEach, describe, expect, test } from "vitest";
// @boundaries-ignore tests share builders that no service ships
import { bytesOf, seededContent } from "../../../../test/support/content.ts";
// @boundaries-ignore tests share builders that no service ships
import { PeerWorld } from "../../../../test/support/peer-world.ts";
// @boundaries-ignore tests share builders that no service ships
import { waitFor } from "../../../../test/support/wait-for.ts";

const MIB = 2 ** 20;
const URL_OF_FILE = "http://origin.test/file";

let world: PeerWorld;
let content: Buffer;
beforeEach(async () => {
  world = new PeerWorld();
  content = await bytesOf(seededContent("ranges", 16 * MIB));
});
afterEach(async () => world.close());

function gateAt(atBytes: number) {
  const { promise, resolve } = Promise.withResolvers<void>();
  return { gate: { atBytes, opened: promise }, open: resolve };
}

function rangeOf(start: number, end: number) {
  return [["Range", `bytes=${start}-${end - 1}`]] as const;
}

describe("a range far from where the content is being read", () => {
  test("does not wait for the read to get there, and nothing is read twice", async () => {
    const { gate, open } = gateAt(MIB);
    world.origin.add("/file", content, { gate });
    world.onRequest((request) => world.grantOrigin(request));
    const whole = world.client(URL_OF_FILE);
    await waitFor("first bytes", () => whole.received() >= MIB, { intervalMs: 2 });
    const [start, end] = [12 * MIB + 5, 12 * MIB + 500];
    const part = await world.get(URL_OF_FILE, rangeOf(start, end));
    expect(part.bytes.equals(content.subarray(start, end))).toBe(true);
    expect(whole.received()).toBe(MIB);
    open();
    expect((await whole.done).bytes.equals(content)).toBe(true);
    expect(world.origin.sentBytes).toBe(content.length);
    const facts = await world.facts(2);
    const fetched = facts.reduce((sum, fact) => sum + (fact.fetched?.backToSource ?? 0), 0);
    expect(fetched).toBe(content.length);
  });

  test("waits for the read when the origin answers no ranges", async () => {
    const { gate, open } = gateAt(MIB);
    world.origin.add("/file", content, { gate, hasRanges: false });
    world.onRequest((request) => world.grantOrigin(request));
    const whole = world.client(URL_OF_FILE);
    await waitFor("first bytes", () => whole.received() >= MIB, { intervalMs: 2 });
    const part = world.client(URL_OF_FILE, rangeOf(12 * MIB, 12 * MIB + 5));
    await waitFor("the second client", () => [...world.registry.liveRequests()].length === 2);
    open();
    expect((await part.done).bytes.equals(content.subarray(12 * MIB, 12 * MIB + 5))).toBe(true);
    expect((await whole.done).bytes.equals(content)).toBe(true);
    // The opening request of the second client was answered with the whole, and broken off.
    expect(world.origin.sentBytes).toBe(content.length);
  });

  test("waits for the read when the origin refuses a second one", async () => {
    const { gate, open } = gateAt(MIB);
    const file = world.origin.add("/file", content, { gate });
    world.onRequest((request) => world.grantOrigin(request));
    const whole = world.client(URL_OF_FILE);
    await waitFor("first bytes", () => whole.received() >= MIB, { intervalMs: 2 });
    // What the client's own opening request asks for is still answered.
    world.origin.beforeAnswer = ({ range }) => {
      file.status = range === undefined || range.start > 0 ? 503 : undefined;
    };
    const part = world.client(URL_OF_FILE, rangeOf(12 * MIB, 12 * MIB + 5));
    const asked = () => world.origin.requests.filter(({ range }) => (range?.start ?? 0) > 0);
    await waitFor("the refusal", () => asked().length === 1);
    open();
    expect((await part.done).bytes.equals(content.subarray(12 * MIB, 12 * MIB + 5))).toBe(true);
    expect((await whole.done).bytes.equals(content)).toBe(true);
    expect(asked()).toHaveLength(1);
    expect(world.origin.sentBytes).toBe(content.length);
  });

  test("of many at once gets a read of its own up to a bound; each byte is still read once", async () => {
    const { gate, open } = gateAt(MIB / 2);
    content = await bytesOf(seededContent("many", 80 * MIB));
    world.origin.add("/file", content, { gate });
    world.onRequest((request) => world.grantOrigin(request));
    const whole = world.client(URL_OF_FILE);
    await waitFor("first bytes", () => whole.received() > 0, { intervalMs: 2 });
    const parts = Array.from({ length: 12 }, (_, at) => {
      const start = (at + 1) * 6 * MIB;
      return { start, client: world.client(URL_OF_FILE, rangeOf(start, start + 3 * MIB)) };
    });
    const reads = () => world.origin.requests.filter(({ range }) => (range?.start ?? 0) > 0);
    await waitFor("seven more reads", () => reads().length === 7, { intervalMs: 2 });
    open();
    for (const { start, client } of parts) {
      const { bytes } = await client.done;
      expect(bytes.equals(content.subarray(start, start + 3 * MIB))).toBe(true);
    }
    expect((await whole.done).bytes.equals(content)).toBe(true);
    expect([...world.store.list()][0]?.held.isFull).toBe(true);
    const facts = await world.facts(13);
    const fetched = facts.reduce((sum, fact) => sum + (fact.fetched?.backToSource ?? 0), 0);
    expect(fetched).toBe(world.origin.sentBytes);
    // What a read that was cut short had brought beyond its new end: less than a chunk each.
    expect(world.origin.sentBytes).toBeLessThanOrEqual(content.length + 13 * 16 * 1024);
  });
});
