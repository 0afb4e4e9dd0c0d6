import { afterAll, beforeAll, expect, test } from "vitest";
import { seededContent } from "../support/content.ts";
import { startWorld, type World } from "../support/e2e-world.ts";
import { httpGet } from "../support/http.ts";
import { signedUrlOf } from "../support/lfs-batch-client.ts";

const MIB = 2 ** 20;

let world: World;
beforeAll(async () => {
  world = await startWorld({ originRateBytesPerSecond: 20 * MIB });
});
afterAll(async () => world?.[Symbol.asyncDispose]());

/**
 * Goal: however many hosts want one content at once, the origin sends it once.
 *
 * Method: three clients, each with a URL signed for it alone, at three proxies at the same moment; the origin is slow enough
 * that all three are under way together.
 */
test("the same object at once through every proxy costs the origin one copy of its content", async () => {
  const object = await world.origin.addObject(seededContent("flash", 64 * MIB));
  const answers = await Promise.all(
    world.cluster.file.peers.map(async ({ proxyUrl }) =>
      httpGet(await signedUrlOf(world.origin, object.oid), { proxyUrl }),
    ),
  );
  expect(answers).toHaveLength(3);
  for (const answer of answers) {
    expect(answer).toMatchObject({
      status: 200,
      isComplete: true,
      bodyBytes: object.sizeBytes,
      sha256: object.oid,
    });
  }
  const { content, probe } = await world.origin.stats();
  expect(content.bytes).toBe(object.sizeBytes);
  // A probe is one byte, and each client may need one.
  expect(probe.bytes).toBeLessThanOrEqual(answers.length);
});

test("several clients of one proxy share one download", async () => {
  await world.origin.resetStats();
  const object = await world.origin.addObject(seededContent("flash of one proxy", 16 * MIB));
  const { proxyUrl } = world.peer("peer-1");
  const answers = await Promise.all(
    Array.from({ length: 4 }, async () =>
      httpGet(await signedUrlOf(world.origin, object.oid), { proxyUrl }),
    ),
  );
  for (const answer of answers) {
    expect(answer).toMatchObject({ status: 200, isComplete: true, sha256: object.oid });
  }
  expect((await world.origin.stats()).content.bytes).toBe(object.sizeBytes);
});
