import { createHash } from "node:crypto";
import { Agent, get } from "node:http";
import { HIT_RECORD_COUNT_MAX, TALLY_MS } from "@lacewing/peer/app/hit-tally.ts";
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { bytesOf, seededContent } from "../support/content.ts";
import { startWorld, type World } from "../support/e2e-world.ts";
import { type MembersOrigin, startMembersOrigin } from "../support/members-origin.ts";
import { waitFor } from "../support/wait-for.ts";

/**
 * Goal: however many hits a host answers in a second, SQL tells the requests and bytes that its clients counted, in few rows.
 *
 * Method: clients that ask as fast as they can for two small contents, one for everybody and one by the origin's leave.
 */
const RULES = `
proxy:
  rules:
    - regex: /open/
      access: public
      tag: open
    - regex: /asked/
      tag: asked
`;
const LENGTH = 16 * 1024;
const CONNECTION_COUNT = 16;
const REQUEST_COUNT = 4000;

let world: World;
let members: MembersOrigin;
beforeAll(async () => {
  members = await startMembersOrigin("members.localhost");
  world = await startWorld({ peers: 1, seedPeers: 0, config: RULES });
});
afterAll(async () => {
  await world?.[Symbol.asyncDispose]();
  await members?.[Symbol.asyncDispose]();
});

test("a flood of hits is told to the request and to the byte, in few rows", async () => {
  const startedAt = performance.now();
  for (const folder of ["open", "asked"]) {
    const bytes = await bytesOf(seededContent(folder, LENGTH));
    const path = `/${folder}/lfs/objects/${createHash("sha256").update(bytes).digest("hex")}`;
    members.files.set(path, { bytes });
    await flood(`${world.peer("peer-1").proxyUrl}/url/${members.url}${path}`, bytes);
  }
  const seconds = (performance.now() - startedAt) / 1000;
  const count = z.coerce.number();
  const totals = z.object({ tag: z.string(), requests: count, hits: count, bytes: count });
  const told = await waitFor(
    "every request in SQL",
    async () => {
      const rows = await world.rows(
        totals,
        `select tag, sum(request_count) as requests, sum(hit_request_count) as hits,
                sum(delivered_bytes) as bytes from cache_hit_rate_hourly group by tag order by tag`,
      );
      const requests = rows.reduce((sum, row) => sum + row.requests, 0);
      return requests >= 2 * REQUEST_COUNT ? rows : undefined;
    },
    { timeoutMs: 60_000 },
  );
  const all = { requests: REQUEST_COUNT, hits: REQUEST_COUNT - 1, bytes: REQUEST_COUNT * LENGTH };
  expect(told).toEqual([
    { tag: "asked", ...all },
    { tag: "open", ...all },
  ]);
  const [rows] = await world.rows(
    z.object({ rows: count, requests: count, popular: count }),
    `select count(*) as rows, sum(request_count) as requests,
            (select sum(request_count) from task_popularity) as popular from downloads`,
  );
  expect(rows).toMatchObject({ requests: 2 * REQUEST_COUNT, popular: 2 * REQUEST_COUNT });
  const tallyCount = 2 * Math.ceil((seconds * 1000) / TALLY_MS + 1);
  expect(rows?.rows).toBeLessThan(HIT_RECORD_COUNT_MAX * (seconds + 1) + tallyCount + 2);
});

/** The first request alone, as it brings the content here; then all others over connections that are kept. */
async function flood(url: string, content: Buffer): Promise<void> {
  const agent = new Agent({ keepAlive: true, maxSockets: CONNECTION_COUNT });
  await expectContent(url, agent, content);
  let left = REQUEST_COUNT - 1;
  const client = async (): Promise<void> => {
    while (left-- > 0) await expectContent(url, agent, content);
  };
  await Promise.all(Array.from({ length: CONNECTION_COUNT }, client));
  agent.destroy();
}

async function expectContent(url: string, agent: Agent, content: Buffer): Promise<void> {
  const got = await new Promise<Buffer>((resolve, reject) => {
    get(url, { agent }, (response) => {
      const parts: Buffer[] = [];
      response.on("data", (part: Buffer) => parts.push(part));
      response.once("end", () => resolve(Buffer.concat(parts)));
      response.once("error", reject);
    }).once("error", reject);
  });
  expect(got.equals(content)).toBe(true);
}
