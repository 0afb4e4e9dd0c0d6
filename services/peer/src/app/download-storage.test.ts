import { createHash } from "node:crypto";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
// @boundaries-ignore tests share builders that no service ships
import { bytesOf, seededContent } from "../../../../test/support/content.ts";
// @boundaries-ignore tests share builders that no service ships
import { anchoredPath, PeerWorld } from "../../../../test/support/peer-world.ts";

const MIB = 2 ** 20;
const HOST = "http://origin.test";

let world: PeerWorld;
let content: Buffer;
beforeEach(async () => {
  world = new PeerWorld();
  content = await bytesOf(seededContent("stored", 3 * MIB + 12_345));
  world.onRequest((request) => world.grantOrigin(request));
});
afterEach(async () => world.close());

describe("a store that fails in the middle of a download", () => {
  test("fails no client: the rest comes straight from the origin", async () => {
    world.origin.add("/file", content);
    world.store.failsFrom = MIB + 100_000;
    const { answer, bytes, error } = await world.get(`${HOST}/file`);
    expect(error).toBeUndefined();
    expect(answer.status).toBe(200);
    expect(bytes.equals(content)).toBe(true);
    const [fact] = await world.facts(1);
    expect(fact).toMatchObject({ outcome: "finished" });
    expect(fact?.delivered?.backToSource).toBe(content.length);
  });

  test("fails neither of two clients, nor one that wants a part", async () => {
    world.origin.add("/file", content);
    world.store.failsFrom = 100_000;
    const part = [["range", `bytes=${2 * MIB}-${2 * MIB + 99}`]] as const;
    const [one, other, ranged] = await Promise.all([
      world.get(`${HOST}/file`),
      world.get(`${HOST}/file`),
      world.get(`${HOST}/file`, part),
    ]);
    expect(one.bytes.equals(content)).toBe(true);
    expect(other.bytes.equals(content)).toBe(true);
    expect(ranged.bytes.equals(content.subarray(2 * MIB, 2 * MIB + 100))).toBe(true);
    expect([one.error, other.error, ranged.error]).toEqual([undefined, undefined, undefined]);
  });

  test("does not make up for an origin that breaks off", async () => {
    world.origin.add("/file", content, { breaksAfterBytes: 2 * MIB });
    world.store.failsFrom = MIB;
    const { bytes, error } = await world.get(`${HOST}/file`);
    expect(error).toBeDefined();
    expect(bytes.equals(content.subarray(0, bytes.length))).toBe(true);
  });

  test("lets the content be told by its digest all the same", async () => {
    const path = anchoredPath(content);
    world.origin.add(path, content);
    world.store.failsFrom = 2 * MIB;
    const { bytes, error } = await world.get(`${HOST}${path}`);
    expect(error).toBeUndefined();
    expect(createHash("sha256").update(bytes).digest("hex")).toBe(path.split("/").at(-1));
  });

  test("lets no wrong content under an anchor pass for complete", async () => {
    const path = anchoredPath(content);
    const wrong = Buffer.from(content);
    wrong[2 * MIB + 500_000] = (wrong[2 * MIB + 500_000] ?? 0) ^ 1;
    wrong[5] = (wrong[5] ?? 0) ^ 1;
    world.origin.add(path, wrong);
    world.store.failsFrom = 2 * MIB;
    const { bytes, error } = await world.get(`${HOST}${path}`);
    expect(error).toBeDefined();
    expect(bytes.length).toBeLessThan(content.length);
    // Nor may it be put together from what came and a part.
    const rest = [["range", `bytes=${bytes.length}-`]] as const;
    await expect(world.get(`${HOST}${path}`, rest)).rejects.toThrow("did not agree");
  });

  test("takes the rest of an anchored range only from the content that its origin named", async () => {
    const path = anchoredPath(content);
    const file = world.origin.add(path, content);
    world.store.failsFrom = 2 * MIB;
    const changed = Buffer.alloc(content.length);
    world.origin.beforeAnswer = ({ range }) => {
      // The rest begins where the store failed.
      if ((range?.start ?? 0) <= MIB) return;
      file.bytes = changed;
      file.etag = '"another"';
    };
    const { error } = await world.get(`${HOST}${path}`, [["range", `bytes=${MIB + 7}-`]]);
    expect(error).toBeDefined();
  });
});
