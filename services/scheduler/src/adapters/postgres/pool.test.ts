import { createServer, type Socket } from "node:net";
import { createMemoryLog } from "@lacewing/observability/memory-log.ts";
import { expect, test } from "vitest";
import { createPool, inTransaction } from "./pool.ts";

/** `AuthenticationOk` and `ReadyForQuery` of PostgreSQL's protocol, version 3. */
const HANDSHAKE = Buffer.from([0x52, 0, 0, 0, 8, 0, 0, 0, 0, 0x5a, 0, 0, 0, 5, 0x49]);

test.each([
  ["takes no connection", undefined, /operation was aborted/u],
  ["answers no statement", HANDSHAKE, /connection terminated/iu],
])("a transaction is broken off although the server %s", async (_, greeting, words) => {
  await using server = await frozenServer(greeting);
  const pool = createPool(server.url, { applicationName: "test", log: createMemoryLog() });
  const abort = new AbortController();
  const work = async () => ({ commit: true, result: "done" });
  const transaction = inTransaction(pool, "BEGIN", work, abort.signal);
  await server.isAsked;
  abort.abort();

  // Not the pool's own limits on a connection or a statement.
  await expect(transaction).rejects.toThrow(words);
});

test("a pool is closed although the server answers no statement and takes no leave", async () => {
  await using server = await frozenServer(HANDSHAKE);
  const log = createMemoryLog();
  const pool = createPool(server.url, { applicationName: "test", log });
  const idle = await pool.connect();
  const asked = pool.query("SELECT 1");
  await server.isAsked;
  idle.release();

  await Promise.all([
    expect(asked).rejects.toThrow(/connection terminated/iu),
    // The limit on a statement is far longer.
    pool.close(),
  ]);

  expect(log.entries.map(({ event, fields }) => ({ event, ...fields }))).toEqual([
    { event: "postgres connections broken off", connectionCount: 2 },
  ]);
});

/** A server that is stopped after it has greeted: the system takes connections in its place, and nobody answers. */
async function frozenServer(greeting: Buffer | undefined) {
  const sockets: Socket[] = [];
  const asked = Promise.withResolvers<void>();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.push(socket);
    socket.on("error", () => {});
    let messageCount = 0;
    socket.on("data", () => {
      messageCount++;
      if (messageCount === 1 && greeting !== undefined) socket.write(greeting);
      else asked.resolve();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  return {
    url: `postgres://nobody@127.0.0.1:${address.port}/none`,
    isAsked: asked.promise,
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
