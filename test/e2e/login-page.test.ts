import { createHash } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { bytesOf, seededContent } from "../support/content.ts";
import { startWorld, type World } from "../support/e2e-world.ts";
import { httpGet } from "../support/http.ts";
import { type MembersOrigin, startMembersOrigin } from "../support/members-origin.ts";
import { waitFor } from "../support/wait-for.ts";

/**
 * Goal: a stranger who is sent a page with status 200 in place of an anchored content takes it from nobody who is sent the content.
 *
 * Method: real peers, and a server that sends members the content, piece by piece as the test lets it, and everybody else a page.
 */
const MIB = 2 ** 20;
const PAGE = Buffer.from(`<html>${"please log in ".repeat(20_000)}</html>`);
const MEMBER = { headers: { authorization: "Basic YWxpY2U6eA==" } };
const STRANGER = { headers: { authorization: "Basic Ym9iOng=" } };

let world: World;
let members: MembersOrigin;
beforeAll(async () => {
  members = await startMembersOrigin("members.localhost");
  world = await startWorld({ peers: 3, seedPeers: 0 });
});
afterAll(async () => {
  await world?.[Symbol.asyncDispose]();
  await members?.[Symbol.asyncDispose]();
});

const get = async (hostId: string, url: string, as: typeof MEMBER) =>
  httpGet(url, { proxyUrl: world.peer(hostId).proxyUrl, ...as });

/** A stranger's page ends before its end, or even before its head. @returns whether it came whole. */
async function comesWhole(hostId: string, url: string): Promise<boolean> {
  return get(hostId, url, STRANGER).then(
    ({ isComplete }) => isComplete,
    () => false,
  );
}

let fileCount = 0;
/** New content; whoever is answered waits in the middle for `go`. */
async function gatedFile(who: "members" | "strangers") {
  const bytes = await bytesOf(seededContent(`page ${++fileCount}`, 4 * MIB + 77));
  const sha256 = createHash("sha256").update(bytes).digest("hex");
  const path = `/lfs/objects/${sha256}`;
  const gate = Promise.withResolvers<void>();
  let waitingCount = 0;
  const answer = (request: IncomingMessage, response: ServerResponse): void => {
    const isMember = request.headers.authorization === MEMBER.headers.authorization;
    const isGated = isMember === (who === "members");
    const body = isMember ? bytes : PAGE;
    const part = isMember ? /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "") : null;
    const start = Number(part?.[1] ?? 0);
    const end = part?.[2] ? Number(part[2]) + 1 : body.length;
    response.writeHead(part === null ? 200 : 206, {
      "content-length": end - start,
      ...(part === null ? {} : { "content-range": `bytes ${start}-${end - 1}/${body.length}` }),
      ...(isMember ? { "accept-ranges": "bytes" } : { "content-type": "text/html" }),
    });
    const half = Math.min(end, Math.max(start, Math.floor(body.length / 2)));
    response.write(body.subarray(start, half));
    if (isGated && end - start > 1) waitingCount++;
    const rest = (): unknown => response.end(body.subarray(half, end));
    if (isGated && end - start > 1) gate.promise.then(rest, rest);
    else rest();
  };
  members.files.set(path, { bytes, answer });
  const isUnderWay = () => waitingCount > 0;
  return { url: `${members.url}${path}`, sha256, go: gate.resolve, isUnderWay };
}

test("in the middle of a member's download: the member's comes whole, others share it, the stranger's is broken off", async () => {
  const { url, sha256, go, isUnderWay } = await gatedFile("members");
  const member = get("peer-1", url, MEMBER);
  await waitFor("the download", isUnderWay);
  const [elsewhere] = await Promise.all([comesWhole("peer-2", url), comesWhole("peer-1", url)]);
  // What the stranger's host has told is folded by then.
  await sleep(1000);
  go();

  expect(await member).toMatchObject({ status: 200, isComplete: true, sha256 });
  expect(elsewhere).toBe(false);
  for (const hostId of ["peer-3", "peer-2"]) {
    const answer = await get(hostId, url, MEMBER);
    expect(answer).toMatchObject({ status: 200, isComplete: true, sha256 });
  }
  const whole = members.takeSeen().filter(({ authorization, range }) => {
    return authorization === MEMBER.headers.authorization && range !== "bytes=0-0";
  });
  expect(whole.length).toBeLessThanOrEqual(2);
});

test("before a member's download: the member's comes whole from the origin, and content is shared afterwards", async () => {
  const { url, sha256, go, isUnderWay } = await gatedFile("strangers");
  const stranger = comesWhole("peer-2", url);
  await waitFor("the page", isUnderWay);

  for (const hostId of ["peer-1", "peer-2"]) {
    const answer = await get(hostId, url, MEMBER);
    expect(answer).toMatchObject({ status: 200, isComplete: true, sha256 });
  }
  go();
  expect(await stranger).toBe(false);
  // What is known of the content by then is folded.
  await sleep(1000);
  members.takeSeen();
  const answer = await get("peer-3", url, MEMBER);
  expect(answer).toMatchObject({ status: 200, isComplete: true, sha256 });
  expect(members.takeSeen().filter(({ range }) => range !== "bytes=0-0")).toEqual([]);
});

test("at the same moment, at every host, again and again: whoever is a member gets the content", async () => {
  for (let round = 0; round < 5; round++) {
    const { url, sha256, go } = await gatedFile("members");
    go();
    const hosts = ["peer-1", "peer-2", "peer-3"];
    const strangers = hosts.map(async (hostId) => comesWhole(hostId, url));
    const answers = await Promise.all(hosts.map(async (hostId) => get(hostId, url, MEMBER)));
    for (const answer of answers)
      expect(answer).toMatchObject({ status: 200, isComplete: true, sha256 });
    await Promise.all(strangers);
  }
});
