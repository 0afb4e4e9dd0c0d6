import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { RawClient, startWorld, type ProxyWorld } from "../support/http-proxy-world.ts";
import { type RecordingOrigin, startRecordingOrigin } from "../support/recording-origin.ts";
import { waitFor } from "../support/wait-for.ts";

/**
 * Goal: whatever a client sends, the origin understands what we understood. A request that two readers could understand in two
 * ways is refused and its connection closed, or goes on in one form that can be understood in one way only; no bytes that
 * we took for content ever reach the origin as a request.
 *
 * Method: raw bytes in, and an origin that keeps raw bytes and reads them strictly. After each case an honest client asks for
 * something on the same kept connections, and must get its own answer.
 */
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

const SMUGGLED = "GET /smuggled HTTP/1.1\r\nHost: evil\r\n\r\n";
const LENGTH = SMUGGLED.length;
const CHUNK = `${LENGTH.toString(16)}\r\n${SMUGGLED}\r\n0\r\n\r\n`;

/** The head of a POST to the origin, with `fields` as they are, and what follows it. */
const post = (fields: string, body: string) => (at: string) =>
  `POST http://${at}/case HTTP/1.1\r\nHost: ${at}\r\n${fields}\r\n${body}`;
const raw = (text: string) => (at: string) => text.replaceAll("ORIGIN", at);

type Case = readonly [name: string, bytes: (at: string) => string];

const REFUSED: readonly Case[] = [
  ["a length and chunks", post(`Content-Length: 4\r\nTransfer-Encoding: chunked\r\n`, CHUNK)],
  [
    "chunks and a length",
    post(`Transfer-Encoding: chunked\r\nContent-Length: ${LENGTH}\r\n`, CHUNK),
  ],
  ["two different lengths", post(`Content-Length: 0\r\nContent-Length: ${LENGTH}\r\n`, SMUGGLED)],
  ["two equal lengths", post(`Content-Length: 3\r\nContent-Length: 3\r\n`, "abc")],
  ["a list of lengths", post(`Content-Length: 0, ${LENGTH}\r\n`, SMUGGLED)],
  ["a list of equal lengths", post("Content-Length: 3, 3\r\n", "abc")],
  ["a length with a plus", post(`Content-Length: +${LENGTH}\r\n`, SMUGGLED)],
  ["a negative length", post("Content-Length: -1\r\n", SMUGGLED)],
  ["a length in hex", post("Content-Length: 0x10\r\n", SMUGGLED)],
  ["a length with a space inside", post("Content-Length: 1 0\r\n", SMUGGLED)],
  ["a length with a letter", post("Content-Length: 3a\r\n", SMUGGLED)],
  ["an empty length", post("Content-Length: \r\n", SMUGGLED)],
  ["a length beyond all numbers", post(`Content-Length: 1${"0".repeat(30)}\r\n`, SMUGGLED)],
  ["a fractional length", post("Content-Length: 3.0\r\n", "abc")],
  ["xchunked", post("Transfer-Encoding: xchunked\r\n", CHUNK)],
  ["chunked, identity", post("Transfer-Encoding: chunked, identity\r\n", CHUNK)],
  ["identity, chunked", post("Transfer-Encoding: identity, chunked\r\n", CHUNK)],
  ["chunked twice in a list", post("Transfer-Encoding: chunked, chunked\r\n", CHUNK)],
  ["chunked twice", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", CHUNK)],
  [
    "chunked and then identity",
    post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", CHUNK),
  ],
  ["gzip, chunked", post("Transfer-Encoding: gzip, chunked\r\n", CHUNK)],
  [
    "identity and a length",
    post(`Transfer-Encoding: identity\r\nContent-Length: ${LENGTH}\r\n`, SMUGGLED),
  ],
  ["chunked in quotes", post('Transfer-Encoding: "chunked"\r\n', CHUNK)],
  ["chunked with a parameter", post("Transfer-Encoding: chunked;q=1\r\n", CHUNK)],
  ["chunked after a vertical tab", post("Transfer-Encoding: \x0bchunked\r\n", CHUNK)],
  ["chunked after a NUL", post("Transfer-Encoding: \0chunked\r\n", CHUNK)],
  ["chunked in a folded line", post("Transfer-Encoding:\r\n chunked\r\n", CHUNK)],
  ["a folded line", post(`X: a\r\n Content-Length: ${LENGTH}\r\n`, SMUGGLED)],
  ["a folded first field", raw(`GET http://ORIGIN/case HTTP/1.1\r\n Host: ORIGIN\r\n\r\n`)],
  ["a space before the colon of a coding", post("Transfer-Encoding : chunked\r\n", CHUNK)],
  ["a space before the colon of a length", post(`Content-Length : ${LENGTH}\r\n`, SMUGGLED)],
  ["a tab before the colon", post("Transfer-Encoding\t: chunked\r\n", CHUNK)],
  ["a space in a field's name", post("Transfer Encoding: chunked\r\n", CHUNK)],
  ["a field without a colon", post("Transfer-Encoding\r\n", CHUNK)],
  ["a field without a name", post(": chunked\r\n", CHUNK)],
  ["a NUL in a field's name", post("X\0: 1\r\n", "")],
  ["a NUL in a field's value", post("X: a\0b\r\n", "")],
  ["a CR in a field's value", post("X: a\rContent-Length: 5\r\n", "")],
  ["a CR that ends a field", post("X: a\rY: b\r\n", "")],
  ["a bare LF in the head", post(`X: a\nContent-Length: ${LENGTH}\r\n`, SMUGGLED)],
  ["a head with bare LFs only", raw("GET http://ORIGIN/case HTTP/1.1\nHost: ORIGIN\n\n")],
  [
    "chunks in HTTP/1.0",
    raw(
      `POST http://ORIGIN/case HTTP/1.0\r\nHost: ORIGIN\r\nTransfer-Encoding: chunked\r\n\r\n${CHUNK}`,
    ),
  ],
  ["two Hosts", raw("GET http://ORIGIN/case HTTP/1.1\r\nHost: ORIGIN\r\nHost: evil\r\n\r\n")],
  ["no Host", raw("GET http://ORIGIN/case HTTP/1.1\r\n\r\n")],
  ["a Host with a path", raw("GET http://ORIGIN/case HTTP/1.1\r\nHost: ORIGIN/evil\r\n\r\n")],
  ["a Host with a user", raw("GET http://ORIGIN/case HTTP/1.1\r\nHost: evil@ORIGIN\r\n\r\n")],
  ["a Host with a space", raw("GET http://ORIGIN/case HTTP/1.1\r\nHost: ORIGIN evil\r\n\r\n")],
  ["a port that is none in Host", raw("GET http://ORIGIN/case HTTP/1.1\r\nHost: a:b\r\n\r\n")],
  ["HTTP/1.2 after a tab", raw("GET http://ORIGIN/case\tHTTP/1.1\r\nHost: ORIGIN\r\n\r\n")],
  ["HTTP/0.9", raw("GET http://ORIGIN/case\r\n\r\n")],
  ["HTTP/2's preface", raw("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")],
  ["an unknown version", raw("GET http://ORIGIN/case HTTP/9.9\r\nHost: ORIGIN\r\n\r\n")],
  ["a version in lower case", raw("GET http://ORIGIN/case http/1.1\r\nHost: ORIGIN\r\n\r\n")],
  ["a method in lower case", raw("get http://ORIGIN/case HTTP/1.1\r\nHost: ORIGIN\r\n\r\n")],
  ["a target with a space", raw("GET http://ORIGIN/ca se HTTP/1.1\r\nHost: ORIGIN\r\n\r\n")],
  ["a target with a NUL", raw("GET http://ORIGIN/ca\0se HTTP/1.1\r\nHost: ORIGIN\r\n\r\n")],
  ["a target without an authority", raw("GET http:///case HTTP/1.1\r\nHost: ORIGIN\r\n\r\n")],
  [
    "a backslash in the authority",
    raw("GET http://ORIGIN\\@evil/case HTTP/1.1\r\nHost: ORIGIN\r\n\r\n"),
  ],
  [
    "a backslash in the path",
    raw("GET http://ORIGIN/a\\..\\case HTTP/1.1\r\nHost: ORIGIN\r\n\r\n"),
  ],
  ["a target that is a host", raw("GET ORIGIN HTTP/1.1\r\nHost: ORIGIN\r\n\r\n")],
  ["another scheme", raw("GET gopher://ORIGIN/case HTTP/1.1\r\nHost: ORIGIN\r\n\r\n")],
  [
    "a target that is too long",
    raw(`GET http://ORIGIN/${"a".repeat(17_000)} HTTP/1.1\r\nHost: ORIGIN\r\n\r\n`),
  ],
  [
    "a head that is too long",
    raw(`GET http://ORIGIN/case HTTP/1.1\r\nHost: ORIGIN\r\nX: ${"a".repeat(40_000)}\r\n\r\n`),
  ],
  [
    "too many fields",
    raw(`GET http://ORIGIN/case HTTP/1.1\r\nHost: ORIGIN\r\n${"a: b\r\n".repeat(250)}\r\n`),
  ],
  [
    "Max-Forwards that is no number",
    raw("OPTIONS http://ORIGIN/case HTTP/1.1\r\nHost: ORIGIN\r\nMax-Forwards: 1, 2\r\n\r\n"),
  ],
  [
    "Max-Forwards twice",
    raw(
      "TRACE http://ORIGIN/case HTTP/1.1\r\nHost: ORIGIN\r\nMax-Forwards: 1\r\nMax-Forwards: 0\r\n\r\n",
    ),
  ],
];

const BROKEN_BODIES: readonly Case[] = [
  [
    "a chunk size beyond 64 bits",
    post("Transfer-Encoding: chunked\r\n", `10000000000000003\r\nabc\r\n0\r\n\r\n${SMUGGLED}`),
  ],
  ["a negative chunk size", post("Transfer-Encoding: chunked\r\n", `-1\r\n${SMUGGLED}`)],
  ["a chunk size with 0x", post("Transfer-Encoding: chunked\r\n", `0x3\r\nabc\r\n0\r\n\r\n`)],
  [
    "a chunk size with a space in front",
    post("Transfer-Encoding: chunked\r\n", ` 3\r\nabc\r\n0\r\n\r\n`),
  ],
  ["a chunk without a size", post("Transfer-Encoding: chunked\r\n", `\r\nabc\r\n0\r\n\r\n`)],
  [
    "a chunk that is longer than its size",
    post("Transfer-Encoding: chunked\r\n", `3\r\nabcdef\r\n0\r\n\r\n`),
  ],
  [
    "a chunk that ends with a bare LF",
    post("Transfer-Encoding: chunked\r\n", `3\r\nabc\n0\r\n\r\n${SMUGGLED}`),
  ],
  [
    "a chunk size that ends with a bare LF",
    post("Transfer-Encoding: chunked\r\n", `3\nabc\r\n0\r\n\r\n`),
  ],
  [
    "a chunk size that ends with a bare CR",
    post("Transfer-Encoding: chunked\r\n", `3\rabc\r\n0\r\n\r\n`),
  ],
  [
    "a chunk extension with a bare LF",
    post("Transfer-Encoding: chunked\r\n", `3;a\nabc\r\n0\r\n\r\n`),
  ],
  [
    "trailers with a bare LF",
    post("Transfer-Encoding: chunked\r\n", `3\r\nabc\r\n0\r\nX: y\n\r\n`),
  ],
  [
    "a trailer that is no field",
    post("Transfer-Encoding: chunked\r\n", `3\r\nabc\r\n0\r\nGET /smuggled HTTP/1.1\r\n\r\n`),
  ],
  [
    "a length among the trailers",
    post("Transfer-Encoding: chunked\r\n", `3\r\nabc\r\n0\r\nContent-Length: 50\r\n\r\n`),
  ],
  [
    "a coding among the trailers",
    post("Transfer-Encoding: chunked\r\n", `3\r\nabc\r\n0\r\nTransfer-Encoding: x\r\n\r\n`),
  ],
];

const PASSED: readonly (readonly [...Case, line: string, body: string])[] = [
  ["a length", post("Content-Length: 3\r\n", "abc"), "POST /case HTTP/1.1", "abc"],
  [
    "a length with zeros in front",
    post("Content-Length: 0003\r\n", "abc"),
    "POST /case HTTP/1.1",
    "abc",
  ],
  [
    "a request as content",
    post(`Content-Length: ${LENGTH}\r\n`, SMUGGLED),
    "POST /case HTTP/1.1",
    SMUGGLED,
  ],
  [
    "a request as content in a chunk",
    post("Transfer-Encoding: chunked\r\n", CHUNK),
    "POST /case HTTP/1.1",
    SMUGGLED,
  ],
  ["CHUNKED", post("Transfer-Encoding: CHUNKED\r\n", CHUNK), "POST /case HTTP/1.1", SMUGGLED],
  [
    "chunked after a tab",
    post("Transfer-Encoding: \tchunked \r\n", CHUNK),
    "POST /case HTTP/1.1",
    SMUGGLED,
  ],
  [
    "chunk extensions",
    post("Transfer-Encoding: chunked\r\n", `3;name="v;\t1"\r\nabc\r\n0;x\r\n\r\n`),
    "POST /case HTTP/1.1",
    "abc",
  ],
  [
    "chunk sizes with zeros in front",
    post("Transfer-Encoding: chunked\r\n", `00003\r\nabc\r\n000\r\n\r\n`),
    "POST /case HTTP/1.1",
    "abc",
  ],
  [
    "trailers that belong in the head",
    post(
      "Transfer-Encoding: chunked\r\n",
      `3\r\nabc\r\n0\r\nHost: evil\r\nTE: x\r\nExpect: 100-continue\r\n\r\n`,
    ),
    "POST /case HTTP/1.1",
    "abc",
  ],
  [
    "two spaces in the first line",
    raw("GET  http://ORIGIN/case HTTP/1.1\r\nHost: ORIGIN\r\n\r\n"),
    "GET /case HTTP/1.1",
    "",
  ],
  [
    "a length that Connection names",
    post(`Connection: content-length\r\nContent-Length: ${LENGTH}\r\n`, SMUGGLED),
    "POST /case HTTP/1.1",
    SMUGGLED,
  ],
  [
    "a coding that Connection names",
    post("Connection: transfer-encoding, close\r\nTransfer-Encoding: chunked\r\n", CHUNK),
    "POST /case HTTP/1.1",
    SMUGGLED,
  ],
  [
    "a Host that Connection names",
    raw("GET http://ORIGIN/case HTTP/1.1\r\nHost: ORIGIN\r\nConnection: host\r\n\r\n"),
    "GET /case HTTP/1.1",
    "",
  ],
  [
    "a GET with content",
    raw(
      `GET http://ORIGIN/case HTTP/1.1\r\nHost: ORIGIN\r\nContent-Length: ${LENGTH}\r\n\r\n${SMUGGLED}`,
    ),
    "GET /case HTTP/1.1",
    SMUGGLED,
  ],
  [
    "another Host",
    raw("GET http://ORIGIN/case HTTP/1.1\r\nHost: evil.example\r\n\r\n"),
    "GET /case HTTP/1.1",
    "",
  ],
  [
    "an empty Host",
    raw("GET http://ORIGIN/case HTTP/1.1\r\nHost:\r\n\r\n"),
    "GET /case HTTP/1.1",
    "",
  ],
  [
    "an authority without path",
    raw("GET http://ORIGIN HTTP/1.1\r\nHost: ORIGIN\r\n\r\n"),
    "GET / HTTP/1.1",
    "",
  ],
  [
    "OPTIONS of the server as a whole",
    raw("OPTIONS http://ORIGIN HTTP/1.1\r\nHost: ORIGIN\r\nMax-Forwards: 3\r\n\r\n"),
    "OPTIONS * HTTP/1.1",
    "",
  ],
  [
    "an empty line in front",
    raw("\r\nGET http://ORIGIN/case HTTP/1.1\r\nHost: ORIGIN\r\n\r\n"),
    "GET /case HTTP/1.1",
    "",
  ],
  ["HTTP/1.0", raw("GET http://ORIGIN/case HTTP/1.0\r\n\r\n"), "GET /case HTTP/1.1", ""],
];

const at = () => `127.0.0.1:${origin.port}`;

/** An honest request, after the case, on whatever connections are kept. */
async function expectOthersUnharmed(): Promise<void> {
  const honest = new RawClient(world.proxy.address.port);
  honest.send(`GET http://${at()}/honest HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
  expect(await honest.ended()).toMatch(/\r\n\r\nGET \/honest HTTP\/1\.1\|$/);
  expect(origin.ambiguities).toEqual([]);
  expect(origin.requests.map(({ line }) => line)).not.toContain("GET /smuggled HTTP/1.1");
}

async function sent(bytes: (at: string) => string): Promise<RawClient> {
  const client = new RawClient(world.proxy.address.port);
  client.send(bytes(at()));
  await waitFor(
    "an answer",
    () => client.isClosed || /^HTTP\/1\.1 .*\r\n\r\n/s.test(client.received),
  );
  return client;
}

describe("a request with", () => {
  test.each(REFUSED)("%s is refused in words, its connection closed", async (_name, bytes) => {
    const client = await sent(bytes);
    expect(await client.ended()).toMatch(
      /^HTTP\/1\.1 (?:4\d\d|50[15]) [^\r]*\r\n[^]*\r\n\r\nlacewing: .+\n$/,
    );
    expect(client.received).toMatch(/^connection: close\r$/im);
    expect(origin.received).toEqual([]);
    await expectOthersUnharmed();
  });

  test.each(BROKEN_BODIES)(
    "%s never becomes a whole request at the origin",
    async (_name, bytes) => {
      const client = await sent(bytes);
      expect(await client.ended()).toMatch(/^HTTP\/1\.1 400 /);
      expect(origin.requests).toEqual([]);
      await expectOthersUnharmed();
    },
  );

  test.each(PASSED)("%s is understood in one way", async (_name, bytes, line, body) => {
    const client = await sent(bytes);
    await waitFor("the echo", () => client.received.endsWith(`${line}|${body}`));
    client.socket.destroy();
    expect(origin.requests).toMatchObject([{ line, body }]);
    const host = origin.requests[0]?.fields.filter(([name]) => name === "host");
    expect(host).toEqual([["host", at()]]);
    await expectOthersUnharmed();
  });
});
