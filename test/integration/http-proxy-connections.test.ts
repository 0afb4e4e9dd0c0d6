import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { RawClient, startWorld, type ProxyWorld } from "../support/http-proxy-world.ts";
import { type RecordingOrigin, startRecordingOrigin } from "../support/recording-origin.ts";

let world: ProxyWorld;
let origin: RecordingOrigin;
beforeAll(async () => {
  origin = await startRecordingOrigin();
  world = await startWorld();
});
afterAll(async () => {
  await world?.[Symbol.asyncDispose]();
  await origin?.[Symbol.asyncDispose]();
});
beforeEach(() => origin.forget());

const at = () => `127.0.0.1:${origin.port}`;

/** A client that has sent this, with the origin's authority in place of `ORIGIN`. */
function sent(text: string): RawClient {
  const client = new RawClient(world.proxy.address.port);
  client.send(text.replaceAll("ORIGIN", at()));
  return client;
}

describe("on one connection", () => {
  test("requests sent at once are answered in their order, each with its own answer", async () => {
    const client = new RawClient(world.proxy.address.port);
    const paths = Array.from({ length: 20 }, (_, index) => `/pipelined-${index}`);
    const last = paths.length - 1;
    client.send(
      paths
        .map((path, index) => {
          const close = index === last ? "Connection: close\r\n" : "";
          const [method, body] = index % 2 === 0 ? ["GET", ""] : ["POST", "abc"];
          const framing = body === "" ? "" : `Content-Length: ${body.length}\r\n`;
          return `${method} http://${at()}${path} HTTP/1.1\r\nHost: x\r\n${close}${framing}\r\n${body}`;
        })
        .join(""),
    );
    const answers = (await client.ended()).match(
      /(?:GET|POST) \/pipelined-\d+ HTTP\/1\.1\|(?:abc)?/g,
    );
    expect(answers).toEqual(
      paths.map((path, index) =>
        index % 2 === 0 ? `GET ${path} HTTP/1.1|` : `POST ${path} HTTP/1.1|abc`,
      ),
    );
    expect(origin.ambiguities).toEqual([]);
  });

  test("nothing after a refused request is read as a request", async () => {
    const client = sent(
      "POST http://ORIGIN/case HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc" +
        "GET http://ORIGIN/smuggled HTTP/1.1\r\nHost: x\r\n\r\n",
    );
    expect((await client.ended()).match(/HTTP\/1\.1 /g)).toHaveLength(1);
    expect(origin.received).toEqual([]);
  });

  test("an HTTP/1.0 client gets an answer that ends with its connection, or stays when it asks for that", async () => {
    const closing = sent("GET http://ORIGIN/old HTTP/1.0\r\n\r\n");
    expect(await closing.ended()).toMatch(/\r\n\r\nGET \/old HTTP\/1\.1\|$/);
    expect(closing.received).not.toMatch(/^transfer-encoding:/im);
    const staying = sent(
      "GET http://ORIGIN/old HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" +
        "GET http://ORIGIN/again HTTP/1.0\r\n\r\n",
    );
    expect(await staying.ended()).toMatch(/GET \/old HTTP\/1\.1\|[^]*GET \/again HTTP\/1\.1\|$/);
  });

  test("an HTTP/1.0 client cannot upgrade: its offer is ignored", async () => {
    const client = sent(
      "GET http://ORIGIN/old HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    );
    expect(await client.ended()).toContain("GET /old HTTP/1.1|");
    expect(origin.requests[0]?.fields.map(([name]) => name)).not.toContain("upgrade");
  });
});

describe("an upgrade", () => {
  test("that the origin does not make is an answer, and what the client sent after it is nobody's request", async () => {
    const client = sent(
      "GET http://ORIGIN/socket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n" +
        "GET /smuggled HTTP/1.1\r\nHost: evil\r\n\r\n",
    );
    expect(await client.ended()).toMatch(/\r\n\r\nGET \/socket HTTP\/1\.1\|$/);
    expect(origin.requests.map(({ line }) => line)).toEqual(["GET /socket HTTP/1.1"]);
    expect(origin.received.join("")).not.toContain("smuggled");
  });

  test.each([
    ["content", "Content-Length: 3\r\n\r\nabc"],
    ["chunks", "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"],
    ["a length and chunks", "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"],
  ])("with %s is refused", async (_what, rest) => {
    const client = sent(
      `POST http://ORIGIN/socket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n${rest}`,
    );
    expect(await client.ended()).toMatch(/^HTTP\/1\.1 400 /);
    expect(origin.received).toEqual([]);
  });
});

describe("what concerns one hop only", () => {
  test("stays with it, also when Connection names it", async () => {
    const client = sent(
      "GET http://ORIGIN/hop HTTP/1.1\r\nHost: x\r\nConnection: close, X-Secret , te\r\nX-Secret: 1\r\n" +
        "Keep-Alive: timeout=5\r\nTE: trailers, deflate\r\nProxy-Connection: keep-alive\r\n" +
        "Proxy-Authorization: Basic eDp5\r\nUpgrade: h2c\r\nHTTP2-Settings: a\r\nX-Kept: 2\r\nVia: 1.0 before\r\n\r\n",
    );
    expect(await client.ended()).toMatch(/^via: 1\.1 lacewing-test\r$/im);
    const fields = origin.requests[0]?.fields ?? [];
    expect(fields.filter(([name]) => /^(?:x-|via|te$)/.test(name))).toEqual([
      ["x-kept", "2"],
      ["via", "1.0 before"],
      ["via", "1.1 lacewing-test"],
      ["te", "trailers"],
    ]);
    expect(fields.map(([name]) => name).join(" ")).not.toMatch(/proxy-|keep-alive|upgrade|http2/);
  });
});

describe("methods that count proxies", () => {
  test.each([
    ["OPTIONS", "9"],
    ["TRACE", "9"],
    ["GET", "10"],
  ])("%s with 10 forwards left goes on with %s", async (method, left) => {
    const client = sent(
      `${method} http://ORIGIN/far HTTP/1.1\r\nHost: x\r\nMax-Forwards: 10\r\nConnection: close\r\n\r\n`,
    );
    await client.ended();
    expect(origin.requests[0]?.fields).toContainEqual(["max-forwards", left]);
  });

  test.each([
    ["OPTIONS http://ORIGIN/x", /^HTTP\/1\.1 204 [^]*allow: GET, HEAD/],
    ["TRACE http://ORIGIN/x", /^HTTP\/1\.1 501 [^]*Max-Forwards is 0/],
  ])("%s ends here when none is left", async (line, answer) => {
    const client = sent(
      `${line} HTTP/1.1\r\nHost: x\r\nMax-Forwards: 0\r\nConnection: close\r\n\r\n`,
    );
    expect(await client.ended()).toMatch(answer);
    expect(origin.received).toEqual([]);
  });

  test("OPTIONS * asks this proxy", async () => {
    const client = sent("OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    expect(await client.ended()).toMatch(/^HTTP\/1\.1 204 [^]*allow: GET, HEAD/);
  });
});
