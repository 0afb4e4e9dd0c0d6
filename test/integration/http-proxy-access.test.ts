import { once } from "node:events";
import { createServer as createTcpServer } from "node:net";
import { parseProxyUsers } from "@lacewing/peer/adapters/http-proxy/proxy-users.ts";
import { urlHostOf } from "@lacewing/peer/adapters/url-host.ts";
import { AddressSet } from "@lacewing/peer/adapters/origin/address-set.ts";
import { OutboundGuard } from "@lacewing/peer/adapters/origin/outbound-guard.ts";
import { ANY_HOST, parseHostPattern, type HostPattern } from "@lacewing/peer/core/host-patterns.ts";
import type { Clock } from "@lacewing/runtime/clock.ts";
import { describe, expect, test } from "vitest";
import {
  bodyOfChunks,
  curl,
  listenAnywhere,
  RawClient,
  startOrigin,
  startWorld,
} from "../support/http-proxy-world.ts";
import { waitFor } from "../support/wait-for.ts";

const SECRET = "correct-horse-battery";
const USERS = { users: parseProxyUsers(`ann:${SECRET}`, "users") };
const CREDENTIALS = `Basic ${Buffer.from(`ann:${SECRET}`).toString("base64")}`;

/** What the port answers to bytes, until it ends the connection. */
async function exchange(port: number, text: string): Promise<string> {
  const client = new RawClient(port);
  client.send(text);
  return client.ended();
}

describe("users", () => {
  test("nobody comes in without a name and secret, by no way in; whether the port is alive is no secret", async () => {
    let requestCount = 0;
    await using origin = await startOrigin((_request, response) => {
      requestCount++;
      response.end("content");
    });
    await using world = await startWorld({ access: USERS });
    const { port } = world.proxy.address;
    const host = `o.localhost:${origin.port}`;
    const close = "Host: x\r\nConnection: close";
    const wrong = `Proxy-Authorization: ${CREDENTIALS.slice(0, -4)}AAAA`;
    for (const text of [
      `GET http://${host}/wanted/a HTTP/1.1\r\n${close}\r\n\r\n`,
      `GET http://${host}/other HTTP/1.1\r\n${close}\r\n${wrong}\r\n\r\n`,
      `GET http://${host}/other HTTP/1.1\r\n${close}\r\nAuthorization: ${CREDENTIALS}\r\n\r\n`,
      `GET /url/http://${host}/other HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n`,
      `GET /usage HTTP/1.1\r\n${close}\r\n\r\n`,
      `CONNECT ${host} HTTP/1.1\r\nHost: x\r\n\r\n`,
      `GET http://${host}/up HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n`,
      // Two of them could be understood differently by two readers.
      `GET http://${host}/ HTTP/1.1\r\n${close}\r\nProxy-Authorization: ${CREDENTIALS}\r\n${wrong}\r\n\r\n`,
    ]) {
      const answer = await exchange(port, text);
      expect(answer).toMatch(/^HTTP\/1\.1 407 /);
      expect(answer).toMatch(/\r\nproxy-authenticate: basic realm="lacewing"/i);
    }
    expect(requestCount).toBe(0);
    expect(world.downloads.asked).toHaveLength(0);
    expect(await curl(`http://127.0.0.1:${port}/healthz`)).toBe("ok\n");
  });

  test("a user comes in by every way, and the origin sees nothing of it", async () => {
    const seen: string[] = [];
    await using origin = await startOrigin((request, response) => {
      seen.push(JSON.stringify(request.rawHeaders));
      response.end("content");
    });
    await using world = await startWorld({ access: USERS });
    const self = `http://127.0.0.1:${world.proxy.address.port}`;
    const url = `http://o.localhost:${origin.port}/a`;
    const asUser = ["--proxy-user", `ann:${SECRET}`];
    expect(await curl("-x", self, ...asUser, "-u", "me:origin-pw", url)).toBe("content");
    expect(await curl("-x", self, ...asUser, "-p", url)).toBe("content");
    const header = `Proxy-Authorization: ${CREDENTIALS}`;
    expect(await curl("-H", header, `${self}/url/${url}`)).toBe("content");
    await curl("-x", self, ...asUser, `http://o.localhost:${origin.port}/wanted/b`);
    expect(seen).toHaveLength(3);
    expect(seen[0]).toContain("Basic bWU6b3JpZ2luLXB3");
    const [asked] = world.downloads.asked;
    expect(JSON.stringify([...seen, asked?.request.headers])).not.toMatch(/proxy-authorization/i);
    expect(JSON.stringify([...seen, asked?.request.headers])).not.toContain(CREDENTIALS);
  });

  test("a client that is asked who it is answers on the same connection", async () => {
    await using origin = await startOrigin((_request, response) => response.end("content"));
    await using world = await startWorld({ access: USERS });
    const client = new RawClient(world.proxy.address.port);
    const ask = `GET http://o.localhost:${origin.port}/a HTTP/1.1\r\nHost: x\r\n`;
    client.send(`${ask}\r\n`);
    await waitFor("407", () => client.received.includes("407"));
    client.send(`${ask}Proxy-Authorization: ${CREDENTIALS}\r\nConnection: close\r\n\r\n`);
    expect(await client.ended()).toMatch(/HTTP\/1\.1 200 OK[^]*content$/);
  });
});

test("clients from other networks are refused, and told once in the log", async () => {
  await using world = await startWorld({ access: { networks: new AddressSet(["10.0.0.0/8"]) } });
  const { port } = world.proxy.address;
  for (const target of [
    "GET http://o.localhost/",
    "GET /url/http://o.localhost/",
    "CONNECT a:443",
  ]) {
    expect(await exchange(port, `${target} HTTP/1.1\r\nHost: x\r\n\r\n`)).toMatch(
      /^HTTP\/1\.1 403 [^]*127\.0\.0\.1 are not served here/,
    );
  }
  expect(world.log.entries.filter(({ event }) => event === "client_refused")).toHaveLength(1);
  await using other = await startWorld({ access: { networks: new AddressSet(["127.0.0.0/8"]) } });
  expect(await curl("-i", `http://127.0.0.1:${other.proxy.address.port}/x`)).toContain(" 404 ");
});

describe("origins", () => {
  const patterns = (...texts: readonly string[]): HostPattern[] =>
    texts.flatMap((text) => parseHostPattern(text, urlHostOf) ?? []);

  test("hosts that are not allowed are refused by every way in, before anything is sent to them", async () => {
    let requestCount = 0;
    await using origin = await startOrigin((_request, response) => {
      requestCount++;
      response.end("content");
    });
    const allowed = patterns(`ok.localhost:${origin.port}`);
    const guard = new OutboundGuard({ allowed, denied: [] }, () => undefined);
    await using world = await startWorld({ guard });
    const { port } = world.proxy.address;
    const host = `no.localhost:${origin.port}`;
    for (const text of [
      `GET http://${host}/a HTTP/1.1\r\nHost: ok.localhost\r\n\r\n`,
      `GET http://${host}/wanted/a HTTP/1.1\r\nHost: x\r\n\r\n`,
      `GET /url/http://${host}/a HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n`,
      `CONNECT ${host} HTTP/1.1\r\nHost: x\r\n\r\n`,
      `GET http://${host}/up HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n`,
    ]) {
      expect(await exchange(port, text)).toMatch(/^HTTP\/1\.1 403 [^]*is not allowed here/);
    }
    expect(requestCount).toBe(0);
    expect(world.downloads.asked).toHaveLength(0);
    const url = `http://ok.localhost:${origin.port}/a`;
    expect(await curl("-x", `http://127.0.0.1:${port}`, url)).toBe("content");
  });

  test("a network is denied whatever name leads there, and by its literal address", async () => {
    let connectionCount = 0;
    const target = createTcpServer((socket) => {
      connectionCount++;
      socket.destroy();
    });
    const targetPort = await listenAnywhere(target);
    const guard = new OutboundGuard(ANY_HOST, (address) =>
      new AddressSet(["127.0.0.0/8", "::1"]).has(address) ? `${address} is denied` : undefined,
    );
    await using world = await startWorld({ guard });
    const { port } = world.proxy.address;
    for (const host of [
      "name.localhost",
      "127.0.0.1",
      "[::1]",
      "[::ffff:127.0.0.1]",
      "2130706433",
    ]) {
      const authority = `${host}:${targetPort}`;
      for (const text of [
        `GET http://${authority}/a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`,
        `CONNECT ${authority} HTTP/1.1\r\nHost: x\r\n\r\n`,
      ]) {
        expect(await exchange(port, text)).toMatch(/^HTTP\/1\.1 403 [^]*is denied/);
      }
    }
    expect(connectionCount).toBe(0);
    target.close();
    await once(target, "close");
  });
});

describe("sizes", () => {
  test("a URL that is too long is 414, a head that is too long 431", async () => {
    await using world = await startWorld();
    const { port } = world.proxy.address;
    const get = (path: string) => `GET http://o.localhost/${path} HTTP/1.1\r\nHost: x\r\n\r\n`;
    expect(await exchange(port, get("a".repeat(17 * 1024)))).toMatch(/^HTTP\/1\.1 414 /);
    expect(await exchange(port, get("a".repeat(33 * 1024)))).toMatch(/^HTTP\/1\.1 431 /);
  });

  test("content that is too long is 413: by its length before it is sent, chunked when it gets too long", async () => {
    const bodies: { bytes: number; isOver: boolean }[] = [];
    await using origin = await startOrigin((request, response) => {
      const body = { bytes: 0, isOver: false };
      bodies.push(body);
      request.on("data", (chunk: Buffer) => (body.bytes += chunk.length));
      request.on("error", () => {});
      request.once("close", () => (body.isOver = true));
      request.once("end", () => response.end(`got ${body.bytes}`));
    });
    await using world = await startWorld({ access: { requestBodyBytesMax: 1000 } });
    const { port } = world.proxy.address;
    const post = `POST http://o.localhost:${origin.port}/a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n`;
    const chunk = `1F4\r\n${"x".repeat(500)}\r\n`;
    const chunked = `${post}Transfer-Encoding: chunked\r\n\r\n`;
    expect(await exchange(port, `${post}Content-Length: 1001\r\n\r\n`)).toMatch(/^HTTP\/1\.1 413 /);
    expect(bodies).toHaveLength(0);
    const full = `${post}Content-Length: 1000\r\n\r\n${"x".repeat(1000)}`;
    expect(await exchange(port, full)).toMatch(/got 1000$/);
    expect(await exchange(port, `${chunked}${chunk.repeat(2)}0\r\n\r\n`)).toMatch(/got 1000/);
    const client = new RawClient(port);
    client.send(`${chunked}${chunk}`);
    await waitFor("the first part at the origin", () => bodies[2]?.bytes === 500);
    client.send(chunk.repeat(2));
    expect(await client.ended()).toMatch(/^HTTP\/1\.1 413 [^]*1000 bytes/);
    await waitFor("the origin to lose the long one", () => bodies[2]?.isOver === true);
    expect(bodies).toHaveLength(3);
  });
});

test("each client address is sent no more than its limit, by whatever way: downloads, pass-through, tunnels, refused upgrades", async () => {
  const KIB = 1024;
  await using origin = await startOrigin((_request, response) =>
    response.end(Buffer.alloc(100 * KIB)),
  );
  const slept: number[] = [];
  // Time stands still, so that every byte after the first moment's has to wait for all that went before.
  const clock: Clock = {
    now: () => 0,
    monotonic: () => 0,
    sleep: async (ms) => {
      slept.push(ms);
    },
  };
  const perSecond = 100 * KIB;
  await using world = await startWorld({ clientBytesPerSecond: perSecond, clock });
  const { port } = world.proxy.address;
  const get = (path: string) =>
    `GET http://o.localhost:${origin.port}${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`;
  const waitedFor = (): number => Math.round(((slept.at(-1) ?? 0) + 100) / 1000);

  world.downloads.script = () => ({
    status: 200,
    headers: [],
    body: bodyOfChunks(10, 10 * KIB),
    bodyLength: 100 * KIB,
  });
  await exchange(port, get("/wanted/small"));
  expect(waitedFor()).toBe(1);
  world.downloads.script = () => ({
    status: 200,
    headers: [],
    body: bodyOfChunks(20, 10 * KIB),
    bodyLength: 200 * KIB,
  });
  await exchange(port, get("/wanted/large"));
  expect(waitedFor()).toBe(3);
  await exchange(port, get("/passed-through"));
  expect(waitedFor()).toBe(4);
  const client = new RawClient(port);
  client.send(
    `CONNECT o.localhost:${origin.port} HTTP/1.1\r\nHost: x\r\n\r\n${get("/").replace(`http://o.localhost:${origin.port}`, "")}`,
  );
  expect(await client.ended()).toMatch(/200 Connection established[^]*200 OK/);
  expect(waitedFor()).toBe(5);
  const upgrade = "Connection: Upgrade\r\nUpgrade: echo";
  await exchange(port, get("/no-upgrade").replace("Connection: close", upgrade));
  expect(waitedFor()).toBe(6);
});

test("more clients than are let in at once are turned away, and the log says so", async () => {
  await using world = await startWorld({ access: { clientCountMax: 2 } });
  const { port } = world.proxy.address;
  const kept = [new RawClient(port), new RawClient(port)];
  for (const client of kept) client.send("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
  await waitFor("both answers", () => kept.every(({ received }) => received.includes("200 OK")));
  expect(await new RawClient(port).ended()).toBe("");
  expect(world.log.entries).toContainEqual(
    expect.objectContaining({ event: "connection_refused", fields: { countMax: 2 } }),
  );
  for (const client of kept) client.socket.destroy();
});

test("more slow clients than there are long buffers for get everything, by short ones, whatever became of those before", async () => {
  const KIB = 1024;
  const readSizes: number[] = [];
  const bodyBytes = 600 * KIB;
  await using world = await startWorld();
  const { port } = world.proxy.address;
  const held = Promise.withResolvers<undefined>();
  world.downloads.script = (request) => {
    const body = bodyOfChunks(1_000, 1024 * KIB);
    const isHeld = request.url.pathname.endsWith("/held");
    let left = bodyBytes;
    const read = async (into: Uint8Array) => {
      if (into.length !== 16 * KIB || left < bodyBytes) readSizes.push(into.length);
      // The head is out; the rest waits with the buffers that it has.
      if (isHeld && left < bodyBytes) await held.promise;
      const length = await body.read(into.subarray(0, left));
      left -= length;
      return length;
    };
    return { status: 200, headers: [], body: { read }, bodyLength: bodyBytes };
  };
  const get = (path: string) =>
    `GET http://o.localhost/wanted/${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`;
  const clients = Array.from({ length: 256 }, () => new RawClient(port));
  for (const client of clients) client.send(get("held"));
  await waitFor("all to hold their buffers", () => readSizes.length === 256);
  expect(new Set(readSizes)).toEqual(new Set([256 * KIB]));
  readSizes.length = 0;
  expect((await exchange(port, get("another"))).length).toBeGreaterThan(bodyBytes);
  expect(new Set(readSizes)).toEqual(new Set([16 * KIB]));
  // Whoever goes away in the middle leaves room.
  for (const client of clients) client.socket.destroy();
  const gone = (): boolean =>
    world.downloads.asked.filter(({ request }) => request.signal.aborted).length === 256;
  await waitFor("the port to see it", gone);
  held.resolve(undefined);
  await waitFor("the end of all deliveries", () => world.downloads.ends.length === 257);
  readSizes.length = 0;
  await exchange(port, get("last"));
  expect(new Set(readSizes)).toEqual(new Set([256 * KIB]));
});
