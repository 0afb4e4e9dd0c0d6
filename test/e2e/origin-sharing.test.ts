import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { seededContent } from "../support/content.ts";
import { startWorld, type World } from "../support/e2e-world.ts";
import { httpGet } from "../support/http.ts";
import { signedUrlOf } from "../support/lfs-batch-client.ts";
import { waitFor } from "../support/wait-for.ts";

const MIB = 2 ** 20;
/** So long that others are worth a part of it when the first host has begun; so slow that all are under way together. */
const LENGTH = 224 * MIB;
const ORIGIN_RATE = 24 * MIB;

let world: World;
beforeAll(async () => {
  world = await startWorld({ peers: 4, seedPeers: 0, originRateBytesPerSecond: ORIGIN_RATE });
});
afterAll(async () => world?.[Symbol.asyncDispose]());

const leaseRow = z.object({
  hostId: z.string(),
  outcome: z.string(),
  bytes: z.coerce.number(),
});

/**
 * Goal: what many hosts want at once does not have to leave through the one host that asked first: several read a part of the
 * origin's one copy each.
 *
 * Method: four clients at four proxies, and an origin that answers ranges; SQL tells who read what of it.
 */
test("a large content that four hosts want is read from the origin by several of them, and once in all", async () => {
  const object = await world.origin.addObject(seededContent("shared origin", LENGTH));
  const answers = await Promise.all(
    world.cluster.file.peers.map(async ({ proxyUrl }) =>
      httpGet(await signedUrlOf(world.origin, object.oid), { proxyUrl }),
    ),
  );
  for (const answer of answers)
    expect(answer).toMatchObject({ status: 200, isComplete: true, sha256: object.oid });

  // The stream that was ended may have brought a part of a piece that was another's already.
  const { content } = await world.origin.stats();
  expect(content.bytes).toBeGreaterThanOrEqual(LENGTH);
  expect(content.bytes).toBeLessThan(1.02 * LENGTH);
  const leases = await waitFor("all reads of the origin in SQL", async () => {
    const rows = await world.rows(
      leaseRow,
      `select child_host_id as "hostId", outcome, bytes from leases join tasks using (task_id)
        where anchor = $1 and parent_host_id is null`,
      [`sha256:${object.oid}`],
    );
    return rows.every(({ outcome }) => outcome !== "live") && rows;
  });
  expect(leases.map(({ outcome }) => outcome)).toContain("shared");
  const readers = new Set(leases.filter(({ bytes }) => bytes > 0).map(({ hostId }) => hostId));
  expect(readers.size).toBeGreaterThan(1);
});
