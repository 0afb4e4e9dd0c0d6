import { once } from "node:events";
import { createServer as createTcpServer } from "node:net";
import { text } from "node:stream/consumers";
import { describe, expect, test } from "vitest";
import { httpGet } from "../support/http.ts";
import {
  curl,
  listenAnywhere,
  RawClient,
  startOrigin,
  startWorld,
  VIA_NAME,
} from "../support/http-proxy-world.ts";
import { waitFor } from "../support/wait-for.ts";

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
