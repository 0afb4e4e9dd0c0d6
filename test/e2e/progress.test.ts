import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { z } from "zod";
import { seededContent, sha256Of } from "../support/content.ts";
import { waitForDownloads } from "../support/download-rows.ts";
import { startWorld, type World } from "../support/e2e-world.ts";
import { type HttpGet, httpGet } from "../support/http.ts";
import type { OriginFault } from "../support/origin-fault.ts";
import { waitFor } from "../support/wait-for.ts";

const MIB = 2 ** 20;
/** Longer than every deadline that a peer has. */
const HANG_MS = 100_000;
const CONFIG = `
proxy:
  rules:
    - { regex: '^http://127\\.0\\.0\\.1:\\d+/files/keep', keepOnAbort: true }
    - { regex: '^http://127\\.0\\.0\\.1:\\d+/files/prefetch', prefetch: true }
    - { regex: '^http://127\\.0\\.0\\.1:\\d+/files/' }
`;

let world: World;
beforeAll(async () => {
  world = await startWorld({ seedPeers: 0, config: CONFIG });
});
afterAll(async () => world?.[Symbol.asyncDispose]());

async function get(hostId: string, url: string, options: HttpGet = {}) {
  const { proxyUrl } = world.peer(hostId);
  return httpGet(url, { proxyUrl, idleTimeoutMs: HANG_MS, ...options });
}

async function offer(name: string, sizeBytes: number, faults: readonly OriginFault[] = []) {
  const content = seededContent(name, sizeBytes);
  const key = `files/${name}`;
  await world.origin.putFile(name, content);
  await world.origin.setFaults(key, faults);
  return { url: `${world.origin.url}/${key}`, key, sha256: await sha256Of(content) };
}

async function servedOf(key: string): Promise<number> {
  return (await world.origin.stats()).byKey[key]?.content.bytes ?? 0;
}

/** A client that leaves as soon as it has got something. */
async function leaveEarly(hostId: string, url: string): Promise<void> {
  const gone = new AbortController();
  const answer = await get(hostId, url, { signal: gone.signal, onChunk: () => gone.abort() });
  expect(answer.isComplete).toBe(false);
}

describe("a client that leaves", () => {
  test("ends the fetch: the origin is not read on for nobody", async () => {
    await world.origin.setRate(10 * MIB);
    const { url, key } = await offer("left.bin", 30 * MIB);
    await leaveEarly("peer-1", url);
    const [row] = await waitForDownloads(world, key, 1);
    await world.origin.setRate(undefined);
    expect(row?.outcome).toBe("client_gone");
    expect(await servedOf(key)).toBeLessThan(15 * MIB);
  });

  test("does not end it when the rule says keepOnAbort, and SQL counts every byte once", async () => {
    await world.origin.setRate(10 * MIB);
    const { url, key, sha256 } = await offer("keep.bin", 30 * MIB);
    await leaveEarly("peer-1", url);
    await world.origin.setRate(undefined);
    const [row] = await waitForDownloads(world, key, 1);
    expect(row).toMatchObject({ outcome: "client_gone", fetchedBackToSourceBytes: 30 * MIB });
    expect(await servedOf(key)).toBe(30 * MIB);
    for (const hostId of ["peer-1", "peer-2"]) {
      expect(await get(hostId, url)).toMatchObject({ isComplete: true, sha256 });
    }
  });
});

test("with prefetch a client's part has the whole fetched, and others read it from there", async () => {
  const { url, key, sha256 } = await offer("prefetch.bin", 20 * MIB + 5);
  expect(await get("peer-1", url, { range: "100-199" })).toMatchObject({ status: 206 });
  const [row] = await waitForDownloads(world, key, 1);
  expect(row).toMatchObject({
    outcome: "finished",
    deliveredBytes: 100,
    fetchedBackToSourceBytes: 20 * MIB + 5,
  });
  expect(await servedOf(key)).toBe(20 * MIB + 5);
  expect(await get("peer-2", url)).toMatchObject({ isComplete: true, sha256 });
});

// Each has a file of its own, and waits for deadlines most of the time.
describe.concurrent("an origin that stops in the middle", () => {
  /** Heals a file as soon as one answer was cut short. */
  async function heal(key: string): Promise<void> {
    await waitFor("the fault to have struck", async () => {
      const { accessLog } = await world.origin.stats();
      return accessLog.some((entry) => entry.key === key && entry.bodyBytes > MIB);
    });
    await world.origin.setFaults(key, []);
  }

  test("is asked for the rest by range, from where it stopped", async () => {
    const { url, key, sha256 } = await offer("stalls.bin", 12 * MIB, [
      { kind: "stall_after", bytes: 5 * MIB + 7 },
    ]);
    const answer = get("peer-1", url);
    await heal(key);
    expect(await answer).toMatchObject({ isComplete: true, sha256 });
    expect(await servedOf(key)).toBe(12 * MIB);
  });

  test("and has other content then: the client is broken off, the task retired, the next client gets the new", async () => {
    const { url, key } = await offer("changes.bin", 12 * MIB, [
      { kind: "stall_after", bytes: 5 * MIB },
    ]);
    const answer = get("peer-1", url);
    await heal(key);
    const next = seededContent("changed meanwhile", 12 * MIB);
    await world.origin.putFile("changes.bin", next);
    expect(await answer).toMatchObject({ status: 200, isComplete: false });
    await waitFor("the task to be retired", async () => {
      const rows = await world.rows(
        z.object({ reason: z.string() }),
        `select retired_reason as reason from tasks join downloads using (task_id)
          where downloads.url like '%' || $1 and state = 'retired'`,
        [key],
      );
      return rows[0]?.reason === "validator_changed";
    });
    const sha256 = await sha256Of(next);
    for (const hostId of ["peer-1", "peer-2"]) {
      expect(await get(hostId, url)).toMatchObject({ isComplete: true, sha256 });
    }
  });

  test("and knows no ranges is read from the start again: the file arrives whole", async () => {
    const { url, key, sha256 } = await offer("unranged.bin", 12 * MIB, [
      { kind: "ignore_range" },
      { kind: "close_after", bytes: 5 * MIB },
    ]);
    const answer = get("peer-1", url);
    await heal(key);
    await world.origin.setFaults(key, [{ kind: "ignore_range" }]);
    expect(await answer).toMatchObject({ isComplete: true, sha256 });
  });

  test("and knows no ranges, again and again, breaks its client off: no short file looks whole", async () => {
    const { url } = await offer("unranged-for-ever.bin", 12 * MIB, [
      { kind: "ignore_range" },
      { kind: "close_after", bytes: 5 * MIB },
    ]);
    expect(await get("peer-1", url)).toMatchObject({ status: 200, isComplete: false });
  });
});
