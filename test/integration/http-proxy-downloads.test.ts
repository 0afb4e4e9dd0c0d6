import { once } from "node:events";
import { describe, expect, test } from "vitest";
import { OriginRefused } from "@lacewing/peer/app/download-errors.ts";
import { headerOf } from "@lacewing/peer/core/http-headers.ts";
import { PortError } from "@lacewing/runtime/errors.ts";
import { openContent, seededContent, sha256Of } from "../support/content.ts";
import { httpGet } from "../support/http.ts";
import {
  bodyOfChunks,
  RawClient,
  startOrigin,
  startWorld,
  VIA_NAME,
} from "../support/http-proxy-world.ts";
import { waitFor } from "../support/wait-for.ts";

describe("a download", () => {
  test("is asked of the flow with path and query as the client wrote them", async () => {
    await using world = await startWorld();
    const client = new RawClient(world.proxy.address.port);
    const path = "/wanted/a'{b}/./c|d?sig='x'|y";
    client.send(`GET http://c.example${path} HTTP/1.1\r\nHost: x\r\n\r\n`);
    await waitFor("the request", () => world.downloads.asked.length > 0);
    client.socket.destroy();
    const request = world.downloads.asked[0]?.request;
    expect(request?.path).toBe(path);
    expect(request?.url.href).toBe("http://c.example/wanted/a'%7Bb%7D/c|d?sig=%27x%27|y");
  });

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
      bodyOfChunks(3, 100_000, new PortError("origin_broken_off", "cut", { retryable: true })),
      300_000,
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

  test("whose small body rejects is refused with the reason, as nothing of it was sent", async () => {
    await using world = await startWorld();
    const failure = new PortError("origin_broken_off", "c.example: cut", { retryable: true });
    const body = bodyOfChunks(2, 1000, failure);
    world.downloads.script = () => ({ status: 200, headers: [], body, bodyLength: 3000 });
    const proxyUrl = `http://127.0.0.1:${world.proxy.address.port}`;
    const answer = await httpGet("http://c.example/wanted/x", { proxyUrl });
    expect(answer.status).toBe(502);
    expect(answer.body.toString()).toBe("lacewing: c.example: cut\n");
    expect(world.downloads.ends).toEqual(["broken_off"]);
  });

  test("that the origin refuses after all is that refusal", async () => {
    await using world = await startWorld();
    world.downloads.script = () => ({
      status: 206,
      headers: [["ETag", '"v"']],
      bodyLength: 3000,
      body: {
        read: async () => {
          throw new OriginRefused({
            status: 401,
            headers: [
              ["WWW-Authenticate", "Digest a"],
              ["WWW-Authenticate", "Basic"],
              ["Content-Length", "99"],
              ["Connection", "close"],
            ],
            body: Buffer.from("who?"),
          });
        },
      },
    });
    const client = new RawClient(world.proxy.address.port);
    client.send("GET http://c.example/wanted/x HTTP/1.1\r\nHost: x\r\n\r\n");
    await waitFor("the answer", () => client.received.endsWith("\r\n\r\nwho?"));
    client.socket.destroy();
    expect(client.received).toMatch(
      /^HTTP\/1\.1 401 Unauthorized\r\nWWW-Authenticate: Digest a\r\nWWW-/,
    );
    expect(client.received).toContain("Content-Length: 4\r\n");
    expect(client.received).not.toMatch(/etag|Connection: close/i);
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
