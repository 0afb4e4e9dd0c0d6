import { once } from "node:events";
import { createServer as createTcpServer } from "node:net";
import { text } from "node:stream/consumers";
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

describe("ways in", () => {
  test("/url/ takes a whole URL, with slashes collapsed and escapes left alone", async () => {
    await using origin = await startOrigin((request, response) => {
      response.end(`${request.headers.host} ${request.url} ${request.headers.authorization ?? ""}`);
    });
    await using world = await startWorld();
    const self = `http://127.0.0.1:${world.proxy.address.port}`;
    const host = `o.localhost:${origin.port}`;
    expect(await curl(`${self}/url/http://${host}/a%20b?c=%2F`)).toBe(`${host} /a%20b?c=%2F `);
    expect(await curl(`${self}/url/http:/${host}/a`)).toBe(`${host} /a `);
    expect(await curl(`${self}/url/http://${host}`)).toBe(`${host} / `);
    expect(await curl(`${self}/url/http://me:pw@${host}/a`)).toBe(`${host} /a Basic bWU6cHc=`);
    expect(await curl("-i", `${self}/url/host/a`)).toContain("400 Bad Request");
  });

  test("anything else on the port explains itself", async () => {
    await using world = await startWorld();
    const self = `http://127.0.0.1:${world.proxy.address.port}`;
    expect(await curl(`${self}/healthz`)).toBe("ok\n");
    const out = await curl("-i", `${self}/some/path`);
    expect(out).toContain("404 Not Found");
    expect(out).toContain("/url/https://host/path");
    expect(await curl("-i", "-x", self, "ftp://h.localhost/x")).toContain("400 Bad Request");
  });

  test("CONNECT carries bytes both ways after one side has ended", async () => {
    const echo = createTcpServer({ allowHalfOpen: true }, (socket) => {
      void text(socket).then((all) => socket.end(all.toUpperCase()));
    });
    const port = await listenAnywhere(echo);
    await using world = await startWorld();
    const client = new RawClient(world.proxy.address.port);
    client.send(
      `CONNECT echo.localhost:${port} HTTP/1.1\r\nHost: echo.localhost:${port}\r\n\r\nearly `,
    );
    await waitFor("the tunnel", () =>
      client.received.includes("200 Connection established\r\n\r\n"),
    );
    client.socket.end("late");
    expect(await client.ended()).toMatch(/\r\n\r\nEARLY LATE$/);
    expect(world.log.entries.filter(({ event }) => event === "request_not_shared")).toMatchObject([
      { fields: { reason: "connect_tunnel", host: "echo.localhost" } },
    ]);
    echo.close();
    await once(echo, "close");
  });

  test("CONNECT carries bytes to an origin that ended its own side first", async () => {
    const seen: string[] = [];
    const origin = createTcpServer({ allowHalfOpen: true }, (socket) => {
      socket.end("greeting");
      void text(socket).then((all) => seen.push(all));
    });
    const port = await listenAnywhere(origin);
    await using world = await startWorld();
    const client = new RawClient(world.proxy.address.port);
    client.send(`CONNECT 127.0.0.1:${port} HTTP/1.1\r\nHost: x\r\n\r\n`);
    await waitFor("the greeting and its end", () => client.socket.readableEnded);
    expect(client.received).toMatch(/greeting$/);
    client.socket.end("still here");
    await waitFor("the rest at the origin", () => seen.length > 0);
    expect(seen).toEqual(["still here"]);
    client.socket.destroy();
    origin.close();
    await once(origin, "close");
  });

  test("CONNECT to nobody is 502, to a port that is not allowed 403, to nonsense 400", async () => {
    const gone = await startOrigin(() => {});
    await gone[Symbol.asyncDispose]();
    await using world = await startWorld({ connectPorts: [443, gone.port] });
    const connectTo = async (target: string) => {
      const client = new RawClient(world.proxy.address.port);
      client.send(`CONNECT ${target} HTTP/1.1\r\nHost: x\r\n\r\n`);
      return client.ended();
    };
    expect(await connectTo(`127.0.0.1:${gone.port}`)).toContain("connection refused");
    expect(await connectTo("127.0.0.1:22")).toMatch(/403 Forbidden[^]*port 22 is not allowed/);
    expect(await connectTo("nonsense")).toMatch(/^HTTP\/1.1 400/);
  });

  test("an upgrade becomes a tunnel, a refused one an answer", async () => {
    await using origin = await startOrigin((_request, response) => response.end("plain"));
    origin.server.on("upgrade", (request, socket, head) => {
      if (request.url === "/no") {
        const fields = "Location: /login\r\nSet-Cookie: a=b\r\nContent-Length: 2";
        socket.end(`HTTP/1.1 403 Forbidden\r\n${fields}\r\n\r\nno`);
        return;
      }
      socket.write(
        `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n${head.toString()}`,
      );
      socket.pipe(socket);
    });
    await using world = await startWorld();
    const ask = (path: string, protocol = "echo") =>
      `GET http://127.0.0.1:${origin.port}${path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: ${protocol}\r\n\r\n`;
    const client = new RawClient(world.proxy.address.port);
    client.send(ask("/yes"));
    await waitFor("101", () => client.received.includes("101 Switching Protocols"));
    client.send("ping");
    await waitFor("the echo", () => client.received.endsWith("\r\n\r\nping"));
    client.socket.end();
    await client.ended();

    const refused = new RawClient(world.proxy.address.port);
    refused.send(ask("/no"));
    expect(await refused.ended()).toMatch(/^HTTP\/1.1 403 Forbidden[^]*no$/);

    const byPrefix = new RawClient(world.proxy.address.port);
    byPrefix.send(ask("/no").replace("GET http", "GET /url/http").replace(": x", ": localhost"));
    const sandboxed = await byPrefix.ended();
    expect(sandboxed).toMatch(/^HTTP\/1.1 403 [^]*\r\nContent-Security-Policy: sandbox\r\n[^]*no$/);
    expect(sandboxed).toContain(`\r\nLocation: /url/http://127.0.0.1:${origin.port}/login\r\n`);
    expect(sandboxed).not.toMatch(/set-cookie/i);

    const http2 = new RawClient(world.proxy.address.port);
    http2.send(ask("/h2", "h2c"));
    await waitFor("a plain answer", () => http2.received.includes("plain"));
    http2.socket.destroy();
  });
});

describe("malformed and ambiguous requests", () => {
  const host = "Host: x\r\n";
  const target = "http://127.0.0.1:1/wanted/x";
  test.each([
    ["no HTTP at all", "\x16\x03\x01 hello\r\n\r\n", /^HTTP\/1.1 400 .*not a valid HTTP request/s],
    ["no Host", `GET ${target} HTTP/1.1\r\n\r\n`, /^HTTP\/1.1 400 .*no Host header/s],
    [
      "two Hosts",
      `GET ${target} HTTP/1.1\r\n${host}${host}\r\n`,
      /^HTTP\/1.1 400 .*more than one Host/s,
    ],
    [
      "length and chunks",
      `POST ${target} HTTP/1.1\r\n${host}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
      /^HTTP\/1.1 400/,
    ],
    [
      "two lengths",
      `POST ${target} HTTP/1.1\r\n${host}Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc`,
      /^HTTP\/1.1 400/,
    ],
    [
      "a negative length",
      `POST ${target} HTTP/1.1\r\n${host}Content-Length: -3\r\n\r\nabc`,
      /^HTTP\/1.1 400/,
    ],
    [
      "another coding",
      `POST ${target} HTTP/1.1\r\n${host}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n`,
      /^HTTP\/1.1 501/,
    ],
    [
      "chunks in HTTP/1.0",
      `POST ${target} HTTP/1.0\r\n${host}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
      /^HTTP\/1.1 400/,
    ],
    [
      "a space before the colon",
      `GET ${target} HTTP/1.1\r\n${host}Content-Length : 3\r\n\r\n`,
      /^HTTP\/1.1 400/,
    ],
    [
      "a folded header",
      `GET ${target} HTTP/1.1\r\n${host} folded: x\r\nX: 1\r\n y\r\n\r\n`,
      /^HTTP\/1.1 400/,
    ],
    [
      "a head that is too long",
      `GET ${target} HTTP/1.1\r\n${host}X: ${"y".repeat(33_000)}\r\n\r\n`,
      /^HTTP\/1.1 431 .*longer than 32768 bytes/s,
    ],
    [
      "too many fields",
      `GET ${target} HTTP/1.1\r\n${host}${"X: y\r\n".repeat(300)}\r\n`,
      /^HTTP\/1.1 431 .*at most 200/s,
    ],
    ["a bad URL", `GET http://[/x HTTP/1.1\r\n${host}\r\n`, /^HTTP\/1.1 400/],
  ])("with %s are refused with the reason", async (_name, bytes, expected) => {
    await using world = await startWorld();
    const client = new RawClient(world.proxy.address.port);
    client.send(bytes);
    await waitFor(
      "an answer",
      () => client.received.includes("\r\n\r\n") && client.received.length > 20,
    );
    client.socket.end();
    expect(await client.ended()).toMatch(expected);
    expect(world.downloads.asked).toEqual([]);
  });

  test("the URL's authority counts, whatever Host says", async () => {
    await using world = await startWorld();
    const client = new RawClient(world.proxy.address.port);
    client.send(
      "GET http://real.example/wanted/x HTTP/1.1\r\nHost: other.example\r\nConnection: close\r\n\r\n",
    );
    await client.ended();
    expect(world.downloads.asked[0]?.request.url.href).toBe("http://real.example/wanted/x");
    expect(world.downloads.asked[0]?.request.header("host")).toBeUndefined();
  });
});

test("closing lets an answer under way end, and then the port is free", async () => {
  const world = await startWorld();
  let release: () => void = () => {};
  const gate = new Promise<void>((resolve) => {
    release = resolve;
  });
  world.downloads.script = async () => {
    await gate;
    return { status: 200, headers: [], body: bodyOfChunks(1, 10), bodyLength: 10 };
  };
  const client = new RawClient(world.proxy.address.port);
  client.send("GET http://c.example/wanted/x HTTP/1.1\r\nHost: x\r\n\r\n");
  await waitFor("the request", () => world.downloads.asked.length > 0);
  const closing = world[Symbol.asyncDispose]();
  release();
  const answer = await client.ended();
  expect(answer).toContain("Connection: close\r\n");
  expect(answer).toContain("BBBBBBBBBB");
  await closing;
});
