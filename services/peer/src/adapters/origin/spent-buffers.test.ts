import { once } from "node:events";
import { Agent, createServer, type IncomingMessage, request } from "node:http";
import { describe, expect, test } from "vitest";
import { giveBack, giveBackParsed } from "./spent-buffers.ts";

describe("bytes that nobody will look at again", () => {
  test("lose their memory when they have it for themselves", () => {
    const own = Buffer.alloc(100_000);
    giveBack(own);
    expect(own.length).toBe(0);
    expect(() => giveBack(own)).not.toThrow();
  });

  test("are left alone when others lie in the same memory", () => {
    const memory = new ArrayBuffer(16);
    const [front, back] = [new Uint8Array(memory, 0, 8), new Uint8Array(memory, 8, 8)];
    giveBack(front);
    giveBack(back);
    expect([front.length, back.length]).toEqual([8, 8]);
  });
});

test("what a connection reads is given back behind the parser, for each request of a kept connection", async () => {
  const body = Buffer.alloc(300_000, "content ");
  const server = createServer((_, response) => response.end(body)).listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new TypeError("no TCP address");
  const { port } = address;
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const given: number[] = [];
  const kept: number[] = [];
  try {
    for (let turn = 0; turn < 3; turn++) {
      const asked = request({ port, host: "127.0.0.1", agent });
      // The last one, as an upgrade would, lets nothing be given back.
      if (turn < 2) giveBackParsed(asked);
      const left = turn < 2 ? given : kept;
      asked.once("socket", (socket) => {
        const look = (bytes: Buffer) => setImmediate(() => left.push(bytes.length));
        socket.on("data", look);
        asked.once("close", () => socket.off("data", look));
      });
      const answered = new Promise<IncomingMessage>((resolve) => asked.once("response", resolve));
      asked.end();
      const answer = await answered;
      const chunks: Buffer[] = [];
      answer.on("data", (chunk: Buffer) => chunks.push(chunk));
      await once(answer, "end");
      expect(Buffer.concat(chunks).equals(body)).toBe(true);
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(given.length).toBeGreaterThan(3);
    expect(new Set(given)).toEqual(new Set([0]));
    expect(kept.reduce((sum, length) => sum + length, 0)).toBeGreaterThan(body.length);
  } finally {
    agent.destroy();
    server.close();
  }
});
