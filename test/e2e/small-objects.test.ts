import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { z } from "zod";
import { startWorld, type World } from "../support/e2e-world.ts";
import { cloneWithLfs } from "../support/git-client.ts";
import { makeLfsRepo, verifyClone } from "../support/git-lfs-repo.ts";
import { failureOf } from "../support/processes.ts";
import { requiredTool } from "../support/required-tool.ts";
import { waitFor } from "../support/wait-for.ts";

const OBJECT_COUNT = 200;
const OBJECT_BYTES = 20 * 2 ** 10;
const TOTAL_BYTES = OBJECT_COUNT * OBJECT_BYTES;
const hasTools = ["git", "git-lfs"].every((name) => requiredTool(name) !== undefined);

describe.skipIf(!hasTools).each([
  { where: "near", originDistanceMs: 0 },
  // Far enough to be read ahead of the client.
  { where: "far away", originDistanceMs: 40 },
])("a repository of many small objects, whose origin is $where,", ({ originDistanceMs }) => {
  let world: World;
  beforeAll(async () => {
    world = await startWorld({ originDistanceMs });
  });
  afterAll(async () => world?.[Symbol.asyncDispose]());

  test("is read from the origin once, and by the other peer from its neighbours only", async () => {
    const repo = await makeLfsRepo({
      folder: world.dir.path,
      name: "small",
      origin: world.origin,
      files: Array.from({ length: OBJECT_COUNT }, (_, index) => ({
        path: `small/${index}.bin`,
        sizeBytes: OBJECT_BYTES,
        seed: `small ${index}`,
      })),
    });
    for (const hostId of ["peer-1", "peer-2"]) {
      const into = world.dir.join(hostId, "clone");
      const home = world.dir.join(hostId, "home");
      const route = { kind: "url_prefix", proxyUrl: world.peer(hostId).proxyUrl } as const;
      const result = await cloneWithLfs({ repo, origin: world.origin, into, home, route });
      expect(failureOf(result)).toBe("");
      expect(await verifyClone(repo, into)).toEqual([]);
      expect((await world.origin.stats()).content).toEqual({
        requestCount: OBJECT_COUNT,
        bytes: TOTAL_BYTES,
      });
    }
    const byHost = await waitFor("all downloads in SQL", async () => {
      const rows = await deliveredByHost(world);
      return rows.every(({ count }) => count === OBJECT_COUNT) && rows.length === 2
        ? rows
        : undefined;
    });
    expect(byHost).toEqual([
      { hostId: "peer-1", count: 200, local: 0, remote: 0, source: TOTAL_BYTES },
      { hostId: "peer-2", count: 200, local: 0, remote: TOTAL_BYTES, source: 0 },
    ]);
  });
});

async function deliveredByHost(world: World) {
  return world.rows(
    z.object({
      hostId: z.string(),
      count: z.coerce.number(),
      local: z.coerce.number(),
      remote: z.coerce.number(),
      source: z.coerce.number(),
    }),
    `select host_id as "hostId", count(*) as count,
            sum(delivered_local_peer_bytes) as local,
            sum(delivered_remote_peer_bytes) as remote,
            sum(delivered_back_to_source_bytes) as source
       from downloads where method = 'GET' and outcome = 'finished' group by host_id order by host_id`,
  );
}
