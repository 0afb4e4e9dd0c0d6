import type { ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
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
const sockets = new Set<Duplex>();
let upgradeCount = 0;
/** What came on the newest upgraded connection. */
let upgradedText = "";
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
  origin.server.on("upgrade", (request, socket) => {
    socket.on("error", () => {});
    upgradeCount++;
    if (request.url === "/refused") {
      socket.end("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
      return;
    }
    socket.write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n");
    sockets.add(socket);
    socket.once("end", () => socket.end()).once("close", () => sockets.delete(socket));
    upgradedText = "";
    socket.on("data", (bytes: Buffer) => (upgradedText += bytes.toString()));
  });
});
afterEach(async () => {
  for (const client of clients.splice(0)) client.socket.destroy();
  await waitFor("the streams are over", () => streams.size + sockets.size === 0);
});
afterAll(async () => {
  await world?.[Symbol.asyncDispose]();
  await origin?.[Symbol.asyncDispose]();
});

function askUpgrade(url = `http://127.0.0.1:${origin.port}/ws`): RawClient {
  const client = new RawClient(world.proxy.address.port);
  clients.push(client);
  const fields = "Host: x\r\nConnection: Upgrade\r\nUpgrade: x";
  client.send(`GET ${url} HTTP/1.1\r\n${fields}\r\n\r\n`);
  return client;
}

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

test("upgraded connections count among those of their origin until they end", async () => {
  for (let count = 0; count < STREAM_COUNT_MAX; count++) askUpgrade();
  await waitFor("all are upgraded", () => sockets.size === STREAM_COUNT_MAX);
  expect(await ask()).toMatch(/^lacewing: all 3 connections .* are in use, .*\n 503$/);
  const one = askUpgrade();
  expect(await one.ended()).toMatch(/^HTTP\/1.1 503 [^]*Retry-After: 5[^]*all 3 connections/);
  const waiting = askUpgrade();
  clients[0]?.socket.destroy();
  await waitFor("the next is upgraded", () => waiting.received.startsWith("HTTP/1.1 101"));
  clients[1]?.socket.destroy();
  expect(await ask()).toBe("an answer 200");
});

test("an upgrade whose client goes away while waiting is not begun, and keeps no connection", async () => {
  await openStreams();
  const before = upgradeCount;
  const gone = askUpgrade();
  await new Promise((resolve) => setTimeout(resolve, WAIT_MS / 6));
  gone.socket.destroy();
  await new Promise((resolve) => setTimeout(resolve, WAIT_MS / 6));
  for (const client of clients.splice(0)) client.socket.destroy();
  await waitFor("the streams are over", () => streams.size === 0);
  expect(await Promise.all([ask(), ask(), ask()])).toEqual(Array(3).fill("an answer 200"));
  expect(upgradeCount).toBe(before);
});

test("what a client sends while its upgrade waits is not lost", async () => {
  await openStreams();
  const early = askUpgrade();
  await new Promise((resolve) => setTimeout(resolve, WAIT_MS / 6));
  early.send("sent early");
  await new Promise((resolve) => setTimeout(resolve, WAIT_MS / 6));
  clients[0]?.socket.destroy();
  await waitFor("it is upgraded", () => early.received.startsWith("HTTP/1.1 101"));
  early.send(", sent late");
  await waitFor("the last of it", () => upgradedText.endsWith("sent late"));
  expect(upgradedText).toBe("sent early, sent late");
});

test("upgrades that an origin refuses keep no connection", async () => {
  for (let count = 0; count <= STREAM_COUNT_MAX; count++) {
    const refused = askUpgrade(`http://127.0.0.1:${origin.port}/refused`);
    expect(await refused.ended()).toMatch(/^HTTP\/1.1 403 /);
  }
  expect(await Promise.all([ask(), ask(), ask()])).toEqual(Array(3).fill("an answer 200"));
});

test("upgrades whose origin cannot be reached keep no connection", async () => {
  const closed = await startOrigin(() => {});
  const url = `http://127.0.0.1:${closed.port}/ws`;
  await closed[Symbol.asyncDispose]();
  for (let count = 0; count <= STREAM_COUNT_MAX; count++)
    expect(await askUpgrade(url).ended()).toMatch(/^HTTP\/1.1 502 /);
});
