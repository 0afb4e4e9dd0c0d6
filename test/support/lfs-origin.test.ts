import { gunzipSync } from "node:zlib";
import { expect, test } from "vitest";
import { z } from "zod";
import { bytesOf, seededContent, sha256Of, textContent } from "./content.ts";
import { httpGet } from "./http.ts";
import { startLfsOriginProcess } from "./lfs-origin-process.ts";
import { startLfsOrigin, type LfsOrigin } from "./lfs-origin.ts";
import { lfsUrlOf } from "./lfs-paths.ts";
import { waitFor } from "./wait-for.ts";

const CONTENT = seededContent("origin", 300_000);
const answerSchema = z.object({
  objects: z.array(
    z.object({
      actions: z.object({ download: z.object({ href: z.string() }) }).optional(),
      error: z.object({ code: z.number() }).optional(),
    }),
  ),
});

async function batch(origin: LfsOrigin, oid: string, host?: string) {
  const answer = await httpGet(`${lfsUrlOf(origin, "team/models")}/objects/batch`, {
    method: "POST",
    headers: {
      "content-type": "application/vnd.git-lfs+json",
      ...(host === undefined ? {} : { host }),
    },
    body: JSON.stringify({ operation: "download", objects: [{ oid, size: 1 }] }),
  });
  expect(answer.headers["content-type"]).toBe("application/vnd.git-lfs+json");
  return answerSchema.parse(JSON.parse(answer.body.toString())).objects[0];
}

async function hrefOf(origin: LfsOrigin, oid: string): Promise<string> {
  return (await batch(origin, oid))?.actions?.download.href ?? "";
}

test("the batch API signs storage URLs on the authority that the client used", async () => {
  await using origin = await startLfsOrigin();
  const { oid } = await origin.addObject(CONTENT);
  const href = (await batch(origin, oid, "lfs.localhost:99"))?.actions?.download.href ?? "";
  expect(href).toMatch(
    new RegExp(`^https://lfs.localhost:99/storage/${oid.slice(0, 2)}/${oid.slice(2, 4)}/${oid}\\?`),
  );
  expect((await batch(origin, "0".repeat(64)))?.error?.code).toBe(404);
});

test("storage serves whole objects and ranges to signed URLs only", async () => {
  await using origin = await startLfsOrigin();
  const { oid } = await origin.addObject(CONTENT);
  const href = await hrefOf(origin, oid);
  const whole = await httpGet(href);
  expect([whole.status, whole.sha256, whole.headers["content-length"]]).toEqual([
    200,
    oid,
    "300000",
  ]);
  const part = await httpGet(href, { range: "299990-" });
  expect([part.status, part.headers["content-range"]]).toEqual([206, "bytes 299990-299999/300000"]);
  expect(part.body).toEqual((await bytesOf(CONTENT)).subarray(299_990));
  const head = await httpGet(href, { method: "HEAD" });
  expect([head.headers["content-length"], head.headers["accept-ranges"]]).toEqual([
    "300000",
    "bytes",
  ]);
  expect((await httpGet(href.replace("token=", "token=x"))).status).toBe(403);
  expect((await httpGet(href, { range: "400000-" })).status).toBe(416);
});

test("content and probe bytes are counted apart, by key and in total", async () => {
  await using origin = await startLfsOrigin();
  const { oid } = await origin.addObject(CONTENT);
  await origin.putFile("notes.txt", textContent("0123456789"));
  const href = await hrefOf(origin, oid);
  await httpGet(href, { range: "0-0" });
  await httpGet(href);
  await httpGet(`${origin.url}/files/notes.txt`, { range: "2-4" });
  const stats = await waitFor("all answers to end", async () => {
    const now = await origin.stats();
    return now.activeRequestCount === 0 ? now : undefined;
  });
  expect(stats.content).toEqual({ requestCount: 2, bytes: 300_003 });
  expect(stats.probe).toEqual({ requestCount: 1, bytes: 1 });
  expect(stats.byKey[oid]?.content.bytes).toBe(300_000);
  expect(stats.byKey["files/notes.txt"]?.content.bytes).toBe(3);
  expect(stats.accessLog.map(({ kind, status }) => `${kind} ${status}`)).toEqual([
    "batch 200",
    "probe 206",
    "content 200",
    "content 206",
  ]);
});

test("a replaced file has another strong ETag, and If-Range then gets the whole new one", async () => {
  await using origin = await startLfsOrigin();
  const url = `${origin.url}/files/a`;
  await origin.putFile("a", textContent("old"));
  const old = await httpGet(url);
  await origin.putFile("a", textContent("new one"));
  const etag = old.headers.etag ?? "";
  expect(etag).toMatch(/^"[0-9a-f]{32}"$/);
  const answer = await httpGet(url, { range: "0-0", headers: { "if-range": etag } });
  expect([answer.status, answer.body.toString()]).toEqual([200, "new one"]);
  const fresh = answer.headers.etag ?? "";
  expect((await httpGet(url, { headers: { "if-none-match": fresh } })).status).toBe(304);
  await origin.putFile("a", textContent("new one"));
  expect((await httpGet(url)).headers.etag).not.toBe(fresh);
});

test("an origin in its own process answers like one in this process", async () => {
  await using origin = await startLfsOriginProcess({ rateBytesPerSecond: 50_000_000 });
  const { oid } = await origin.addObject(CONTENT);
  expect((await httpGet(await hrefOf(origin, oid))).sha256).toBe(oid);
  expect((await origin.stats()).content.bytes).toBe(300_000);
  await origin.setFaults(oid, [{ kind: "status", status: 503, retryAfterSeconds: 7 }]);
  const refused = await httpGet(await hrefOf(origin, oid));
  expect([refused.status, refused.headers["retry-after"]]).toEqual([503, "7"]);
});

test("each fault shows on the wire as it is named, and an empty list heals", async () => {
  await using origin = await startLfsOrigin();
  const { oid } = await origin.addObject(CONTENT);
  const href = await hrefOf(origin, oid);
  const other = seededContent("other", 10);
  const get = async (...faults: Parameters<LfsOrigin["setFaults"]>[1][number][]) => {
    await origin.setFaults(oid, faults);
    return httpGet(href, { range: "0-99999", idleTimeoutMs: 200 });
  };
  const flipped = await get({ kind: "flip_byte", offset: 5 });
  const right = (await bytesOf(CONTENT)).subarray(0, 100_000);
  expect(flipped.body.equals(right)).toBe(false);
  expect(flipped.body.subarray(6).equals(right.subarray(6))).toBe(true);
  expect((await get({ kind: "other_content", content: other })).sha256).toBe(await sha256Of(other));
  const cut = await get({ kind: "end_after", bytes: 70_000 });
  expect([cut.bodyBytes, cut.isComplete]).toEqual([70_000, false]);
  const reset = await get({ kind: "close_after", bytes: 70_000 });
  expect([reset.status, reset.isComplete]).toEqual([206, false]);
  const stalled = await get({ kind: "stall_after", bytes: 70_000 });
  expect([stalled.bodyBytes, stalled.isComplete]).toEqual([70_000, false]);
  const boastful = await get({ kind: "claim_length", contentLength: 200_000 });
  expect([boastful.bodyBytes, boastful.isComplete]).toEqual([100_000, false]);
  const whole = await get({ kind: "ignore_range" });
  expect([whole.status, whole.sha256]).toEqual([200, oid]);
  const moved = await get({ kind: "redirect", location: "/elsewhere", status: 302 });
  expect([moved.status, moved.headers.location]).toEqual([302, "/elsewhere"]);
  expect((await get({ kind: "no_validator" })).headers.etag).toBeUndefined();
  expect((await get({ kind: "weak_validator" })).headers.etag).toMatch(/^W\//);
  const zipped = await get({ kind: "gzip" });
  expect(gunzipSync(zipped.body)).toEqual(await bytesOf(CONTENT));
  const chunked = await get({ kind: "chunked" });
  expect(chunked.headers["transfer-encoding"]).toBe("chunked");
  await expect(get({ kind: "never_answer" })).rejects.toThrow("no byte within 200 ms");
  expect((await get()).isComplete).toBe(true);
});
