import { once } from "node:events";
import { createServer, type IncomingMessage, request as httpRequest } from "node:http";
import { buffer } from "node:stream/consumers";
import { afterAll, describe, expect, test } from "vitest";
import { answerBulk } from "@lacewing/peer/adapters/piece-transfer/bulk-answer.ts";
import { ServeSpans } from "@lacewing/peer/adapters/piece-transfer/serve-spans.ts";
import { type StoredTask, TransferError } from "@lacewing/peer/app/ports.ts";
import { encodeBulkRequest, parseBulkFrames } from "@lacewing/peer/core/bulk-frames.ts";
import { systemClock } from "@lacewing/runtime/clock.ts";
import { listenAnywhere } from "../support/http-proxy-world.ts";
import {
  aRead,
  aToken,
  countOpenHandles,
  created,
  holding,
  memorySink,
  PARENT_HOST,
  type Parent,
  startParent,
  startPieceClient,
} from "../support/piece-hosts.ts";
import { aTask } from "../support/task-builders.ts";

const never = new AbortController().signal;

afterAll(countOpenHandles());

function sinkAt(sinks: readonly ReturnType<typeof memorySink>[], at: number) {
  const found = sinks[at];
  if (found === undefined) throw new Error(`no sink ${at}`);
  return found.sink;
}

/** Stands before a parent and counts what it is asked; an older one knows no exchange of many contents. */
async function startRelay(parent: Parent, { knowsExchange }: { readonly knowsExchange: boolean }) {
  let requestCount = 0;
  const server = createServer((request, response) => {
    requestCount++;
    if (request.method === "POST" && !knowsExchange) {
      response.writeHead(405).end();
      return;
    }
    const { url, method, headers } = request;
    const onward = httpRequest(
      `http://${parent.server.address}${url ?? "/"}`,
      { method, headers },
      (answer) => {
        response.writeHead(answer.statusCode ?? 500, answer.headers);
        answer.pipe(response);
      },
    );
    request.pipe(onward);
  });
  const port = await listenAnywhere(server);
  return {
    address: `127.0.0.1:${port}`,
    get requestCount() {
      return requestCount;
    },
    [Symbol.asyncDispose]: async () => {
      const closed = once(server, "close");
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

function reasonOf({ reason }: { readonly reason: unknown }): unknown {
  return reason instanceof TransferError ? reason.reason : reason;
}

/** Asks for the contents as a child does, with nothing between the test and the connection. */
function askedFor(parent: Parent, tasks: readonly StoredTask[]) {
  const entries = tasks.map((task) => ({
    taskId: task.description.taskId,
    token: aToken(task),
    traceparent: "",
  }));
  const url = `http://${parent.server.address}/v1/contents`;
  const request = httpRequest(url, { method: "POST" });
  request.on("error", () => {});
  request.end(encodeBulkRequest(entries));
  return request;
}

describe("a parent whose sending is limited", () => {
  test("is done with a child that left before its turn", async () => {
    await using parent = await startParent();
    const turn = Promise.withResolvers<void>();
    const surroundings = {
      store: parent.store,
      pace: async () => turn.promise,
      spans: new ServeSpans(PARENT_HOST, systemClock),
      check: () => "forged" as const,
      hasSlotFor: () => true,
    };
    const answered = Promise.withResolvers<number>();
    const closed = Promise.withResolvers<void>();
    const server = createServer((request, response) => {
      response.once("close", () => closed.resolve());
      answered.resolve(answerBulk(surroundings, [], response, 30_000));
      request.destroy();
    });
    const port = await listenAnywhere(server);
    const request = httpRequest(`http://127.0.0.1:${port}/`, { method: "POST" });
    request.on("error", () => {});
    request.end();
    await closed.promise;
    turn.resolve();
    expect(await answered.promise).toBe(0);
    server.close();
  });

  test("sends many contents in small steps, each in its turn", async () => {
    const asked: number[] = [];
    const pace = (bytes: number) => void asked.push(bytes);
    await using parent = await startParent({ pace });
    const held = await Promise.all(
      Array.from({ length: 10 }, async (_, at) => holding(parent, `paced-${at}`, 20_000)),
    );
    const request = askedFor(
      parent,
      held.map(({ task }) => task),
    );
    const response = await new Promise<IncomingMessage>((resolve) => {
      request.once("response", resolve);
    });
    const frames = parseBulkFrames(await buffer(response), held.length);
    expect(frames?.map(({ content }) => Buffer.from(content))).toEqual(
      held.map(({ content }) => content),
    );
    expect(Math.max(...asked)).toBeLessThanOrEqual(64 * 1024);
    expect(asked.reduce((sum, bytes) => sum + bytes, 0)).toBeGreaterThanOrEqual(200_000);
  });
});

describe("a child that reads many small contents at once", () => {
  test("gets them all in one exchange, each byte for byte", async () => {
    await using parent = await startParent();
    await using relay = await startRelay(parent, { knowsExchange: true });
    using pieces = startPieceClient();
    const held = await Promise.all(
      Array.from({ length: 20 }, async (_, at) => holding(parent, `small-${at}`, 1000 + at)),
    );
    const sinks = held.map(({ content }) => memorySink(0, content.length));
    await Promise.all(
      held.map(async ({ task }, at) =>
        pieces.read(aRead(relay.address, task), sinkAt(sinks, at), never),
      ),
    );
    for (const [at, { content }] of held.entries()) {
      expect(sinks[at]?.bytes.equals(content)).toBe(true);
    }
    expect(parent.sentBytes).toBe(held.reduce((sum, { content }) => sum + content.length, 0));
    expect(relay.requestCount).toBe(1);
  });

  test("is told of each that it cannot have, and gets the others", async () => {
    await using parent = await startParent();
    await using other = await startParent();
    using pieces = startPieceClient();
    const { task, content } = await holding(parent, "held", 500);
    const empty = await created(parent, aTask("not held", 500));
    const foreign = await holding(other, "foreign", 500);
    const { address } = parent.server;
    const sink = memorySink(0, 500);
    const results = await Promise.allSettled([
      pieces.read(aRead(address, task), sink.sink, never),
      pieces.read(aRead(address, empty), memorySink(0, 500).sink, never),
      pieces.read(aRead(address, foreign.task), memorySink(0, 500).sink, never),
      pieces.read(aRead(address, task, undefined, "forged"), memorySink(0, 500).sink, never),
    ]);
    expect(sink.bytes.equals(content)).toBe(true);
    expect(
      results.map((result) => (result.status === "fulfilled" ? "" : reasonOf(result))),
    ).toEqual(["", "not_held", "not_held", "malformed"]);
  });

  test("asks a parent that knows no such exchange for each by itself", async () => {
    await using parent = await startParent();
    using pieces = startPieceClient();
    const held = await Promise.all([holding(parent, "a", 700), holding(parent, "b", 800)]);
    await using old = await startRelay(parent, { knowsExchange: false });
    const sinks = held.map(({ content }) => memorySink(0, content.length));
    await Promise.all(
      held.map(async ({ task }, at) =>
        pieces.read(aRead(old.address, task), sinkAt(sinks, at), never),
      ),
    );
    for (const [at, { content }] of held.entries()) {
      expect(sinks[at]?.bytes.equals(content)).toBe(true);
    }
  });

  test("that gives one up gets the others", async () => {
    await using parent = await startParent();
    using pieces = startPieceClient();
    const { task, content } = await holding(parent, "a", 700);
    const other = await holding(parent, "b", 800);
    const { address } = parent.server;
    const sink = memorySink(0, 700);
    const gone = new AbortController();
    const given = pieces.read(aRead(address, other.task), memorySink(0, 800).sink, gone.signal);
    const kept = pieces.read(aRead(address, task), sink.sink, never);
    gone.abort(new Error("not wanted any more"));
    await expect(given).rejects.toThrow("not wanted any more");
    await kept;
    expect(sink.bytes.equals(content)).toBe(true);
  });
});
