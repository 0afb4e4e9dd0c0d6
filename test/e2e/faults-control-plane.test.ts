import { afterAll, beforeAll, expect, test } from "vitest";
import { seededContent } from "../support/content.ts";
import { waitForDownloads } from "../support/download-rows.ts";
import { startWorld, type World } from "../support/e2e-world.ts";
import { waitForGraph } from "../support/graph.ts";
import { type HttpAnswer, httpGet } from "../support/http.ts";
import { killChild, waitForRestart } from "../support/kill-child.ts";
import { signedUrlOf } from "../support/lfs-batch-client.ts";
import type { LfsObject } from "../support/lfs-origin.ts";

const MIB = 2 ** 20;
/** Three to four seconds at the origin's rate: long enough to be in the middle of when the child dies. */
const LARGE_BYTES = 40 * MIB;
const SMALL_BYTES = 3 * MIB;
const ORIGIN_RATE = 10 * MIB;
/** As soon as this much has arrived, the child is killed. */
const KILL_AT_BYTES = 8 * MIB;

let world: World;
beforeAll(async () => {
  world = await startWorld({ originRateBytesPerSecond: ORIGIN_RATE });
});
afterAll(async () => world?.[Symbol.asyncDispose]());

/** A client of a host; `underWay` resolves when {@link KILL_AT_BYTES} have arrived. */
function download(hostId: string, object: LfsObject) {
  const underWay = Promise.withResolvers<void>();
  const answer = signedUrlOf(world.origin, object.oid).then(async (url) =>
    httpGet(url, {
      proxyUrl: world.peer(hostId).proxyUrl,
      onChunk: (_chunk, bytesSoFar) => {
        if (bytesSoFar >= KILL_AT_BYTES) underWay.resolve();
      },
    }),
  );
  answer.catch(underWay.reject);
  return { answer, underWay: underWay.promise };
}

function expectWhole(answer: HttpAnswer, object: LfsObject): void {
  expect(answer).toMatchObject({
    status: 200,
    isComplete: true,
    bodyBytes: object.sizeBytes,
    sha256: object.oid,
  });
}

/**
 * Goal: the control plane is an optimisation. Whichever of its servers dies in the middle of downloads, clients get whole and
 * right files; once it is back, SQL tells what really happened.
 *
 * Method: peer-1 reads the origin and peer-2 reads after peer-1 when the server is killed; while it is away a client asks for
 * something new, and one for something that the other host holds.
 */
for (const child of ["scheduler", "nats", "postgres"] as const) {
  test(`kill -9 of ${child} in mid-download: every file arrives whole, and afterwards SQL agrees with the hosts and the clients`, async () => {
    const [large, fresh, held] = await Promise.all([
      world.origin.addObject(seededContent(`${child} large`, LARGE_BYTES)),
      world.origin.addObject(seededContent(`${child} fresh`, SMALL_BYTES)),
      world.origin.addObject(seededContent(`${child} held`, SMALL_BYTES)),
    ]);
    expectWhole(await download("peer-1", held).answer, held);

    const first = download("peer-1", large);
    const second = download("peer-2", large);
    await Promise.all([first.underWay, second.underWay]);
    const killed = killChild(world, child);
    const whileAway = [download("peer-2", fresh).answer, download("peer-2", held).answer] as const;

    expectWhole(await first.answer, large);
    expectWhole(await second.answer, large);
    expectWhole(await whileAway[0], fresh);
    expectWhole(await whileAway[1], held);

    await waitForRestart(world, child, killed);
    await waitForGraph(world);
    for (const [object, hostIds] of [
      [large, ["peer-1", "peer-2"]],
      [fresh, ["peer-2"]],
      [held, ["peer-1", "peer-2"]],
    ] as const) {
      const rows = await waitForDownloads(world, object.oid, hostIds.length);
      expect(rows.map(({ hostId }) => hostId).toSorted()).toEqual([...hostIds]);
      expect(new Set(rows.map(({ downloadId }) => downloadId)).size).toBe(hostIds.length);
      for (const row of rows) {
        expect(row).toMatchObject({ outcome: "finished", deliveredBytes: object.sizeBytes });
      }
    }
  });
}

test("after every one of them died once, new content is shared as before", async () => {
  const object = await world.origin.addObject(seededContent("afterwards", SMALL_BYTES));
  await world.origin.resetStats();
  expectWhole(await download("peer-1", object).answer, object);
  expectWhole(await download("peer-2", object).answer, object);
  expect((await world.origin.stats()).content.bytes).toBe(object.sizeBytes);
});
