import { createHash } from "node:crypto";
import { open, readFile, stat, writeFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { cleanEnvironment } from "../support/clean-environment.ts";
import { bytesOf, type Content, seededContent } from "../support/content.ts";
import { startWorld, type World } from "../support/e2e-world.ts";
import { httpGet } from "../support/http.ts";
import { signedUrlOf } from "../support/lfs-batch-client.ts";
import type { LfsObject } from "../support/lfs-origin.ts";
import { failureOf, type ProcessResult, runProcess } from "../support/processes.ts";
import { requiredTool } from "../support/required-tool.ts";

const MIB = 2 ** 20;
/** What is in the sockets, and one chunk more, when an answer of the origin is cut short. */
const CUT_WASTE_MAX = MIB;
const hasTools = ["curl", "aria2c", "wget"].every((name) => requiredTool(name) !== undefined);

describe.skipIf(!hasTools)("parts of content", () => {
  let world: World;
  beforeAll(async () => {
    world = await startWorld();
  });
  afterAll(async () => world?.[Symbol.asyncDispose]());

  async function curl(...args: readonly string[]): Promise<ProcessResult> {
    return runProcess({
      command: "curl",
      args: ["-q", "-sS", "--noproxy", "", ...args],
      env: cleanEnvironment(world.dir.path),
    });
  }

  async function offer(seed: string, sizeBytes: number) {
    const content: Content = seededContent(seed, sizeBytes);
    return { object: await world.origin.addObject(content), bytes: await bytesOf(content) };
  }

  /** A download of a part through a peer: status, head and body. */
  async function part(hostId: string, object: LfsObject, range: string) {
    const into = world.dir.join("part.bin");
    const { proxyUrl } = world.peer(hostId);
    const url = await signedUrlOf(world.origin, object.oid);
    const result = await curl("-x", proxyUrl, "-r", range, "-D", "-", "-o", into, url);
    expect(failureOf(result)).toBe("");
    return { head: result.stdout, body: await readFile(into) };
  }

  /** A client that reads all of it through peer-1. */
  async function startWhole(object: LfsObject, onBytes: (soFar: number) => void = () => {}) {
    return httpGet(await signedUrlOf(world.origin, object.oid), {
      proxyUrl: world.peer("peer-1").proxyUrl,
      onChunk: (_chunk, bytesSoFar) => onBytes(bytesSoFar),
    });
  }

  async function servedOf(object: LfsObject): Promise<number> {
    return (await world.origin.stats()).byKey[object.oid]?.content.bytes ?? 0;
  }

  test("single, suffix and open ranges are answered with exactly their bytes: cold, from a peer, and held", async () => {
    const { object, bytes } = await offer("ranges", 9 * MIB + 5);
    for (const hostId of ["peer-1", "peer-2", "peer-2"]) {
      for (const [range, start, end] of [
        [`${3 * MIB - 7}-${5 * MIB + 11}`, 3 * MIB - 7, 5 * MIB + 12],
        ["0-0", 0, 1],
        ["-1000", bytes.length - 1000, bytes.length],
        [`${7 * MIB + 3}-`, 7 * MIB + 3, bytes.length],
        [`${bytes.length - 1}-${bytes.length + 500}`, bytes.length - 1, bytes.length],
      ] as const) {
        const { head, body } = await part(hostId, object, range);
        expect(head).toMatch(/^HTTP\/1\.1 206 /);
        expect(head).toMatch(
          new RegExp(`^content-range: bytes ${start}-${end - 1}/${bytes.length}\\r$`, "im"),
        );
        expect({ range, isRight: body.equals(bytes.subarray(start, end)) }).toEqual({
          range,
          isRight: true,
        });
      }
    }
  });

  test("several ranges come as multipart/byteranges, each with its bytes", async () => {
    const { object, bytes } = await offer("several ranges", 4 * MIB);
    const { head, body } = await part("peer-1", object, `10-19,${2 * MIB - 5}-${2 * MIB + 4},-3`);
    expect(head).toMatch(/^HTTP\/1\.1 206 /);
    const boundary = /^content-type: multipart\/byteranges; boundary=("?)([^"\r\n]+)\1\r$/im.exec(
      head,
    )?.[2];
    expect(boundary).toBeDefined();
    const parts = body.toString("latin1").split(`--${boundary}`).slice(1, -1);
    expect(parts.map((text) => text.slice(text.indexOf("\r\n\r\n") + 4, -2))).toEqual(
      [
        [10, 20],
        [2 * MIB - 5, 2 * MIB + 5],
        [bytes.length - 3, bytes.length],
      ].map(([start, end]) => bytes.subarray(start, end).toString("latin1")),
    );
  });

  test("a range beyond the end is refused with 416 and the length", async () => {
    const { object, bytes } = await offer("beyond", 2 * MIB);
    const { head } = await part("peer-1", object, `${3 * MIB}-`);
    expect(head).toMatch(/^HTTP\/1\.1 416 /);
    expect(head).toMatch(new RegExp(`^content-range: bytes \\*/${bytes.length}\\r$`, "im"));
  });

  test("curl -C - completes a file that broke off", async () => {
    const { object, bytes } = await offer("resumed", 12 * MIB + 1);
    const into = world.dir.join("resumed.bin");
    const file = await open(into, "w");
    await file.write(bytes, 0, 5 * MIB + 77);
    await file.close();
    const url = await signedUrlOf(world.origin, object.oid);
    const { proxyUrl } = world.peer("peer-1");
    const result = await curl("-x", proxyUrl, "-C", "-", "-o", into, url);
    expect(failureOf(result)).toBe("");
    expect((await readFile(into)).equals(bytes)).toBe(true);
    // Only what was missing was read, in whole pieces.
    const { content } = await world.origin
      .stats()
      .then((stats) => stats.byKey[object.oid] ?? { content: { bytes: 0 } });
    expect(content.bytes).toBeLessThanOrEqual(bytes.length - 5 * MIB);
  });

  test("wget -c completes a file that broke off, while another client is fetching it", async () => {
    await world.origin.setRate(20 * MIB);
    const { object, bytes } = await offer("continued", 40 * MIB + 3);
    const whole = startWhole(object);
    const into = world.dir.join("continued.bin");
    await writeFile(into, bytes.subarray(0, 10 * MIB + 77));
    const result = await runProcess({
      command: "wget",
      args: ["-q", "-c", "-O", into, await signedUrlOf(world.origin, object.oid)],
      env: {
        ...cleanEnvironment(world.dir.path),
        http_proxy: world.peer("peer-1").proxyUrl,
        no_proxy: "",
      },
    });
    expect(failureOf(result)).toBe("");
    expect((await readFile(into)).equals(bytes)).toBe(true);
    expect(await whole).toMatchObject({ isComplete: true, sha256: object.oid });
    await world.origin.setRate(undefined);
    expect(await servedOf(object)).toBeLessThanOrEqual(bytes.length + CUT_WASTE_MAX);
  });

  test("a range near the end does not wait for the read of the whole to get there, and shares it", async () => {
    await world.origin.setRate(10 * MIB);
    const { object, bytes } = await offer("far", 48 * MIB + 9);
    let receivedBytes = 0;
    const underWay = Promise.withResolvers<void>();
    const whole = startWhole(object, (soFar) => {
      receivedBytes = soFar;
      underWay.resolve();
    });
    await underWay.promise;
    const { body } = await part("peer-1", object, `${44 * MIB}-${45 * MIB - 1}`);
    expect(receivedBytes).toBeLessThan(bytes.length / 2);
    expect(body.equals(bytes.subarray(44 * MIB, 45 * MIB))).toBe(true);
    expect(await whole).toMatchObject({ isComplete: true, sha256: object.oid });
    await world.origin.setRate(undefined);
    expect(await servedOf(object)).toBeLessThanOrEqual(bytes.length + CUT_WASTE_MAX);
  });

  test("aria2c with eight connections gets the file bit-exact, in parallel, and costs the origin one copy", async () => {
    await world.origin.setRate(20 * MIB);
    const { object, bytes } = await offer("aria2", 96 * MIB);
    const result = await runProcess({
      command: "aria2c",
      args: [
        "--no-conf=true",
        `--all-proxy=${world.peer("peer-1").proxyUrl}`,
        "--no-proxy=",
        "-x8",
        "-s8",
        "-k1M",
        "--file-allocation=none",
        "--quiet=true",
        `--dir=${world.dir.path}`,
        "--out=aria2.bin",
        await signedUrlOf(world.origin, object.oid),
      ],
      env: cleanEnvironment(world.dir.path),
    });
    expect(failureOf(result)).toBe("");
    const path = world.dir.join("aria2.bin");
    expect((await stat(path)).size).toBe(bytes.length);
    expect(
      createHash("sha256")
        .update(await readFile(path))
        .digest("hex"),
    ).toBe(object.oid);
    await world.origin.setRate(undefined);
    const { accessLog } = await world.origin.stats();
    const reads = accessLog.filter(({ key, bodyBytes }) => key === object.oid && bodyBytes > MIB);
    expect(reads.length).toBeGreaterThan(1);
    expect(await servedOf(object)).toBeLessThanOrEqual(object.sizeBytes + 8 * CUT_WASTE_MAX);
  });
});
