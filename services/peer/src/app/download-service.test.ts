import { afterEach, beforeEach, describe, expect, test } from "vitest";
// @boundaries-ignore tests share builders that no service ships
import { bytesOf, seededContent } from "../../../../test/support/content.ts";
// @boundaries-ignore tests share builders that no service ships
import { anchoredPath, PeerWorld } from "../../../../test/support/peer-world.ts";
// @boundaries-ignore tests share builders that no service ships
import type { ScriptedFile } from "../../../../test/support/scripted-origin.ts";
import { headerOf } from "../core/http-headers.ts";

const MIB = 2 ** 20;
const HOST = "http://origin.test";

let world: PeerWorld;
let content: Buffer;
let url: string;
let file: ScriptedFile;
beforeEach(async () => {
  world = new PeerWorld();
  content = await bytesOf(seededContent("answers", MIB + 5000));
  url = `${HOST}${anchoredPath(content)}`;
  file = world.origin.add(anchoredPath(content), content);
  world.onRequest((request) => world.grantOrigin(request));
});
afterEach(async () => world.close());

describe("held content", () => {
  beforeEach(async () => {
    await world.get(url);
    world.origin.sentBytes = 0;
  });

  test.each([
    ["bytes=10-19", 10, 20],
    ["bytes=-100", MIB + 4900, MIB + 5000],
    [`bytes=${MIB}-`, MIB, MIB + 5000],
  ])("answers %s from the disk", async (range, start, end) => {
    const { answer, bytes } = await world.get(url, [["Range", range]]);
    expect(answer.status).toBe(206);
    expect(headerOf(answer.headers, "content-range")).toBe(
      `bytes ${start}-${end - 1}/${content.length}`,
    );
    expect(bytes.equals(content.subarray(start, end))).toBe(true);
    expect((await world.facts(2))[1]?.delivered).toMatchObject({ localPeer: end - start });
  });

  test("answers several ranges in the order asked for", async () => {
    const { answer, bytes } = await world.get(url, [["Range", `bytes=${MIB}-${MIB + 3},0-4`]]);
    expect(headerOf(answer.headers, "content-type")).toMatch(/^multipart\/byteranges/);
    expect(bytes.length).toBe(answer.bodyLength);
    const later = bytes.indexOf(content.subarray(MIB, MIB + 4));
    expect(later).toBeGreaterThan(0);
    expect(bytes.indexOf(content.subarray(0, 5))).toBeGreaterThan(later);
  });

  test("answers a known validator with 304, and asks nobody to fetch anything", async () => {
    const { answer, bytes } = await world.get(url, [["If-None-Match", file.etag]]);
    expect([answer.status, bytes.length]).toEqual([304, 0]);
    // The first client's request is told twice: again when its length is known.
    const asked = world.controlPlane.all("taskRequested").map(({ requestId }) => requestId);
    expect(new Set(asked).size).toBe(1);
  });

  test("is not shown to a client that the origin refuses: its answer is passed on", async () => {
    file.status = 403;
    const { answer, bytes } = await world.get(url, [["Authorization", "other"]]);
    expect([answer.status, bytes.toString()]).toEqual([403, "none"]);
    expect((await world.facts(2))[1]).toMatchObject({
      outcome: "origin_error",
      fetched: { backToSource: 0 },
      delivered: { backToSource: 0, localPeer: 0 },
      probeBytes: 4,
    });
  });

  test("is refused or served as the rule says while the origin is down", async () => {
    file.isDown = true;
    const refuse = { accessTtlMs: 0, whenOriginDown: "refuse" } as const;
    const other = [["Authorization", "other"]] as const;
    await expect(world.get(url, other, refuse)).rejects.toHaveProperty(
      "code",
      "origin_unreachable",
    );
    const { bytes } = await world.get(url, other, { ...refuse, whenOriginDown: "serve" });
    expect(bytes.equals(content)).toBe(true);
    expect((await world.facts(3)).map(({ outcome }) => outcome)).toEqual([
      "finished",
      "failed",
      "finished",
    ]);
  });

  test("that rotted on the disk is fetched again before it is shown", async () => {
    const [task] = world.store.list();
    task?.bytes.fill(0, MIB, MIB + 10);
    task?.unprove();
    world.controlPlane.isConnected = false;
    const { bytes } = await world.get(url);
    expect(bytes.equals(content)).toBe(true);
    const rest = content.length - MIB;
    expect((await world.facts(2))[1]).toMatchObject({
      fetched: { backToSource: rest },
      delivered: { localPeer: MIB, backToSource: rest },
    });
  });
});

describe("content that is not held", () => {
  test("answers a known validator with 304 without fetching it", async () => {
    const { answer } = await world.get(url, [["If-None-Match", file.etag]]);
    expect(answer.status).toBe(304);
    // It would have had to make room for all of it.
    expect([...world.store.list()]).toEqual([]);
    expect(world.controlPlane.all("piecesAvailable")).toEqual([]);
  });

  test("of several ranges is fetched for those ranges only, not for what lies between", async () => {
    const big = await bytesOf(seededContent("big", 5 * MIB));
    world.origin.add("/big", big);
    world.controlPlane.isConnected = false;
    const { bytes } = await world.get(`${HOST}/big`, [["Range", `bytes=0-9,${4 * MIB}-`]]);
    expect(bytes.includes(big.subarray(4 * MIB))).toBe(true);
    await world.facts(1);
    expect([...([...world.store.list()][0]?.held ?? [])]).toEqual([0, 4]);
  });

  test("tells the scheduler the range that is wanted once its length is known", async () => {
    world.pieceClient.parents.set("host-b", content);
    world.onRequest((request) =>
      world.grantParent(request, { hostId: "host-b", truth: content }, [1]),
    );
    await world.get(url, [["Range", "bytes=-10"]]);
    const wanted = world.controlPlane
      .all("taskRequested")
      .map(({ wantedStart, wantedEnd }) => [wantedStart, wantedEnd]);
    expect(wanted).toEqual([
      [0, 0],
      [content.length - 10, content.length],
    ]);
  });

  test("comes whole from an origin that ignores ranges, and every byte it sent is counted", async () => {
    file.hasRanges = false;
    const { answer, bytes } = await world.get(url, [["Range", `bytes=${MIB}-${MIB + 9}`]]);
    expect(answer.status).toBe(206);
    expect(bytes.equals(content.subarray(MIB, MIB + 10))).toBe(true);
    expect((await world.facts(1))[0]?.fetched?.backToSource).toBe(world.origin.sentBytes);
  });

  test.each<[string, Partial<ScriptedFile>]>([
    ["a weak validator", { etag: 'W/"1"' }],
    ["no-store", { headers: [["Cache-Control", "no-store"]] }],
    ["an encoding", { headers: [["Content-Encoding", "gzip"]] }],
    ["no length", { hasLength: false }],
  ])("with %s is passed through and counted", async (_what, how) => {
    world.origin.add("/plain", content, how);
    const { bytes } = await world.get(`${HOST}/plain`);
    expect(bytes.equals(content)).toBe(true);
    expect((await world.facts(1))[0]).toMatchObject({
      taskId: "",
      outcome: "finished",
      fetched: { backToSource: content.length },
      delivered: { backToSource: content.length },
    });
    expect([...world.store.list()]).toEqual([]);
  });

  test("for which the store has no room is passed through", async () => {
    const crowded = new PeerWorld({ quotaBytes: MIB });
    crowded.origin.add("/file", content);
    expect((await crowded.get(`${HOST}/file`)).bytes.equals(content)).toBe(true);
    expect((await crowded.facts(1))[0]).toMatchObject({
      fetched: { backToSource: content.length },
    });
    await crowded.close();
  });

  test("that is empty is passed through", async () => {
    world.origin.add("/empty", new Uint8Array(0));
    const { answer, bytes } = await world.get(`${HOST}/empty`);
    expect([answer.status, bytes.length]).toEqual([200, 0]);
  });

  test("that is empty is passed through although there is no first byte to probe", async () => {
    const nothing = new Uint8Array(0);
    world.origin.add(anchoredPath(nothing), nothing);
    world.onRequest(({ taskId, requestId }) => {
      const value = { taskId, requestId, nextByMs: 1000, reason: "test", lengthBytes: 0 };
      world.controlPlane.assign({ $case: "pending", value });
    });
    const { answer, bytes } = await world.get(`${HOST}${anchoredPath(nothing)}`);
    expect([answer.status, bytes.length]).toEqual([200, 0]);
  });

  test("and is refused by the origin frees its lease", async () => {
    file.status = 404;
    expect((await world.get(url)).answer.status).toBe(404);
    await world.facts(1);
    await expect.poll(() => world.controlPlane.all("requestEnded").length).toBe(1);
    expect(world.registry.liveLeaseIds()).toEqual([]);
    expect(world.controlPlane.all("piecesFailed")[0]?.reason).toBe("cancelled");
  });

  test("leaves nothing behind when its client goes while the origin is asked", async () => {
    const client = world.client(url);
    client.leave();
    await expect(client.done).rejects.toHaveProperty("code", "client_gone");
    expect((await world.facts(1))[0]?.outcome).toBe("client_gone");
    expect([...world.registry.liveRequests()]).toEqual([]);
  });
});

test("HEAD is the origin's to answer and is no download", async () => {
  const { answer, bytes } = await world.client(url, [], {}, "HEAD").done;
  expect([answer.status, bytes.length]).toEqual([200, 0]);
  expect(headerOf(answer.headers, "content-length")).toBe(String(content.length));
  expect(world.journal.facts.size + world.journal.begun.size).toBe(0);
});

test("a client's long Range field does not make the fact unreadable for the scheduler", async () => {
  await world.get(url, [["Range", `bytes=0-1,${"0-1,".repeat(4000)}`]]);
  await expect.poll(() => world.controlPlane.all("downloadFinished").length).toBe(1);
});
