import type { ServerResponse } from "node:http";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { SLOT_LIMITS } from "@lacewing/peer/adapters/origin/connection-slots.ts";
import {
  curl,
  RawClient,
  startOrigin,
  startWorld,
  type ProxyWorld,
  type TestServer,
} from "../support/http-proxy-world.ts";
import { waitFor } from "../support/wait-for.ts";

const STREAM_COUNT_MAX = 3;
const WAIT_MS = 300;

let world: ProxyWorld;
let origin: TestServer;
const streams = new Set<ServerResponse>();
const clients: RawClient[] = [];
beforeAll(async () => {
  const limits = { ...SLOT_LIMITS, perOrigin: STREAM_COUNT_MAX, waitMs: WAIT_MS };
  world = await startWorld({ limits });
  origin = await startOrigin((request, response) => {
    if (request.url !== "/events") {
      response.end("an answer");
      return;
    }
    response.writeHead(200, { "content-type": "text/event-stream" }).write("data: 1\n\n");
    streams.add(response);
    response.once("close", () => streams.delete(response));
  });
});
afterEach(async () => {
  for (const client of clients.splice(0)) client.socket.destroy();
  await waitFor("the streams are over", () => streams.size === 0);
});
afterAll(async () => {
  await world?.[Symbol.asyncDispose]();
  await origin?.[Symbol.asyncDispose]();
});

/** As many event streams as an origin has connections. */
async function openStreams(): Promise<void> {
  for (let count = 0; count < STREAM_COUNT_MAX; count++) {
    const client = new RawClient(world.proxy.address.port);
    clients.push(client);
    client.send(`GET http://127.0.0.1:${origin.port}/events HTTP/1.1\r\nHost: x\r\n\r\n`);
  }
  await waitFor("all streams are open", () => streams.size === STREAM_COUNT_MAX);
}

const ask = async (...args: readonly string[]) =>
  curl(
    "-m",
    "10",
    "-w",
    " %{http_code}",
    "-x",
    `http://127.0.0.1:${world.proxy.address.port}`,
    ...args,
    `http://127.0.0.1:${origin.port}/x`,
  );

test.each([
  ["a read", []],
  ["an upload", ["-d", "content"]],
])("%s that gets no connection is told so in time", async (_what, args) => {
  await openStreams();
  const host = `127.0.0.1:${origin.port}`;
  expect(await ask(...args)).toBe(
    `lacewing: all ${STREAM_COUNT_MAX} connections to ${host} are in use, and none became free within ${WAIT_MS} ms\n 503`,
  );
});

test("one that becomes free meanwhile is used", async () => {
  await openStreams();
  const asked = ask("-d", "content");
  const [first] = streams;
  first?.end();
  expect(await asked).toBe("an answer 200");
});

test("who goes away while waiting takes none", async () => {
  await openStreams();
  const gone = new RawClient(world.proxy.address.port);
  gone.send(`GET http://127.0.0.1:${origin.port}/events HTTP/1.1\r\nHost: x\r\n\r\n`);
  await new Promise((resolve) => setTimeout(resolve, WAIT_MS / 6));
  gone.socket.destroy();
  await new Promise((resolve) => setTimeout(resolve, WAIT_MS / 6));
  for (const client of clients.splice(0)) client.socket.destroy();
  await waitFor("the streams are over", () => streams.size === 0);
  expect(await Promise.all([ask(), ask(), ask()])).toEqual(Array(3).fill("an answer 200"));
});
