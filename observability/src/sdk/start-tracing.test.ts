import { once } from "node:events";
import { createServer, type Server } from "node:http";
import { ROOT_CONTEXT } from "@opentelemetry/api";
import { afterEach, describe, expect, test } from "vitest";
import { createMemoryLog } from "../memory-log.ts";
import { endSpan, startSpan, traceIdOf, traceparentOf } from "../trace.ts";
import { startTracing, type Tracing } from "./start-tracing.ts";

const open: (() => Promise<void>)[] = [];

afterEach(async () => {
  for (const close of open.splice(0).toReversed()) await close();
});

function tracing(options: { endpoint?: string; sampleRatio?: number }) {
  const log = createMemoryLog();
  const started: Tracing = startTracing({
    service: "lacewing-peer",
    instanceId: "h1",
    log,
    ...options,
  });
  open.push(() => started.shutdown());
  return { log, tracing: started };
}

/** A receiver that answers `status` and keeps bodies. */
async function receiver(
  status: number,
): Promise<{ endpoint: string; paths: string[]; bodies: Buffer[] }> {
  const paths: string[] = [];
  const bodies: Buffer[] = [];
  const server: Server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      paths.push(request.url ?? "");
      bodies.push(Buffer.concat(chunks));
      response.writeHead(status).end();
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  open.push(async () => {
    server.closeAllConnections();
    server.close();
    await once(server, "close");
  });
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  return { endpoint: `http://127.0.0.1:${port}`, paths, bodies };
}

describe("tracing", () => {
  test("without a receiver gives valid ids and keeps no span", async () => {
    const { tracing: started } = tracing({});
    const span = startSpan("download", { parent: ROOT_CONTEXT });
    endSpan(span);
    expect(traceIdOf(span)).toMatch(/^[0-9a-f]{32}$/);
    expect(traceparentOf(span)).toMatch(/-01$/);
    await started.shutdown();
    expect(started.droppedSpanCount()).toBe(0);
  });

  test("sends what is queued when it ends", async () => {
    const { endpoint, paths, bodies } = await receiver(200);
    const { tracing: started } = tracing({ endpoint: `${endpoint}/` });
    endSpan(startSpan("download", { attributes: { "lacewing.task.id": "t1" } }));
    await started.shutdown();
    expect(paths).toEqual(["/v1/traces"]);
    const text = bodies[0]?.toString("latin1") ?? "";
    for (const part of ["lacewing-peer", "h1", "download", "lacewing.task.id"]) {
      expect(text).toContain(part);
    }
  });

  test("tells a failing receiver once and counts what was lost", async () => {
    const { endpoint } = await receiver(400);
    const { log, tracing: started } = tracing({ endpoint });
    // More than one batch, so that there is more than one failure.
    for (let index = 0; index < 5000; index += 1) endSpan(startSpan("download"));
    await started.shutdown();
    expect(started.droppedSpanCount()).toBe(5000);
    const told = log.entries.filter((entry) => entry.level !== "debug");
    expect(told.map((entry) => entry.event)).toEqual(["trace export failing"]);
  });

  test("drops and counts what does not fit its queue", async () => {
    const { endpoint } = await receiver(200);
    const { tracing: started } = tracing({ endpoint });
    for (let index = 0; index < 20_000; index += 1) endSpan(startSpan("download"));
    const dropped = started.droppedSpanCount();
    expect(dropped).toBeGreaterThan(0);
    expect(dropped).toBeLessThan(20_000 - 16_384 + 1);
    await started.shutdown();
    expect(started.droppedSpanCount()).toBe(dropped);
  });

  test("records no trace that begins here at ratio 0, but follows a caller that records", () => {
    tracing({ sampleRatio: 0 });
    expect(startSpan("download", { parent: ROOT_CONTEXT }).isRecording()).toBe(false);
  });
});
