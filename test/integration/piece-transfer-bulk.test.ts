import { once } from "node:events";
import { createServer, request as httpRequest } from "node:http";
import { afterAll, describe, expect, test } from "vitest";
import { TransferError } from "@lacewing/peer/app/ports.ts";
import { listenAnywhere } from "../support/http-proxy-world.ts";
import {
  aRead,
  countOpenHandles,
  created,
  holding,
  memorySink,
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
