import type { IncomingMessage, RequestListener, ServerResponse } from "node:http";
import { afterEach, describe, expect, test } from "vitest";
import { createOriginClient } from "@lacewing/peer/adapters/origin/origin-client.ts";
import { OriginConnections } from "@lacewing/peer/adapters/origin/origin-connections.ts";
import type { OriginClient, OriginRequest, OriginResponse } from "@lacewing/peer/app/ports.ts";
import { systemClock } from "@lacewing/runtime/clock.ts";
import { startOrigin } from "../support/http-proxy-world.ts";

const NEVER = new AbortController().signal;

let client: OriginClient | undefined;
afterEach(() => {
  client?.close();
  client = undefined;
});

async function open(url: string, more: Partial<OriginRequest> = {}): Promise<OriginResponse> {
  client ??= createOriginClient({ connections: new OriginConnections(), clock: systemClock });
  return client.open(
    {
      method: "GET",
      url: new URL(url),
      headers: [],
      range: undefined,
      ifRange: undefined,
      useTls: "auto",
      ...more,
    },
    NEVER,
  );
}

async function textOf(response: OriginResponse): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of response.body) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks).toString();
}

/** An origin that answers by the path of a request, and remembers every path that it was asked for. */
async function scripted(
  answers: Readonly<
    Record<string, (response: ServerResponse, request: IncomingMessage) => unknown>
  >,
) {
  const asked: string[] = [];
  const listener: RequestListener = (request, response) => {
    asked.push(request.url ?? "");
    const answer = answers[request.url ?? ""] ?? (() => response.end(request.url));
    answer(response, request);
  };
  return { asked, origin: await startOrigin(listener) };
}

const moved =
  (location: string, headers: Readonly<Record<string, string>> = {}) =>
  (response: ServerResponse): void => {
    response.writeHead(302, { location, "content-length": 6, ...headers });
    // As bytes, or Node would write the head in UTF-8 too.
    response.end(Buffer.from("moved\n"));
  };

describe("what is asked of the origin", () => {
  test.each([
    ["/wanted/a'{b}/./c|d?sig='x'|y", "/wanted/a'{b}/./c|d?sig='x'|y"],
    ["/%2e%2e/a//b/../c?", "/%2e%2e/a//b/../c?"],
    ["/%c3%A9.bin?a=%c3&b", "/%c3%A9.bin?a=%c3&b"],
  ])("is the client's own path and query to the letter: %s", async (path, expected) => {
    const { origin, asked } = await scripted({});
    await using _ = origin;
    const base = `http://127.0.0.1:${origin.port}`;
    (await open(`${base}${path}`, { path })).discard();
    expect(asked).toEqual([expected]);
  });

  test.each([
    "/a HTTP/1.1\r\nHost: other\r\n\r\nGET /secret",
    "/a b",
    "/a\tb",
    "//other/ x",
    "http://other.localhost/a",
    "@other.localhost/a",
    "/\u{1f600}",
    "/\u00e9",
    "",
  ])("is the URL's own where what was written cannot stand in a request: %j", async (path) => {
    const { origin, asked } = await scripted({});
    await using _ = origin;
    (await open(`http://127.0.0.1:${origin.port}/plain?q`, { path })).discard();
    expect(asked).toEqual(["/plain?q"]);
  });

  test("names the host that is connected to, whatever the path looks like", async () => {
    const { origin, asked } = await scripted({
      "//other.localhost/a": (response, { headers }) => response.end(headers.host),
    });
    await using _ = origin;
    const response = await open(`http://127.0.0.1:${origin.port}/`, {
      path: "//other.localhost/a",
    });
    expect(await textOf(response)).toBe(`127.0.0.1:${origin.port}`);
    expect(asked).toEqual(["//other.localhost/a"]);
  });

  test("in the words of the client when it goes on as it came", async () => {
    const seen: (readonly string[])[] = [];
    await using origin = await startOrigin((request, response) => {
      seen.push(request.rawHeaders);
      response.writeHead(302, { location: "/elsewhere" }).end();
    });
    const headers = [
      ["Accept-Encoding", "gzip"],
      ["Range", "bytes=5-"],
      ["If-Match", '"v"'],
    ] as const;
    const url = `http://127.0.0.1:${origin.port}/`;
    const response = await open(url, { headers, isAsItCame: true });
    expect(response.status).toBe(302);
    response.discard();
    const host = ["Host", `127.0.0.1:${origin.port}`];
    const own = headers.flatMap((header) => [...header]);
    expect(seen.map((raw) => raw.slice(0, 8))).toEqual([[...host, ...own]]);
  });
});

describe("a redirect is followed", () => {
  test.each([
    ["bytes that are not ASCII are encoded once", "/\u00c3\u00a9.bin?\u00e9", "/%C3%A9.bin?%E9"],
    ["what a signature may cover is kept", "/a'{b}|c?sig='x'|y", "/a'{b}|c?sig='x'|y"],
    ["a path with dots is resolved", "/a/./b/../'c'?x=./y", "/a/'c'?x=./y"],
    ["a relative one is resolved", "b'c?d", "/b'c?d"],
  ])("and %s", async (_name, location, expected) => {
    const { origin, asked } = await scripted({ "/": moved(location) });
    await using _ = origin;
    expect((await open(`http://127.0.0.1:${origin.port}/`)).status).toBe(200);
    expect(asked).toEqual(["/", expected]);
  });

  test("and leaves its connection for the next requests when its body is short", async () => {
    const { origin } = await scripted({ "/": moved("/a"), "/a": moved("/b") });
    await using _ = origin;
    let connectionCount = 0;
    origin.server.on("connection", () => (connectionCount += 1));
    for (let count = 0; count < 5; count++)
      expect(await textOf(await open(`http://127.0.0.1:${origin.port}/`))).toBe("/b");
    expect(connectionCount).toBeLessThan(4);
  });

  test("whatever cookie it sets: clients of hubs and registries keep none", async () => {
    const storage = await scripted({});
    await using _ = storage.origin;
    const location = `http://hub.localhost:${storage.origin.port}/blob`;
    const hub = await scripted({ "/": moved(location, { "set-cookie": "session=1; Path=/" }) });
    await using __ = hub.origin;
    const response = await open(`http://hub.localhost:${hub.origin.port}/`);
    expect([response.status, await textOf(response)]).toEqual([200, "/blob"]);
  });

  test.each([404, 412, 416, 429, 500, 503])(
    "to a %i, which is not about who asks",
    async (status) => {
      const storage = await scripted({ "/b": (response) => response.writeHead(status).end() });
      await using _ = storage.origin;
      const hub = await scripted({ "/": moved(`http://127.0.0.1:${storage.origin.port}/b`) });
      await using __ = hub.origin;
      const response = await open(`http://127.0.0.1:${hub.origin.port}/`);
      expect(response.status).toBe(status);
      response.discard();
    },
  );

  test("and holds no connection while the next one is asked, whatever its length", async () => {
    const { origin } = await scripted({
      "/": (response) => {
        response.writeHead(302, { location: "/next" });
        response.write("it never ends");
      },
      "/next": (response) => {
        origin.server.getConnections((_error, count) => response.end(`${count}`));
      },
    });
    await using _ = origin;
    // The first one may be closing still.
    const counts = [];
    for (let turn = 0; turn < 5; turn++)
      counts.push(Number(await textOf(await open(`http://127.0.0.1:${origin.port}/`))));
    expect(Math.max(...counts)).toBeLessThanOrEqual(3);
  });
});

describe("a redirect is handed to its client as it was", () => {
  const original = async (response: OriginResponse, location: string): Promise<void> => {
    expect([response.status, response.header("location")]).toEqual([302, location]);
    expect(response).toMatchObject({ isElsewhere: false, bodyLength: 6 });
    expect(await textOf(response)).toBe("moved\n");
  };

  test("when it leads to the same URL, with a cookie", async () => {
    const cookie = "pass=1; Path=/";
    const { origin, asked } = await scripted({ "/": moved("/", { "set-cookie": cookie }) });
    await using _ = origin;
    const response = await open(`http://hub.localhost:${origin.port}/`);
    await original(response, "/");
    expect(response.header("set-cookie")).toBe(cookie);
    expect(asked).toEqual(["/"]);
  });

  test("when they go round in a circle, or on and on", async () => {
    const { origin, asked } = await scripted({
      "/": moved("/a"),
      "/a": moved("/"),
      ...Object.fromEntries(
        Array.from({ length: 20 }, (_, index) => [`/${index}`, moved(`/${index + 1}`)]),
      ),
    });
    await using _ = origin;
    await original(await open(`http://127.0.0.1:${origin.port}/`), "/a");
    expect(asked).toEqual(["/", "/a"]);
    await original(await open(`http://127.0.0.1:${origin.port}/0`), "/1");
    expect(asked.slice(2)).toEqual(["/0", "/1", "/2", "/3", "/4", "/5"]);
  });

  test.each([401, 403, 407])("when it ends elsewhere with %i", async (status) => {
    const other = await scripted({
      "/b": (response) => response.writeHead(status, { "www-authenticate": "Basic" }).end("no"),
    });
    await using _ = other.origin;
    const location = `http://127.0.0.1:${other.origin.port}/b`;
    const { origin } = await scripted({
      "/": moved(location, { "x-linked-etag": '"abc"' }),
    });
    await using __ = origin;
    const response = await open(`http://127.0.0.1:${origin.port}/`);
    await original(response, location);
    expect(response.header("www-authenticate")).toBeUndefined();
  });

  test("when it is refused at the same server: what the client shows there may cover the URL", async () => {
    const { origin, asked } = await scripted({
      "/": moved("/b"),
      "/b": (response) => response.writeHead(401).end(),
    });
    await using _ = origin;
    await original(await open(`http://127.0.0.1:${origin.port}/`), "/b");
    expect(asked).toEqual(["/", "/b"]);
  });

  test("without a body that is not short, and without any for HEAD", async () => {
    const text = "x".repeat(100_000);
    const { origin } = await scripted({
      "/": (response) => {
        response.writeHead(302, { location: "/no", "content-length": text.length });
        response.end(text);
      },
      "/short": moved("/no"),
      "/no": (response) => response.writeHead(403).end(),
    });
    await using _ = origin;
    const url = `http://127.0.0.1:${origin.port}/`;
    const long = await open(url);
    expect([long.status, long.bodyLength, await textOf(long)]).toEqual([302, 0, ""]);
    expect(long.headers.map(([name]) => name.toLowerCase())).not.toContain("content-length");
    for (const path of ["", "short"]) {
      const head = await open(`${url}${path}`, { method: "HEAD" });
      expect([head.status, await textOf(head)]).toEqual([302, ""]);
    }
  });
});
