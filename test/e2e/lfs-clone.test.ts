import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { z } from "zod";
import { waitForDownloads } from "../support/download-rows.ts";
import { startWorld, type World } from "../support/e2e-world.ts";
import { cloneWithLfs, type Route } from "../support/git-client.ts";
import { type LfsRepo, makeLfsRepo, verifyClone } from "../support/git-lfs-repo.ts";
import { requiredTool } from "../support/required-tool.ts";
import { waitFor } from "../support/wait-for.ts";

const MIB = 2 ** 20;
/** Many pieces, several pieces, one piece, and a length that is no multiple of anything. */
const SIZES = [24 * MIB, 3 * MIB + 1, 100_003];
const TOTAL_BYTES = SIZES.reduce((sum, size) => sum + size, 0);
const hasTools = ["git", "git-lfs"].every((name) => requiredTool(name) !== undefined);

describe.skipIf(!hasTools)("git lfs clone through the proxy port", () => {
  let world: World;
  beforeAll(async () => {
    world = await startWorld();
  });
  afterAll(async () => world?.[Symbol.asyncDispose]());

  async function makeRepo(name: string): Promise<LfsRepo> {
    const files = SIZES.map((sizeBytes, index) => ({
      path: `large/${index}.bin`,
      sizeBytes,
      seed: `${name} ${index}`,
    }));
    return makeLfsRepo({ folder: world.dir.path, name, origin: world.origin, files });
  }

  /** A clone as somebody who was never here before makes it. @returns what is wrong with it. */
  async function clone(repo: LfsRepo, client: string, route: Route): Promise<readonly unknown[]> {
    const into = world.dir.join(client, "clone");
    const home = world.dir.join(client, "home");
    const result = await cloneWithLfs({ repo, origin: world.origin, into, home, route });
    if (result.exitCode !== 0) return [result.stderr];
    return verifyClone(repo, into);
  }

  async function contentBytes(): Promise<number> {
    return (await world.origin.stats()).content.bytes;
  }

  for (const kind of ["url_prefix", "http_proxy"] as const) {
    test(`by ${kind} a clone is bit-exact, and only the first one of a cluster costs the origin content`, async () => {
      const repo = await makeRepo(kind);
      const route = (hostId: string): Route => ({ kind, proxyUrl: world.peer(hostId).proxyUrl });
      const before = await contentBytes();

      expect(await clone(repo, `${kind}-cold`, route("peer-1"))).toEqual([]);
      expect((await contentBytes()) - before).toBe(TOTAL_BYTES);

      expect(await clone(repo, `${kind}-remote`, route("peer-2"))).toEqual([]);
      expect(await clone(repo, `${kind}-local`, route("peer-2"))).toEqual([]);
      expect((await contentBytes()) - before).toBe(TOTAL_BYTES);

      for (const { oid, sizeBytes } of repo.files) {
        const rows = await waitForDownloads(world, oid, 3);
        expect(rows).toMatchObject([
          {
            hostId: "peer-1",
            traffic: "back_to_source",
            outcome: "finished",
            deliveredBackToSourceBytes: sizeBytes,
            deliveredBytes: sizeBytes,
          },
          {
            hostId: "peer-2",
            traffic: "remote_peer",
            outcome: "finished",
            deliveredRemotePeerBytes: sizeBytes,
            deliveredBytes: sizeBytes,
          },
          {
            hostId: "peer-2",
            traffic: "local_peer",
            outcome: "finished",
            deliveredLocalPeerBytes: sizeBytes,
            deliveredBytes: sizeBytes,
          },
        ]);
        expect(rows).toHaveLength(3);
        for (const { traceId } of rows) expect(traceId).toMatch(/^[0-9a-f]{32}$/);
      }
    });
  }

  test("cache_hit_rate_hourly counts the same bytes from the origin as the origin itself, to the byte", async () => {
    const served = await contentBytes();
    expect(served).toBe(2 * TOTAL_BYTES);
    const total = await waitFor("all facts in the hourly view", async () => {
      const [sums] = await world.rows(
        z.object({
          source: z.coerce.number(),
          delivered: z.coerce.number(),
          probes: z.coerce.number(),
        }),
        `select sum(back_to_source_bytes) as source, sum(delivered_bytes) as delivered, sum(probe_bytes) as probes
           from cache_hit_rate_hourly`,
      );
      return sums !== undefined && sums.delivered >= 6 * TOTAL_BYTES ? sums : undefined;
    });
    expect(total.source).toBe(served);
    expect(total.delivered).toBe(6 * TOTAL_BYTES);
    expect(total.probes).toBe((await world.origin.stats()).probe.bytes);
  });
});
