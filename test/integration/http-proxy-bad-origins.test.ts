import { once } from "node:events";
import { createServer, type Server } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createOriginClient } from "@lacewing/peer/adapters/origin/origin-client.ts";
import { OriginConnections } from "@lacewing/peer/adapters/origin/origin-connections.ts";
import type { OriginClient } from "@lacewing/peer/app/ports.ts";
import { systemClock } from "@lacewing/runtime/clock.ts";
import {
  listenAnywhere,
  RawClient,
  startWorld,
  type ProxyWorld,
} from "../support/http-proxy-world.ts";

/**
 * Goal: whatever an origin sends, a client gets an answer that can be read in one way and is one, or an error; never a part that
 * looks whole, and never a byte of one answer in another.
 *
 * Method: raw bytes from the origin, both as it is relayed and as downloads read it. After each case another client asks the same
 * origin, on connections that may have been kept.
 */
const CHUNKED = "Transfer-Encoding: chunked\r\n";
const ok = (fields: string, body: string) => `HTTP/1.1 200 OK\r\n${fields}\r\n${body}`;
const POISON = ok("Content-Length: 6\r\n", "poison");

type Case = readonly [name: string, answer: string];

const REFUSED: readonly Case[] = [
  ["a length and chunks", ok(`Content-Length: 3\r\n${CHUNKED}`, "3\r\nabc\r\n0\r\n\r\n")],
  ["chunks and a length", ok(`${CHUNKED}Content-Length: 3\r\n`, "3\r\nabc\r\n0\r\n\r\n")],
  ["two different lengths", ok("Content-Length: 2\r\nContent-Length: 3\r\n", "abc")],
  ["two equal lengths", ok("Content-Length: 3\r\nContent-Length: 3\r\n", "abc")],
  ["a list of lengths", ok("Content-Length: 3, 3\r\n", "abc")],
  ["a length with a plus", ok("Content-Length: +3\r\n", "abc")],
  ["a negative length", ok("Content-Length: -3\r\n", "abc")],
  ["a length beyond all numbers", ok(`Content-Length: 3${"0".repeat(30)}\r\n`, "abc")],
  ["gzip, chunked", ok("Transfer-Encoding: gzip, chunked\r\n", "3\r\nabc\r\n0\r\n\r\n")],
  ["xchunked", ok("Transfer-Encoding: xchunked\r\n", "3\r\nabc\r\n0\r\n\r\n")],
  ["chunked twice", ok(`${CHUNKED}${CHUNKED}`, "3\r\nabc\r\n0\r\n\r\n")],
  ["a space before the colon", ok("Content-Length : 3\r\n", "abc")],
  ["a folded line", ok("X: a\r\n Content-Length: 9\r\nContent-Length: 3\r\n", "abc")],
  ["a NUL in a field's value", ok("X: a\0b\r\nContent-Length: 3\r\n", "abc")],
  ["a CR in a field's value", ok("X: a\rSet-Cookie: b\r\nContent-Length: 3\r\n", "abc")],
  ["bare LFs", "HTTP/1.1 200 OK\nContent-Length: 3\n\nabc"],
  ["a status of four digits", "HTTP/1.1 2000 OK\r\nContent-Length: 3\r\n\r\nabc"],
  ["another protocol", "ICY 200 OK\r\nContent-Length: 3\r\n\r\nabc"],
  ["an unknown version", "HTTP/7.7 200 OK\r\nContent-Length: 3\r\n\r\nabc"],
  ["a head without end", ok(`X: ${"a".repeat(70_000)}\r\n`, "abc")],
  [
    "a flood of interim answers",
    `${"HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\n".repeat(200)}${ok("Content-Length: 3\r\n", "abc")}`,
  ],
  ["interim answers only", "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n"],
  [
    "an unasked switch of protocols",
    "HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nabc",
  ],
];

const BROKEN: readonly Case[] = [
  ["less than its length", ok("Content-Length: 10\r\n", "abc")],
  ["chunks without an end", ok(CHUNKED, "3\r\nabc\r\n")],
  ["half a chunk", ok(CHUNKED, "9\r\nabc")],
  ["a chunk size beyond 64 bits", ok(CHUNKED, "3\r\nabc\r\n10000000000000003\r\nabc\r\n0\r\n\r\n")],
  ["a chunk that is longer than its size", ok(CHUNKED, "3\r\nabcdef\r\n0\r\n\r\n")],
  ["a chunk size that is none", ok(CHUNKED, "3\r\nabc\r\nzz\r\n")],
  ["chunks with bare LFs", ok(CHUNKED, "3\nabc\n0\n\n")],
];

const PASSED: readonly (readonly [...Case, body: string])[] = [
  ["more than its length", ok("Content-Length: 3\r\n", "abcdef"), "abc"],
  ["a second answer behind the first", ok("Content-Length: 3\r\n", `abc${POISON}`), "abc"],
  ["a second answer behind its chunks", ok(CHUNKED, `3\r\nabc\r\n0\r\n\r\n${POISON}`), "abc"],
  ["content where none may be", `HTTP/1.1 204 No Content\r\n\r\n${POISON}`, ""],
  [
    "chunks with extensions and trailers",
    ok(CHUNKED, '3;a="b"\r\nabc\r\n0\r\nContent-Type: x\r\nSet-Cookie: y\r\n\r\n'),
    "abc",
  ],
  ["content that ends with its connection", "HTTP/1.0 200 OK\r\n\r\nabc", "abc"],
  [
    "a field that Connection names",
    ok("Connection: X-Hop\r\nX-Hop: secret\r\nContent-Length: 3\r\n", "abc"),
    "abc",
  ],
  [
    "one interim answer",
    `HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n${ok("Content-Length: 3\r\n", "abc")}`,
    "abc",
  ],
];

let world: ProxyWorld;
let client: OriginClient;
let origin: Server;
let port: number;
beforeAll(async () => {
  const answers = new Map(
    [...REFUSED, ...BROKEN, ...PASSED].map(([name, answer]) => [name, answer]),
  );
  origin = createServer((socket) => {
    socket.setEncoding("latin1");
    socket.on("error", () => {});
    socket.on("data", (text: string) => {
      const path = /^GET \/(\S*) /.exec(text)?.[1] ?? "";
      const answer = answers.get(decodeURIComponent(path));
      if (answer === undefined) socket.write(ok("Content-Length: 6\r\n", "honest"), "latin1");
      // What can be kept is kept, so that a rest of it would be found by the next request.
      else if (PASSED.some(([, passed]) => passed === answer && !passed.startsWith("HTTP/1.0")))
        socket.write(answer, "latin1");
      else socket.end(answer, "latin1");
    });
  });
  port = await listenAnywhere(origin);
  world = await startWorld();
  client = createOriginClient({ connections: new OriginConnections(), clock: systemClock });
});
afterAll(async () => {
  client?.close();
  await world?.[Symbol.asyncDispose]();
  const closed = once(origin, "close");
  origin.close();
  await closed;
});

const urlOf = (name: string) => `http://127.0.0.1:${port}/${encodeURIComponent(name)}`;

async function relayed(name: string, connection = "close"): Promise<string> {
  const asking = new RawClient(world.proxy.address.port);
  asking.send(`GET ${urlOf(name)} HTTP/1.1\r\nHost: x\r\nConnection: ${connection}\r\n\r\n`);
  return asking.ended();
}

/** The content as a download reads it. */
async function read(name: string): Promise<string> {
  const request = {
    method: "GET",
    url: new URL(urlOf(name)),
    headers: [],
    range: undefined,
    ifRange: undefined,
    useTls: false,
  } as const;
  const response = await client.open(request, new AbortController().signal);
  const chunks: Uint8Array[] = [];
  for await (const chunk of response.body) chunks.push(chunk);
  return Buffer.concat(chunks).toString("latin1");
}

async function expectOthersUnharmed(): Promise<void> {
  expect(await relayed("others")).toMatch(/\r\n\r\nhonest$/);
  expect(await read("others")).toBe("honest");
}

/** Content of a relayed answer, `undefined` when its framing says that it is not whole. */
function contentOf(answer: string): string | undefined {
  const [, head = "", body = ""] =
    /^((?:HTTP\/1\.1 1\d\d [^]*?\r\n\r\n)*HTTP\/1\.1 [^]*?\r\n)\r\n([^]*)$/.exec(answer) ?? [];
  const final = head.slice(head.lastIndexOf("HTTP/1.1 "));
  const length = /^content-length: (\d+)\r$/im.exec(final)?.[1];
  if (length !== undefined) return body.length === Number(length) ? body : undefined;
  if (/^transfer-encoding: chunked\r$/im.test(final)) {
    if (!/(?:^|\r\n)0\r\n(?:[^\r\n]+\r\n)*\r\n$/.test(body)) return undefined;
    return body.replaceAll(/(?:^|\r\n)[0-9a-f]+\r\n/gi, "").replace(/(?:[^\r\n]+\r\n)*\r\n$/, "");
  }
  return body;
}

describe("an origin that answers with", () => {
  test.each(REFUSED)("%s is an error", async (name) => {
    const answer = await relayed(name);
    expect(answer).toMatch(/(?:^|\r\n\r\n)HTTP\/1\.1 502 [^]*\r\n\r\nlacewing: .+\n$/);
    expect(answer).not.toContain("abc");
    await expect(read(name)).rejects.toHaveProperty("code", "origin_unreachable");
    await expectOthersUnharmed();
  });

  test.each(REFUSED.filter(([, answer]) => !answer.includes("Upgrade")))(
    "%s to an upgrade is an error too",
    async (name) => {
      const answer = await relayed(name, "Upgrade\r\nUpgrade: echo");
      expect(answer).toMatch(/^HTTP\/1\.1 502 [^]*\r\n\r\nlacewing: .+\n$/);
      expect(answer).not.toContain("abc");
    },
  );

  test.each(BROKEN)("%s breaks off and never looks whole", async (name) => {
    expect(contentOf(await relayed(name))).toBeUndefined();
    await expect(read(name)).rejects.toHaveProperty("code", "origin_broken_off");
    await expectOthersUnharmed();
  });

  test.each(PASSED)("%s gives its content and nothing else", async (name, _answer, body) => {
    const answer = await relayed(name);
    expect(contentOf(answer)).toBe(body);
    expect(answer).not.toMatch(/poison|secret|set-cookie/i);
    expect(await read(name)).toBe(body);
    await expectOthersUnharmed();
  });
});
