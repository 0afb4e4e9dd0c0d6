import { afterAll, describe, expect, test } from "vitest";
import { createPieceClient } from "@lacewing/peer/adapters/piece-transfer/piece-client.ts";
import {
  aRead,
  countOpenHandles,
  memorySink,
  startPieceClient,
  startRawServer,
} from "../support/piece-hosts.ts";
import { aTask } from "../support/task-builders.ts";
import { waitFor } from "../support/wait-for.ts";

const MIB = 2 ** 20;
const never = new AbortController().signal;

afterAll(countOpenHandles());

describe("a parent that breaks the protocol", () => {
  const task = { description: aTask("a", MIB) };
  const span = { start: 0, end: 1000 };
  const head = (length: number, range = "bytes 0-999/1048576") =>
    `HTTP/1.1 206 Partial Content\r\ncontent-length: ${length}\r\ncontent-range: ${range}\r\n\r\n`;

  test.each([
    ["answers garbage", "malformed", "\0\x01garbage\r\n\r\n"],
    [
      "answers with the whole content",
      "malformed",
      "HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n",
    ],
    ["answers another range", "malformed", head(1000, "bytes 1-1000/1048576")],
    ["lies about its length", "malformed", head(1001)],
    ["sends more than it said", "malformed", head(1000) + "x".repeat(1001)],
    ["closes early", "short", head(1000) + "x".repeat(999)],
    ["closes in its head", "short", head(1000).slice(0, 20)],
    ["closes without a word", "short", ""],
    ["answers with an error", "malformed", "HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n"],
    ["is busy", "busy", "HTTP/1.1 503 Busy\r\ncontent-length: 0\r\nretry-after: 1\r\n\r\n"],
  ])("and %s: %s", async (_, reason, text) => {
    await using server = await startRawServer((socket) => {
      socket.once("data", () => socket.end(text, "latin1"));
    });
    using pieces = startPieceClient();
    const { sink } = memorySink(0, 1000);
    await expect(pieces.read(aRead(server.address, task, span), sink, never)).rejects.toMatchObject(
      {
        reason,
      },
    );
    await waitFor("the connection to be closed", () => server.openCount === 0);
  });

  test.each([
    ["never answers", ""],
    ["stops in the middle", head(1000) + "x".repeat(10)],
  ])("and %s is given up as stalled", async (_, text) => {
    await using server = await startRawServer((socket) => {
      socket.once("data", () => socket.write(text, "latin1"));
    });
    using pieces = startPieceClient({ stallTimeoutMs: 100 });
    const { sink } = memorySink(0, 1000);
    await expect(pieces.read(aRead(server.address, task, span), sink, never)).rejects.toMatchObject(
      { reason: "stalled" },
    );
  });

  test("whose answer comes byte by byte is understood", async () => {
    await using server = await startRawServer((socket) => {
      socket.setNoDelay(true);
      socket.once("data", () => {
        const bytes = Buffer.from(head(1000) + "x".repeat(1000), "latin1");
        const sendFrom = (at: number) => {
          if (at === bytes.length) socket.end();
          else socket.write(bytes.subarray(at, at + 1), () => sendFrom(at + 1));
        };
        sendFrom(0);
      });
    });
    using pieces = startPieceClient();
    const { bytes, sink } = memorySink(0, 1000);
    await pieces.read(aRead(server.address, task, span), sink, never);
    expect(bytes.equals(Buffer.alloc(1000, "x"))).toBe(true);
  });

  test("that closes right after the last byte has still sent everything, however slow our disk is", async () => {
    await using server = await startRawServer((socket) => {
      socket.once("data", () => socket.end(head(1000) + "x".repeat(1000), "latin1"));
    });
    using pieces = startPieceClient();
    const { bytes, write, written } = memorySink(0, 1000);
    const slow = {
      write: async (buffer: Uint8Array, offset: number) => {
        await waitFor("the connection to be closed", () => server.openCount === 0);
        await write(buffer, offset);
      },
      written,
    };
    await pieces.read(aRead(server.address, task, span), slow, never);
    expect(bytes.equals(Buffer.alloc(1000, "x"))).toBe(true);
  });

  test("that nobody listens for is unreachable", async () => {
    const gone = await startRawServer(() => {});
    await gone[Symbol.asyncDispose]();
    using pieces = startPieceClient();
    const { sink } = memorySink(0, 1000);
    for (const address of [gone.address, "nonsense", "127.0.0.1:99999"]) {
      await expect(pieces.read(aRead(address, task, span), sink, never)).rejects.toMatchObject({
        reason: "unreachable",
      });
    }
  });

  test("after closing a kept connection is asked once more on a new one", async () => {
    await using server = await startRawServer((socket, index) => {
      socket.on("data", () => {
        // The first connection answers once; its second request finds it closed.
        if (index === 0 && socket.bytesWritten > 0) socket.destroy();
        else socket.write(head(1000) + "x".repeat(1000), "latin1");
      });
    });
    using pieces = startPieceClient();
    for (let time = 0; time < 2; time++) {
      const { sink } = memorySink(0, 1000);
      await pieces.read(aRead(server.address, task, span), sink, never);
    }
    expect(server.connectionCount).toBe(2);
  });

  test("cannot keep more connections busy than there are: further reads wait, then count it as busy", async () => {
    await using server = await startRawServer(() => {});
    using pieces = startPieceClient({
      connectionCountMax: 1,
      waitingCountMax: 1,
      waitTimeoutMs: 100,
    });
    const stop = new AbortController();
    const read = async () => {
      const { sink } = memorySink(0, 1000);
      return pieces.read(aRead(server.address, task, span), sink, stop.signal);
    };
    const first = read();
    await waitFor("the connection", () => server.connectionCount === 1);
    const outcomes = await Promise.allSettled([read(), read()]);
    for (const outcome of outcomes) {
      expect(outcome).toMatchObject({ status: "rejected", reason: { reason: "busy" } });
    }
    stop.abort(new Error("done"));
    await expect(first).rejects.toThrow("done");
  });

  test("a token that would break out of its header is not sent", async () => {
    await using server = await startRawServer(() => {});
    using pieces = startPieceClient();
    const { sink } = memorySink(0, 1000);
    await expect(
      pieces.read(aRead(server.address, task, span, "a\r\nb: c"), sink, never),
    ).rejects.toMatchObject({ reason: "malformed" });
    expect(server.connectionCount).toBe(0);
  });
});

test("a client that is closed breaks off its reads and takes no more", async () => {
  const task = { description: aTask("a", MIB) };
  await using server = await startRawServer(() => {});
  const pieces = createPieceClient();
  const { sink } = memorySink(0, MIB);
  const reading = pieces.read(aRead(server.address, task), sink, never);
  const outcome = Promise.allSettled([reading]);
  await waitFor("the connection", () => server.openCount === 1);
  pieces.close();
  expect(await outcome).toMatchObject([{ reason: { reason: "cancelled" } }]);
  await expect(pieces.read(aRead(server.address, task), sink, never)).rejects.toMatchObject({
    reason: "cancelled",
  });
});
