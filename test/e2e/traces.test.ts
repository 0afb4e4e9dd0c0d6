import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { seededContent } from "../support/content.ts";
import { waitForDownloads } from "../support/download-rows.ts";
import { startWorld, type World } from "../support/e2e-world.ts";
import { httpGet } from "../support/http.ts";
import { signedUrlOf } from "../support/lfs-batch-client.ts";
import type { LfsObject } from "../support/lfs-origin.ts";
import { readSpans, type TraceSpan } from "../support/trace-query.ts";
import { waitFor } from "../support/wait-for.ts";

/** Services export spans in batches, some seconds after they ended. */
const EXPORT_TIMEOUT_MS = 30_000;

const doneLine = z.object({
  costMs: z.number().min(0),
  peer: z.string(),
  task: z.string().regex(/^[0-9a-f]{64}$/),
  trace: z.string(),
  traffic: z.string(),
});

let world: World;
let object: LfsObject;
beforeAll(async () => {
  world = await startWorld();
  object = await world.origin.addObject(seededContent("traced", 5 * 2 ** 20));
  for (const hostId of ["peer-1", "peer-2"]) {
    const url = await signedUrlOf(world.origin, object.oid);
    const answer = await httpGet(url, { proxyUrl: world.peer(hostId).proxyUrl });
    if (answer.sha256 !== object.oid) throw new Error(`${hostId} delivered other bytes`);
  }
});
afterAll(async () => world?.[Symbol.asyncDispose]());

function tracesUrl(): string {
  const url = world.cluster.file.tracesUrl;
  if (url === null) throw new Error("the cluster has no trace store of its own");
  return url;
}

async function traceIdOf(hostId: string): Promise<string> {
  const rows = await waitForDownloads(world, object.oid, 2);
  return rows.find((row) => row.hostId === hostId)?.traceId ?? "";
}

/** The spans of a trace as soon as every name is among them. */
async function spansWith(traceId: string, names: readonly string[]): Promise<readonly TraceSpan[]> {
  return waitFor(
    `spans ${names.join(", ")} in trace ${traceId}`,
    async () => {
      const spans = await readSpans(tracesUrl(), traceId);
      const missing = names.filter((name) => !spans.some((span) => span.name === name));
      if (missing.length > 0) throw new Error(`missing: ${missing.join(", ")}`);
      return spans;
    },
    { timeoutMs: EXPORT_TIMEOUT_MS, intervalMs: 250 },
  );
}

function expectOneTree(spans: readonly TraceSpan[]): void {
  const ids = new Set(spans.map(({ spanId }) => spanId));
  const roots = spans.filter(({ parentSpanId }) => !ids.has(parentSpanId));
  expect(roots.map(({ name, parentSpanId }) => ({ name, parentSpanId }))).toEqual([
    { name: "download", parentSpanId: "" },
  ]);
}

test("one trace of a remote download holds proxy, scheduler and parent in one tree", async () => {
  const spans = await spansWith(await traceIdOf("peer-2"), [
    "download",
    "task.request",
    "schedule",
    "piece.fetch",
    "serve",
  ]);
  expectOneTree(spans);
  // Few enough that a person reads them.
  expect(spans.length).toBeLessThanOrEqual(8);
  const services = (name: string) => [
    ...new Set(spans.filter((span) => span.name === name).map(({ service }) => service)),
  ];
  expect(services("download")).toEqual(["lacewing-peer"]);
  expect(services("schedule")).toEqual(["lacewing-scheduler"]);
  expect(services("serve")).toEqual(["lacewing-peer"]);
  const hostOf = (name: string) =>
    spans.find((span) => span.name === name)?.attributes["lacewing.host.id"];
  expect(hostOf("download")).toBe("peer-2");
  expect(hostOf("serve")).not.toBe("peer-2");
  const root = spans.find(({ name }) => name === "download");
  expect(root?.attributes).toMatchObject({
    "lacewing.traffic": "remote_peer",
    "lacewing.bytes.remote_peer": String(object.sizeBytes),
    "lacewing.outcome": "finished",
  });
  // A signature is a secret: no span may carry one.
  expect(JSON.stringify(spans)).not.toMatch(/X-Amz-Signature|token=/i);
});

test("a cold download's trace shows the read of the origin under the same root", async () => {
  const spans = await spansWith(await traceIdOf("peer-1"), [
    "download",
    "schedule",
    "origin.fetch",
  ]);
  expectOneTree(spans);
  const root = spans.find(({ name }) => name === "download");
  expect(root?.attributes["lacewing.traffic"]).toBe("back_to_source");
});

test("Jaeger's older API answers for the same trace", async () => {
  const traceId = await traceIdOf("peer-2");
  await spansWith(traceId, ["serve"]);
  const answer = await httpGet(`${tracesUrl()}/api/traces/${traceId}`);
  const { data } = z
    .object({ data: z.array(z.object({ traceID: z.string(), spans: z.array(z.unknown()) })) })
    .parse(JSON.parse(answer.body.toString()));
  expect(data[0]?.traceID).toBe(traceId);
  expect(data[0]?.spans.length).toBeGreaterThanOrEqual(5);
});

test("the page that searches traces of lacewing-peer links the download's trace", async () => {
  const traceId = await traceIdOf("peer-2");
  await spansWith(traceId, ["download"]);
  const page = await httpGet(`${tracesUrl()}/search?service=lacewing-peer`);
  expect(page.status).toBe(200);
  expect(page.headers["content-type"]).toContain("text/html");
  expect(page.body.toString()).toContain(`/trace/${traceId}`);
  const trace = await httpGet(`${tracesUrl()}/trace/${traceId}`);
  expect(trace.status).toBe(200);
  expect(trace.body.toString()).toContain("lacewing-scheduler");
});

test("the peer's core.log says that the task is done, with cost, peer, task and trace", async () => {
  const traceId = await traceIdOf("peer-2");
  const text = await readFile(join(world.peer("peer-2").dataDir, "logs", "core.log"), "utf8");
  const lines = text
    .split("\n")
    .filter((line) => line.includes("peer task done"))
    .map((line) => doneLine.parse(JSON.parse(line)));
  expect(lines.filter(({ trace }) => trace === traceId)).toMatchObject([
    { peer: "peer-2", traffic: "remote_peer" },
  ]);
  expect(text).not.toMatch(/X-Amz-Signature/i);
});
