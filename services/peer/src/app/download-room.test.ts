import { afterEach, beforeEach, describe, expect, test } from "vitest";
// @boundaries-ignore tests share builders that no service ships
import { bytesOf, seededContent } from "../../../../test/support/content.ts";
// @boundaries-ignore tests share builders that no service ships
import { anchoredPath, PeerWorld } from "../../../../test/support/peer-world.ts";
// @boundaries-ignore tests share builders that no service ships
import { waitFor } from "../../../../test/support/wait-for.ts";

const MIB = 2 ** 20;
const HOST = "http://origin.test";
const OTHER = `${HOST}/other`;
const PUBLIC = { access: "public" } as const;

let world: PeerWorld;
let content: Buffer;
beforeEach(async () => {
  // Room for one of them.
  world = new PeerWorld({ quotaBytes: 9 * MIB });
  content = await bytesOf(seededContent("wanted", 6 * MIB));
  world.origin.add("/held", await bytesOf(seededContent("held", 5 * MIB)));
  world.origin.add("/other", content);
  world.onRequest((request) => world.grantOrigin(request));
});
afterEach(async () => world.close());

function rangeOf(start: number, end: number | "" | undefined) {
  return [["Range", `bytes=${start}-${typeof end === "number" ? end - 1 : ""}`]] as const;
}

/** What of the store is content that somebody else had fetched, and what is the content of the test. */
function kept(): readonly string[] {
  return Array.from(world.store.list(), ({ description, held }) => {
    const name = new URL(description.url).pathname.slice(1, 6);
    return `${name} ${held.count} of ${held.size}`;
  });
}

const HELD = "held 5 of 5";

async function fillStore(): Promise<void> {
  await world.get(`${HOST}/held`);
  await waitFor("the content is idle", () => [...world.store.list()].every((t) => !t.isPinned));
  expect(kept()).toEqual([HELD]);
}

describe("in a full store", () => {
  beforeEach(fillStore);

  test.each([
    ["a byte", rangeOf(0, 1)],
    ["a few bytes in the middle", rangeOf(3 * MIB, 3 * MIB + 1000)],
    ["the last byte", [["Range", "bytes=-1"]] as const],
  ])("%s of other content throws nothing out, and is delivered", async (_what, range) => {
    const { answer, bytes, error } = await world.get(OTHER, range);
    expect(error).toBeUndefined();
    expect(answer.status).toBe(206);
    expect(content.includes(bytes)).toBe(true);
    expect(kept()).toEqual([HELD]);
    expect(world.registry.liveLeaseIds()).toEqual([]);
  });

  test("the same byte asked for again and again neither", async () => {
    for (let count = 0; count < 5; count++) await world.get(OTHER, rangeOf(7, 8));
    expect(kept()).toEqual([HELD]);
  });

  test("nor is a byte that other hosts could give: it comes from the origin", async () => {
    const path = anchoredPath(content);
    world.origin.add(path, content);
    world.onRequest((request) =>
      world.grantParent(request, { hostId: "host-b", truth: content }, [0, 1, 2, 3, 4, 5]),
    );
    const { bytes } = await world.get(`${HOST}${path}`, rangeOf(0, 1), PUBLIC);
    expect(bytes.equals(content.subarray(0, 1))).toBe(true);
    expect(kept()).toEqual([HELD]);
  });

  describe("a byte that other hosts could give", () => {
    const path = (): string => anchoredPath(content);
    beforeEach(() => {
      world.onRequest((request) =>
        world.grantParent(request, { hostId: "host-b", truth: content }, [0, 1, 2, 3, 4, 5]),
      );
      world.pieceClient.parents.set("host-b", content);
    });

    test("comes from them where the origin does not answer", async () => {
      world.origin.add(path(), content).isDown = true;
      const { bytes, error } = await world.get(`${HOST}${path()}`, rangeOf(0, 1), PUBLIC);
      expect(error).toBeUndefined();
      expect(bytes.equals(content.subarray(0, 1))).toBe(true);
    });

    test.each([429, 500, 503])("comes from them where the origin says %i", async (status) => {
      world.origin.add(path(), content).status = status;
      const { answer, bytes } = await world.get(`${HOST}${path()}`, rangeOf(0, 1), PUBLIC);
      expect(answer.status).toBe(206);
      expect(bytes.equals(content.subarray(0, 1))).toBe(true);
    });

    test("is refused where the origin refuses it", async () => {
      world.origin.add(path(), content).status = 403;
      const { answer } = await world.get(`${HOST}${path()}`, rangeOf(0, 1), PUBLIC);
      expect(answer.status).toBe(403);
      expect(kept()).toEqual([HELD]);
    });
  });

  test("a byte of what the origin sends only as a whole makes room for it", async () => {
    world.origin.add("/other", content, { hasRanges: false });
    const { answer, bytes } = await world.get(OTHER, rangeOf(7, 8));
    expect(answer.status).toBe(206);
    expect(bytes.equals(content.subarray(7, 8))).toBe(true);
    await waitFor("it is kept", () => /^other [1-6] of 6$/.test(kept().join()));
  });

  test("parts that are asked for together make room: many origins send the whole for them", async () => {
    const { answer } = await world.get(OTHER, [["Range", "bytes=0-0,4000000-4000009"]]);
    expect(answer.status).toBe(206);
    await waitFor("it is kept", () => /^other [1-6] of 6$/.test(kept().join()));
  });

  test.each([
    ["the whole", [], {}],
    ["a byte, where the rule prefetches", rangeOf(0, 1), { prefetch: true }],
    ["the rest of a download", rangeOf(5 * MIB - 7, ""), {}],
  ])("%s makes room for what is fetched", async (_what, range, rule) => {
    const { bytes, error } = await world.get(OTHER, range, rule);
    expect(error).toBeUndefined();
    expect(content.includes(bytes)).toBe(true);
    await waitFor("it is kept", () => /^other [1-6] of 6$/.test(kept().join()));
  });

  test("parallel parts of a whole share it", async () => {
    const partBytes = content.length / 8;
    const parts = await Promise.all(
      Array.from({ length: 8 }, (_, at) =>
        world.get(OTHER, rangeOf(at * partBytes, (at + 1) * partBytes)),
      ),
    );
    expect(Buffer.concat(parts.map(({ bytes }) => bytes)).equals(content)).toBe(true);
    expect(kept()).toEqual(["other 6 of 6"]);
    expect(world.origin.sentBytes).toBe(11 * MIB);
  });

  test("small chunks one after another are seen to be a whole download", async () => {
    const chunkBytes = MIB / 8;
    for (let start = 0; start < content.length; start += chunkBytes) {
      const { bytes } = await world.get(OTHER, rangeOf(start, start + chunkBytes));
      expect(bytes.equals(content.subarray(start, start + chunkBytes))).toBe(true);
    }
    expect(kept()).toEqual(["other 6 of 6"]);
    // The first chunk was read apart.
    expect(world.origin.sentBytes).toBeLessThanOrEqual(11 * MIB + chunkBytes);
  });
});

test("where there is room, what a byte is part of is kept", async () => {
  const { bytes } = await world.get(OTHER, rangeOf(0, 1));
  expect(bytes.equals(content.subarray(0, 1))).toBe(true);
  await waitFor("its piece is kept", () => kept().join() === "other 1 of 6");
});

describe("room that was taken in vain is given back", () => {
  test("when the client leaves before a byte came", async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    world.origin.add("/slow", content, { gate: { atBytes: 0, opened: promise } });
    const client = world.client(`${HOST}/slow`);
    await waitFor("its room", () => world.store.usage().usedBytes === content.length);
    client.leave();
    await client.done.catch(() => undefined);
    await waitFor("nothing is kept", () => world.store.usage().usedBytes === 0);
    expect(kept()).toEqual([]);
    resolve();
  });

  test("when the origin refuses what it had opened", async () => {
    const file = world.origin.add("/fickle", content);
    world.origin.beforeAnswer = ({ range }) => {
      file.status = range?.end === 1 ? undefined : 403;
    };
    await world.get(`${HOST}/fickle`, rangeOf(MIB, "")).catch(() => undefined);
    await waitFor("nothing is kept", () => world.store.usage().usedBytes === 0);
    expect(kept()).toEqual([]);
  });

  test("but not while another client waits for it", async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    world.origin.add("/slow", content, { gate: { atBytes: 0, opened: promise } });
    const leaving = world.client(`${HOST}/slow`);
    const staying = world.client(`${HOST}/slow`);
    await waitFor("both", () => [...world.registry.liveRequests()].length === 2);
    leaving.leave();
    await leaving.done.catch(() => undefined);
    resolve();
    expect((await staying.done).bytes.equals(content)).toBe(true);
    expect(kept()).toEqual(["slow 6 of 6"]);
  });
});

test("every request to the origin says whose it is", async () => {
  const from = "10.0.0.7";
  const client = world.client(OTHER, rangeOf(MIB, 3 * MIB), {}, "GET", from);
  await client.done;
  await world.client(`${HOST}/held`, [["Cache-Control", "no-store"]], {}, "GET", from).done;
  await world.client(`${HOST}/held`, [], {}, "HEAD", from).done;
  expect(world.origin.requests.length).toBeGreaterThan(3);
  expect(new Set(world.origin.requests.map((request) => request.client))).toEqual(new Set([from]));
});
