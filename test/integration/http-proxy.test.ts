import { execFile } from "node:child_process";
import { once } from "node:events";
import { createServer as createTcpServer } from "node:net";
import { text } from "node:stream/consumers";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";
import { headerOf } from "@lacewing/peer/core/http-headers.ts";
import { PortError } from "@lacewing/runtime/errors.ts";
import { openContent, seededContent, sha256Of } from "../support/content.ts";
import { httpGet } from "../support/http.ts";
import { waitFor } from "../support/wait-for.ts";
import {
  bodyOfChunks,
  listenAnywhere,
  RawClient,
  startOrigin,
  startWorld,
  VIA_NAME,
} from "./http-proxy-world.ts";

const run = promisify(execFile);

/** curl without the proxy settings that the machine may have. */
async function curl(...args: readonly string[]): Promise<string> {
  const { stdout } = await run("curl", ["-q", "-sS", "--noproxy", "", ...args], {
    env: { PATH: process.env["PATH"] },
  });
  return stdout;
}

describe("what no rule wants", () => {
  test("goes to the origin unchanged, and is told once per host with the fix", async () => {
    await using origin = await startOrigin((request, response) => {
      response.setHeader("X-Twice", ["a", "b"]);
      response.end(JSON.stringify({ url: request.url, raw: request.rawHeaders }));
    });
    await using world = await startWorld();
    const proxyUrl = `http://127.0.0.1:${world.proxy.address.port}`;
    const url = `http://some.localhost:${origin.port}/a%2Fb/./c?sig=a'b|c&x=1`;
    for (let round = 0; round < 2; round++) {
      const out = await curl(
        "-i",
        "--path-as-is",
        "-x",
        proxyUrl,
        "-H",
        "X-One: 1",
        "-H",
        "Proxy-Authorization: secret",
        url,
      );
      expect(out).toContain(`"url":"/a%2Fb/./c?sig=a'b|c&x=1"`);
      expect(out).toContain(`"Host","some.localhost:${origin.port}"`);
      expect(out).toContain('"X-One","1"');
      expect(out).not.toContain("secret");
      expect(out).toContain(`"Via","1.1 ${VIA_NAME}"`);
      expect(out).toMatch(/^x-twice: a\r\nx-twice: b\r\n/im);
      expect(out).toMatch(new RegExp(`^via: 1.1 ${VIA_NAME}\r$`, "im"));
    }
    const told = world.log.entries.filter(({ event }) => event === "request_not_shared");
    expect(told).toHaveLength(1);
    expect(told[0]?.fields).toMatchObject({
      reason: "no_rule",
      host: `some.localhost:${origin.port}`,
    });
    expect(JSON.stringify(told)).not.toContain("sig=");
    expect(world.downloads.asked).toEqual([]);
  });

  test("a chunked upload with trailers arrives as such, and so does the answer", async () => {
    await using origin = await startOrigin((request, response) => {
      void text(request).then((body) => {
        const framing = request.headers["transfer-encoding"];
        response.writeHead(200, { Trailer: "X-Answer-Sum" });
        response.write(`${request.method} ${framing} ${body} `);
        response.addTrailers({ "X-Answer-Sum": "99" });
        response.end(JSON.stringify(request.trailers));
      });
    });
    await using world = await startWorld();
    const client = new RawClient(world.proxy.address.port);
    client.send(
      `PATCH http://up.localhost:${origin.port}/x HTTP/1.1\r\nHost: wrong.example\r\nTE: trailers\r\n` +
        "Connection: TE, close\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n" +
        "5\r\nhello\r\n1\r\n!\r\n0\r\nX-Sum: 42\r\nAuthorization: no\r\n\r\n",
    );
    const answer = await client.ended();
    expect(answer).toContain("PATCH chunked hello! ");
    expect(answer).toContain('{"x-sum":"42"}');
    expect(answer).toMatch(/0\r\nX-Answer-Sum: 99\r\n\r\n$/);
  });

  test("Expect: 100-continue and other 1xx answers come from the origin", async () => {
    await using origin = await startOrigin((_request, response) => {
      response.statusCode = 500;
      response.end();
    });
    origin.server.on("checkContinue", (request, response) => {
      response.writeEarlyHints({ link: "</a.css>; rel=preload" });
      if (request.url === "/refuse") {
        response.writeHead(413).end();
        return;
      }
      response.writeContinue();
      void text(request).then((body) => response.end(`got ${body}`));
    });
    await using world = await startWorld();
    const ask = (path: string) =>
      `PUT http://127.0.0.1:${origin.port}${path} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\nConnection: close\r\n\r\n`;
    const client = new RawClient(world.proxy.address.port);
    client.send(ask("/take"));
    await waitFor("100 Continue", () => client.received.includes("HTTP/1.1 100 Continue\r\n\r\n"));
    expect(client.received).toContain(
      "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n",
    );
    client.send("body");
    expect(await client.ended()).toContain("got body");

    const refused = new RawClient(world.proxy.address.port);
    refused.send(ask("/refuse"));
    const answer = await refused.ended();
    expect(answer).toContain("HTTP/1.1 413");
    expect(answer).not.toContain("100 Continue");
  });

  test("an origin that breaks off breaks the client's transfer too", async () => {
    await using origin = await startOrigin((_request, response) => {
      response.write("x".repeat(1000), () => response.destroy());
    });
    await using world = await startWorld();
    const client = new RawClient(world.proxy.address.port);
    client.send(`GET http://127.0.0.1:${origin.port}/cut HTTP/1.1\r\nHost: x\r\n\r\n`);
    const answer = await client.ended();
    expect(answer).toContain("200 OK");
    expect(answer).toContain("xxx");
    expect(answer).not.toMatch(/\r\n0\r\n/);
  });

  test.each([
    [
      "an unasked 101",
      "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n",
    ],
    ["a status below 100", "HTTP/1.1 042 Odd\r\nContent-Length: 0\r\n\r\n"],
    ["a control character in its reason", "HTTP/1.1 200 O\x01K\r\nContent-Length: 0\r\n\r\n"],
    ["no HTTP", "220 mail.example ESMTP\r\n"],
    [
      "two different lengths",
      "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    ],
    ["nothing", ""],
  ])("an origin that answers with %s harms one request only", async (_name, bytes) => {
    const origin = createTcpServer((socket) => {
      socket.on("error", () => {});
      socket.once("data", () => socket.end(bytes, "latin1"));
    });
    const port = await listenAnywhere(origin);
    await using world = await startWorld();
    const self = world.proxy.address.port;
    const client = new RawClient(self);
    client.send(
      `GET http://127.0.0.1:${port}/odd HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`,
    );
    expect(await client.ended()).not.toContain("200 OK");
    expect(await curl(`http://127.0.0.1:${self}/healthz`)).toBe("ok\n");
    origin.close();
    await once(origin, "close");
  });

  test("a client that goes away ends the request at the origin, before and after its head", async () => {
    const events: string[] = [];
    await using origin = await startOrigin((request, response) => {
      events.push(`asked ${request.url}`);
      response.on("close", () => events.push(`closed ${request.url}`));
      if (request.url === "/endless") response.write("first bytes");
    });
    await using world = await startWorld();
    for (const path of ["/silent", "/endless"]) {
      const client = new RawClient(world.proxy.address.port);
      client.send(`GET http://127.0.0.1:${origin.port}${path} HTTP/1.1\r\nHost: x\r\n\r\n`);
      await waitFor("the request at the origin", () => events.includes(`asked ${path}`));
      if (path === "/endless")
        await waitFor("bytes", () => client.received.includes("first bytes"));
      client.socket.destroy();
      await waitFor("the end at the origin", () => events.includes(`closed ${path}`));
    }
    expect(events).toHaveLength(4);
  });

  test("a kept connection that the origin closes meanwhile costs the client nothing", async () => {
    await using origin = await startOrigin((request, response) => {
      response.end("fine");
      // Closed as soon as the answer is out, without a word about it.
      response.on("finish", () => request.socket.destroySoon());
    });
    await using world = await startWorld();
    const proxyUrl = `http://127.0.0.1:${world.proxy.address.port}`;
    for (let round = 0; round < 20; round++) {
      const answer = await httpGet(`http://127.0.0.1:${origin.port}/`, { proxyUrl });
      expect(answer.status).toBe(200);
    }
  });

  test("an origin that is not there is 502 with its name and without the query", async () => {
    await using world = await startWorld();
    const gone = await startOrigin(() => {});
    await gone[Symbol.asyncDispose]();
    const proxyUrl = `http://127.0.0.1:${world.proxy.address.port}`;
    const url = `http://gone.localhost:${gone.port}/x?token=secret`;
    for (const method of ["GET", "POST"] as const) {
      const answer = await httpGet(url, {
        proxyUrl,
        method,
        ...(method === "POST" ? { body: "a" } : {}),
      });
      expect(answer.status).toBe(502);
      expect(answer.body.toString()).toBe(
        `lacewing: cannot reach gone.localhost:${gone.port}: connection refused\n`,
      );
    }
    expect(JSON.stringify(world.log.entries)).not.toContain("secret");
  });

  test("a request that came through this proxy before is a loop", async () => {
    await using world = await startWorld();
    const self = `http://127.0.0.1:${world.proxy.address.port}`;
    const out = await curl("-i", "-x", self, `${self}/url/http://127.0.0.1:1/x`);
    expect(out).toContain("508 Loop Detected");
    expect(out).toContain("points it to itself");
  });
});

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
        socket.end("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
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

describe("a download", () => {
  test("is asked of the flow with end-to-end headers, and its answer delivered", async () => {
    await using world = await startWorld();
    world.downloads.script = () => ({
      status: 206,
      headers: [
        ["ETag", '"v"'],
        ["Connection", "X-Hop"],
        ["X-Hop", "1"],
        ["Content-Length", "999"],
      ],
      body: bodyOfChunks(3, 1000),
      bodyLength: 3000,
    });
    const proxyUrl = `http://127.0.0.1:${world.proxy.address.port}`;
    const url = "http://content.example/wanted/a?token=t";
    const answer = await httpGet(url, {
      proxyUrl,
      headers: { authorization: "Bearer b", connection: "close, x-mine", "x-mine": "1" },
    });
    expect(answer).toMatchObject({ status: 206, bodyBytes: 3000, isComplete: true });
    expect(answer.headers).toMatchObject({
      etag: '"v"',
      "content-length": "3000",
      via: `1.1 ${VIA_NAME}`,
    });
    expect(answer.headers["x-hop"]).toBeUndefined();
    const [asked] = world.downloads.asked;
    expect(asked?.rule.tag).toBe("t");
    expect(asked?.request.url.href).toBe(url);
    expect(asked?.request.header("authorization")).toBe("Bearer b");
    expect(asked?.request.header("x-mine")).toBeUndefined();
    expect(headerOf(asked?.request.headers ?? [], "via")).toBe(`1.1 ${VIA_NAME}`);
    await waitFor("the end", () => world.downloads.ends.length > 0);
    expect(world.downloads.ends).toEqual(["complete"]);
  });

  test("of many buffers arrives byte for byte, with reads of uneven length", async () => {
    await using world = await startWorld();
    const content = seededContent("delivery", 20 * 2 ** 20);
    await using reader = await openContent(content);
    let offset = 0;
    world.downloads.script = () => ({
      status: 200,
      headers: [],
      bodyLength: reader.sizeBytes,
      body: {
        read: async (into) => {
          const wanted = Math.min(into.length, 1 + ((offset * 7) % 300_000));
          const bytes = await reader.read(offset, Math.min(wanted, reader.sizeBytes - offset));
          into.set(bytes);
          offset += bytes.length;
          return bytes.length;
        },
      },
    });
    const proxyUrl = `http://127.0.0.1:${world.proxy.address.port}`;
    const answer = await httpGet("http://c.example/wanted/x", { proxyUrl });
    expect(answer).toMatchObject({ isComplete: true, sha256: await sha256Of(content) });
  });

  test("by HEAD, of nothing or of unknown length is framed right, on one connection", async () => {
    await using world = await startWorld();
    world.downloads.script = ({ method, url }) => {
      if (url.pathname.endsWith("304"))
        return { status: 304, headers: [["ETag", '"v"']], body: undefined, bodyLength: undefined };
      if (url.pathname.endsWith("empty"))
        return { status: 200, headers: [], body: bodyOfChunks(0, 0), bodyLength: 0 };
      return {
        status: 200,
        headers: method === "HEAD" ? [["Content-Length", "5000"]] : [],
        body: method === "HEAD" ? undefined : bodyOfChunks(2, 4),
        bodyLength: undefined,
      };
    };
    const client = new RawClient(world.proxy.address.port);
    const ask = (method: string, name: string) =>
      client.send(`${method} http://c.example/wanted/${name} HTTP/1.1\r\nHost: x\r\n\r\n`);
    ask("HEAD", "a");
    await waitFor("HEAD", () => client.received.includes("Content-Length: 5000\r\n"));
    ask("GET", "304");
    await waitFor("304", () => client.received.includes("304 Not Modified"));
    ask("GET", "empty");
    await waitFor("empty", () => client.received.includes("Content-Length: 0\r\n"));
    ask("GET", "chunked");
    await waitFor("chunks", () => client.received.endsWith("4\r\nBBBB\r\n4\r\nCCCC\r\n0\r\n\r\n"));
    client.socket.destroy();
    expect(world.downloads.ends).toEqual(["complete", "complete", "complete", "complete"]);
  });

  test.each([
    [
      "rejects",
      bodyOfChunks(2, 1000, new PortError("origin_broken_off", "cut", { retryable: true })),
      undefined,
    ],
    [
      "rejects, and its length is known",
      bodyOfChunks(2, 1000, new PortError("origin_broken_off", "cut", { retryable: true })),
      2000,
    ],
    ["ends before its length", bodyOfChunks(2, 1000), 3000],
    ["goes on beyond its length", bodyOfChunks(3, 1000), 2500],
  ])("whose body %s never ends cleanly", async (_name, body, bodyLength) => {
    await using world = await startWorld();
    world.downloads.script = () => ({ status: 200, headers: [], body, bodyLength });
    const client = new RawClient(world.proxy.address.port);
    client.send("GET http://c.example/wanted/x HTTP/1.1\r\nHost: x\r\n\r\n");
    const answer = await client.ended();
    expect(answer).not.toMatch(/\r\n0\r\n\r\n$/);
    await waitFor("the end", () => world.downloads.ends.length > 0);
    expect(world.downloads.ends).toEqual(["broken_off"]);
  });

  test("whose client goes away aborts the signal and ends as client_gone", async () => {
    await using world = await startWorld();
    const pulled: AbortSignal[] = [];
    world.downloads.script = ({ signal }) => ({
      status: 200,
      headers: [],
      body: {
        read: async (into) => {
          pulled.push(signal);
          if (pulled.length === 1) return into.length;
          await once(signal, "abort");
          throw signal.reason;
        },
      },
      bodyLength: undefined,
    });
    const client = new RawClient(world.proxy.address.port);
    client.send("GET http://c.example/wanted/x HTTP/1.1\r\nHost: x\r\n\r\n");
    await waitFor(
      "bytes and a waiting read",
      () => pulled.length === 2 && client.received.length > 1000,
    );
    client.socket.destroy();
    await waitFor("the end", () => world.downloads.ends.length > 0);
    expect(world.downloads.ends).toEqual(["client_gone"]);
    expect(pulled[0]?.aborted).toBe(true);
  });

  test("that the flow cannot answer is 502 or 504 with the reason", async () => {
    await using world = await startWorld();
    const proxyUrl = `http://127.0.0.1:${world.proxy.address.port}`;
    const askAfter = async (code: string) => {
      world.downloads.script = () => {
        throw new PortError(code, "cannot reach c.example: why", { retryable: true });
      };
      return httpGet("http://c.example/wanted/x", { proxyUrl });
    };
    expect(await askAfter("origin_timeout")).toMatchObject({ status: 504 });
    const answer = await askAfter("origin_unreachable");
    expect(answer.status).toBe(502);
    expect(answer.body.toString()).toBe("lacewing: cannot reach c.example: why\n");
  });

  test("to a client that does not read is not read ahead, so memory stays bounded", async () => {
    await using world = await startWorld();
    const body = bodyOfChunks(Number.POSITIVE_INFINITY, 256 * 1024);
    world.downloads.script = () => ({ status: 200, headers: [], body, bodyLength: undefined });
    const client = new RawClient(world.proxy.address.port);
    client.socket.pause();
    client.send("GET http://c.example/wanted/x HTTP/1.1\r\nHost: x\r\n\r\n");
    // Reads stop once the kernel's buffers are full: wait until the count stands still over several looks.
    let seen = -1;
    let stillCount = 0;
    await waitFor("reads to stop", () => {
      stillCount = body.readCount > 0 && body.readCount === seen ? stillCount + 1 : 0;
      seen = body.readCount;
      return stillCount >= 20;
    });
    expect(body.readCount * 256 * 1024).toBeLessThan(32 * 2 ** 20);
    client.socket.destroy();
    await waitFor("the end", () => world.downloads.ends.length > 0);
    expect(world.downloads.ends).toEqual(["client_gone"]);
  });

  test("is not asked of the flow for other methods, bodies or direct rules; a redirect is applied", async () => {
    await using origin = await startOrigin((request, response) => {
      response.end(`${request.method} ${request.headers.host}`);
    });
    await using world = await startWorld({
      rules: [
        { regex: "/wanted/direct", direct: true },
        { regex: "/wanted/moved", redirect: `mirror.localhost:${origin.port}` },
      ],
    });
    const proxyUrl = `http://127.0.0.1:${world.proxy.address.port}`;
    const base = `http://127.0.0.1:${origin.port}/wanted`;
    const posted = await httpGet(`${base}/x`, { proxyUrl, method: "POST", body: "b" });
    expect(posted.body.toString()).toContain("POST");
    expect((await httpGet(`${base}/direct`, { proxyUrl })).status).toBe(200);
    const moved = await httpGet("http://far.example:81/wanted/moved", { proxyUrl, method: "POST" });
    expect(moved.body.toString()).toBe(`POST mirror.localhost:${origin.port}`);
    expect(world.downloads.asked).toEqual([]);
    await httpGet("http://far.example:81/wanted/moved", { proxyUrl });
    expect(world.downloads.asked[0]?.request.url.host).toBe(`mirror.localhost:${origin.port}`);
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
