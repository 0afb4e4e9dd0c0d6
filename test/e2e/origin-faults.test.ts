import { gunzipSync } from "node:zlib";
import { pidsOf } from "@lacewing/local/cluster-file.ts";
import { PortError } from "@lacewing/runtime/errors.ts";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { z } from "zod";
import { bytesOf, seededContent, sha256Of } from "../support/content.ts";
import { waitForDownloads } from "../support/download-rows.ts";
import { startWorld, type World } from "../support/e2e-world.ts";
import { cloneWithoutLfs, pullLfs } from "../support/git-client.ts";
import { makeLfsRepo } from "../support/git-lfs-repo.ts";
import { type HttpAnswer, type HttpGet, httpGet } from "../support/http.ts";
import { signedUrlOf } from "../support/lfs-batch-client.ts";
import { type LfsObject, startLfsOrigin } from "../support/lfs-origin.ts";
import type { OriginFault } from "../support/origin-fault.ts";
import { listTasks } from "../support/peer-api.ts";
import { requiredTool } from "../support/required-tool.ts";
import { waitFor } from "../support/wait-for.ts";

const MIB = 2 ** 20;
/** A client that hears nothing for so long calls it a hang. Longer than every deadline that a peer has. */
const HANG_MS = 100_000;
/** Plain files become tasks too, by URL and ETag. */
const CONFIG = "proxy:\n  rules:\n    - regex: ^http://127\\.0\\.0\\.1:\\d+/files/\n";
const hasGitLfs = ["git", "git-lfs"].every((name) => requiredTool(name) !== undefined);

let world: World;
let pids: readonly number[];
beforeAll(async () => {
  world = await startWorld({ config: CONFIG });
  pids = pidsOf(world.cluster.file);
});
afterAll(async () => world?.[Symbol.asyncDispose]());

async function get(url: string, options: HttpGet = {}): Promise<HttpAnswer> {
  return httpGet(url, {
    proxyUrl: world.peer("peer-1").proxyUrl,
    idleTimeoutMs: HANG_MS,
    ...options,
  });
}

/** Whether a client cannot take what it got for a whole answer: the connection broke before or within it. */
async function isBrokenOff(url: string, options: HttpGet = {}): Promise<boolean> {
  try {
    return !(await get(url, options)).isComplete;
  } catch (error) {
    if (error instanceof PortError && error.code === "no_answer") return true;
    throw error;
  }
}

let objectCount = 0;
/** An LFS object with faults; its bytes are those that its oid names unless a fault says otherwise. */
async function faultyObject(faults: readonly OriginFault[], sizeBytes = 6 * MIB) {
  objectCount += 1;
  const content = seededContent(`faulty ${objectCount}`, sizeBytes);
  const object = await world.origin.addObject(content);
  await world.origin.setFaults(object.oid, faults);
  return { content, object, url: await signedUrlOf(world.origin, object.oid) };
}

/** A plain file with faults. */
async function faultyFile(faults: readonly OriginFault[], sizeBytes = 6 * MIB) {
  objectCount += 1;
  const name = `${objectCount}.bin`;
  const content = seededContent(`faulty file ${objectCount}`, sizeBytes);
  await world.origin.putFile(name, content);
  await world.origin.setFaults(`files/${name}`, faults);
  const url = `${world.origin.url}/files/${name}`;
  return { content, url, key: `files/${name}`, sha256: await sha256Of(content), sizeBytes };
}

/** Nobody keeps a byte of the object, and SQL knows of no copy. */
async function expectNothingKept(oid: string): Promise<void> {
  await waitFor("every copy to be dropped", async () => {
    for (const peer of world.cluster.file.peers) {
      const kept = (await listTasks(peer)).filter(({ anchor }) => anchor === `sha256:${oid}`);
      if (kept.some(({ heldPieceCount }) => heldPieceCount > 0)) {
        throw new Error(`${peer.hostId} keeps ${kept[0]?.heldPieceCount} pieces`);
      }
    }
    const copies = await world.rows(
      z.object({ hostId: z.string() }),
      `select host_id as "hostId" from peers join tasks using (task_id)
        where anchor = $1 and held_piece_count > 0`,
      [`sha256:${oid}`],
    );
    if (copies.length > 0) throw new Error(`SQL has copies on ${JSON.stringify(copies)}`);
    return true;
  });
}

describe("bytes that are not what the LFS oid names", () => {
  for (const { what, fault, sizeBytes } of [
    { what: "one byte is wrong", fault: { kind: "flip_byte", offset: 1234 }, sizeBytes: 6 * MIB },
    {
      what: "the last byte is wrong",
      fault: { kind: "flip_byte", offset: 6 * MIB - 1 },
      sizeBytes: 6 * MIB,
    },
    { what: "a small object is wrong", fault: { kind: "flip_byte", offset: 0 }, sizeBytes: 1000 },
    {
      what: "it is another content",
      fault: { kind: "other_content", content: seededContent("another", 5 * MIB) },
      sizeBytes: 6 * MIB,
    },
  ] as const) {
    test(`${what}: the client sees a broken transfer, never a clean end, and nothing is kept`, async () => {
      const { object, url } = await faultyObject([fault], sizeBytes);
      expect(await isBrokenOff(url)).toBe(true);
      await expectNothingKept(object.oid);
      const [row] = await waitForDownloads(world, object.oid, 1);
      expect(row).toMatchObject({ hostId: "peer-1", outcome: "anchor_mismatch" });
    });
  }

  test("after the origin is healed the same object is delivered whole", async () => {
    const { object, url } = await faultyObject([{ kind: "flip_byte", offset: 3 * MIB }]);
    expect(await isBrokenOff(url)).toBe(true);
    await expectHealed(object);
  });

  test.skipIf(!hasGitLfs)("git lfs fails and leaves no file behind that looks right", async () => {
    const repo = await makeLfsRepo({
      folder: world.dir.path,
      name: "wrong",
      origin: world.origin,
      files: [{ path: "wrong.bin", sizeBytes: 2 * MIB, seed: "wrong" }],
    });
    const oid = repo.files[0]?.oid ?? "";
    await world.origin.setFaults(oid, [{ kind: "flip_byte", offset: MIB }]);
    const request = {
      repo,
      origin: world.origin,
      into: world.dir.join("wrong-clone"),
      home: world.dir.join("wrong-home"),
      route: { kind: "url_prefix", proxyUrl: world.peer("peer-2").proxyUrl },
      gitConfig: [["lfs.transfer.maxretries", "1"]],
    } as const;
    expect((await cloneWithoutLfs(request)).exitCode).toBe(0);
    const pull = await pullLfs(request);
    expect(pull.exitCode).not.toBe(0);
    await expectNothingKept(oid);
  });
});

/** The lie must not outlive the liar: a healed origin's object is delivered whole, at every peer. */
async function expectHealed(object: LfsObject): Promise<void> {
  await world.origin.setFaults(object.oid, []);
  for (const hostId of ["peer-1", "peer-2"]) {
    const url = await signedUrlOf(world.origin, object.oid);
    expect(await get(url, { proxyUrl: world.peer(hostId).proxyUrl })).toMatchObject({
      status: 200,
      isComplete: true,
      sha256: object.oid,
    });
  }
}

describe.concurrent("an origin that lies about the length", () => {
  test("claiming more than it sends, it never makes a short file look whole", async () => {
    const { object, url } = await faultyObject([{ kind: "claim_length", contentLength: 7 * MIB }]);
    expect(await isBrokenOff(url)).toBe(true);
    await expectHealed(object);
  });

  test("claiming less than it sends, it never makes a short file look whole", async () => {
    const { object, url } = await faultyObject([{ kind: "claim_length", contentLength: 5 * MIB }]);
    expect(await isBrokenOff(url)).toBe(true);
    await expectNothingKept(object.oid);
    await expectHealed(object);
  });

  test("ending early in an orderly way and healed meanwhile, it is read on: the file arrives whole", async () => {
    const { object, url } = await faultyObject([{ kind: "end_after", bytes: 2 * MIB + 5 }]);
    const answer = get(url);
    await healAfterFirst(object.oid);
    expect(await answer).toMatchObject({ status: 200, isComplete: true, sha256: object.oid });
  });
});

/** Heals a key as soon as one answer of it was cut short. */
async function healAfterFirst(key: string): Promise<void> {
  await waitFor("the fault to have struck", async () => {
    const { accessLog } = await world.origin.stats();
    return accessLog.some((entry) => entry.key === key && entry.bodyBytes > MIB);
  });
  await world.origin.setFaults(key, []);
}

describe.concurrent("an origin that breaks off", () => {
  test("once, is read on from there: the file arrives whole", async () => {
    const { object, url } = await faultyObject([{ kind: "close_after", bytes: 3 * MIB + 17 }]);
    const answer = get(url);
    await healAfterFirst(object.oid);
    expect(await answer).toMatchObject({ status: 200, isComplete: true, sha256: object.oid });
  });

  test("again and again at the same place of the answer, still gives the whole file, part by part", async () => {
    const { object, url } = await faultyObject([{ kind: "close_after", bytes: 2 * MIB + 100 }]);
    const answer = await get(url);
    expect(answer).toMatchObject({ status: 200, isComplete: true, sha256: object.oid });
  });

  test("before the first byte every time, leaves the client with an error, not with a file", async () => {
    const { object, url } = await faultyObject([{ kind: "close_after", bytes: 0 }]);
    const { status } = await get(url);
    expect([502, 504]).toContain(status);
    await expectHealed(object);
  });

  test("a stall in the middle is given up and read on: the file arrives whole", async () => {
    const { object, url } = await faultyObject([{ kind: "stall_after", bytes: 2 * MIB }]);
    const answer = get(url);
    await healAfterFirst(object.oid);
    expect(await answer).toMatchObject({ status: 200, isComplete: true, sha256: object.oid });
  });

  test("an origin that never answers is a clear error in bounded time", async () => {
    const { url } = await faultyObject([{ kind: "never_answer" }]);
    const answer = await get(url);
    expect(answer.status).toBe(504);
    expect(answer.body.toString()).toContain("did not answer within");
  });

  test("an origin that is not there is a clear error", async () => {
    const gone = await startLfsOrigin();
    const object = await gone.addObject(seededContent("gone", 1000));
    const url = await signedUrlOf(gone, object.oid);
    await gone.close();
    const answer = await get(url);
    expect(answer.status).toBe(502);
    expect(answer.body.toString()).toContain("connection refused");
  });
});

describe("errors of the origin are the client's to see", () => {
  for (const { status, retryAfterSeconds } of [
    { status: 401 },
    { status: 403 },
    { status: 404 },
    { status: 429, retryAfterSeconds: 17 },
    { status: 500 },
    { status: 503, retryAfterSeconds: 3 },
  ]) {
    test(`${status} is passed on as it is${retryAfterSeconds === undefined ? "" : ", with Retry-After"}, and is never content`, async () => {
      const fault: OriginFault =
        retryAfterSeconds === undefined
          ? { kind: "status", status }
          : { kind: "status", status, retryAfterSeconds };
      const { object } = await faultyObject([fault]);
      for (const hostId of ["peer-1", "peer-2"]) {
        const url = await signedUrlOf(world.origin, object.oid);
        const answer = await get(url, { proxyUrl: world.peer(hostId).proxyUrl });
        expect(answer.status).toBe(status);
        expect(answer.isComplete).toBe(true);
        expect(answer.body.toString()).toBe(`status ${status} was ordered by the test\n`);
        expect(answer.headers["retry-after"]).toBe(retryAfterSeconds?.toString());
      }
      await expectNothingKept(object.oid);
      const rows = await waitForDownloads(world, object.oid, 2);
      for (const row of rows)
        expect(row).toMatchObject({ outcome: "origin_error", httpStatus: status });
      await world.origin.setFaults(object.oid, []);
      const healed = await get(await signedUrlOf(world.origin, object.oid));
      expect(healed).toMatchObject({ status: 200, isComplete: true, sha256: object.oid });
    });
  }

  test("who may not read at the origin gets nothing from a peer that holds it", async () => {
    const { object, url } = await faultyObject([]);
    expect((await get(url)).sha256).toBe(object.oid);
    await world.origin.setFaults(object.oid, [{ kind: "status", status: 403 }]);
    for (const hostId of ["peer-1", "peer-2"]) {
      const answer = await get(await signedUrlOf(world.origin, object.oid), {
        proxyUrl: world.peer(hostId).proxyUrl,
      });
      expect(answer.status).toBe(403);
    }
  });
});

describe("origins with habits", () => {
  test("a range answered with 200 and everything: the client gets its range, or everything", async () => {
    const { content, url } = await faultyFile([{ kind: "ignore_range" }]);
    const bytes = await bytesOf(content);
    const answer = await get(url, { range: `${2 * MIB}-${3 * MIB - 1}` });
    expect(answer.isComplete).toBe(true);
    const wanted = answer.status === 206 ? bytes.subarray(2 * MIB, 3 * MIB) : bytes;
    expect([200, 206]).toContain(answer.status);
    expect(answer.body.equals(wanted)).toBe(true);
  });

  for (const { what, faults } of [
    { what: "without any validator", faults: [{ kind: "no_validator" }] },
    { what: "with a weak validator", faults: [{ kind: "weak_validator" }] },
    { what: "of unknown length", faults: [{ kind: "chunked" }] },
    {
      what: "of unknown length and without a validator",
      faults: [{ kind: "chunked" }, { kind: "no_validator" }],
    },
    { what: "from an origin that knows no ranges", faults: [{ kind: "ignore_range" }] },
  ] as const satisfies readonly { what: string; faults: readonly OriginFault[] }[]) {
    test(`content ${what} arrives whole, at either peer`, async () => {
      const { url, sha256 } = await faultyFile(faults);
      for (const hostId of ["peer-1", "peer-2"]) {
        const answer = await get(url, { proxyUrl: world.peer(hostId).proxyUrl });
        expect(answer).toMatchObject({ status: 200, isComplete: true, sha256 });
      }
    });
  }

  test("an LFS object of unknown length arrives whole", async () => {
    const { object, url } = await faultyObject([{ kind: "chunked" }, { kind: "no_validator" }]);
    expect(await get(url)).toMatchObject({ status: 200, isComplete: true, sha256: object.oid });
  });

  test("content of unknown length that breaks off is broken off at the client too", async () => {
    const { url } = await faultyFile([{ kind: "chunked" }, { kind: "close_after", bytes: MIB }]);
    const answer = await get(url);
    expect(answer).toMatchObject({ status: 200, isComplete: false });
  });

  test("gzip that nobody asked for is passed on as gzip, with the right bytes inside", async () => {
    const { content, url } = await faultyFile([{ kind: "gzip" }], MIB);
    const answer = await get(url);
    expect(answer).toMatchObject({ status: 200, isComplete: true });
    expect(answer.headers["content-encoding"]).toBe("gzip");
    expect(gunzipSync(answer.body).equals(await bytesOf(content))).toBe(true);
  });

  test("a redirect to another authority is followed: the bytes are right, and shared", async () => {
    await using storage = await startLfsOrigin();
    const content = seededContent("elsewhere", 32 * MIB);
    await storage.putFile("elsewhere.bin", content);
    const { object } = await faultyObject([
      { kind: "redirect", location: `${storage.url}/files/elsewhere.bin`, status: 302 },
    ]);
    // The oid of the redirecting object names other bytes, so this must not end well …
    expect(await isBrokenOff(await signedUrlOf(world.origin, object.oid))).toBe(true);
    // … while a file that redirects to its own bytes does.
    const { url, key } = await faultyFile([]);
    await world.origin.setFaults(key, [
      { kind: "redirect", location: `${storage.url}/files/elsewhere.bin`, status: 307 },
    ]);
    await storage.resetStats();
    const sha256 = await sha256Of(content);
    for (const hostId of ["peer-1", "peer-2"]) {
      const answer = await get(url, { proxyUrl: world.peer(hostId).proxyUrl });
      expect(answer).toMatchObject({ status: 200, isComplete: true, sha256 });
    }
    // A URL without a digest tells what it is only by its answer: peer-2 breaks its own full answer off as soon as it knows
    // better, and what the sockets had taken by then is lost.
    expect((await storage.stats()).content.bytes).toBeLessThan(1.5 * 32 * MIB);
  });

  test("content that changes at the origin is never mixed with what it was", async () => {
    const { url, key, sha256 } = await faultyFile([]);
    expect(await get(url)).toMatchObject({ sha256, isComplete: true });
    const next = seededContent("changed", 4 * MIB);
    await world.origin.putFile(key.slice("files/".length), next);
    for (const hostId of ["peer-1", "peer-2"]) {
      const answer = await get(url, { proxyUrl: world.peer(hostId).proxyUrl });
      expect(answer).toMatchObject({ status: 200, isComplete: true, sha256: await sha256Of(next) });
    }
  });
});

test("whatever these origins did, no process of ours died of it", () => {
  expect(pidsOf(world.cluster.file)).toEqual(pids);
});
