import { afterEach, beforeEach, describe, expect, test } from "vitest";
// @boundaries-ignore tests share builders that no service ships
import { bytesOf, seededContent } from "../../../../test/support/content.ts";
// @boundaries-ignore tests share builders that no service ships
import { anchoredPath, PeerWorld } from "../../../../test/support/peer-world.ts";
// @boundaries-ignore tests share builders that no service ships
import type { ScriptedFile } from "../../../../test/support/scripted-origin.ts";
import { headerOf, type HeaderList } from "../core/http-headers.ts";

const MIB = 2 ** 20;
const HOST = "http://origin.test";
const ALICE: HeaderList = [["Private-Token", "alice"]];
const BOB: HeaderList = [["Private-Token", "bob"]];

let world: PeerWorld;
let content: Buffer;
let url: string;
let file: ScriptedFile;
beforeEach(async () => {
  world = new PeerWorld({ isHurried: true });
  content = await bytesOf(seededContent("access", 2 * MIB + 5000));
  url = `${HOST}${anchoredPath(content)}`;
  file = world.origin.add(anchoredPath(content), content);
  world.onRequest((request) => world.grantOrigin(request));
});
afterEach(async () => world.close());

/** Requests to the origin since the last call. */
function asked(): string[] {
  return world.origin.requests.splice(0).map(({ method, range }) => {
    const part = range === undefined ? "whole" : JSON.stringify(range);
    return `${method} ${part}`;
  });
}

const PROBE = `GET ${JSON.stringify({ start: 0, end: 1 })}`;

describe("the origin's yes", () => {
  beforeEach(async () => {
    await world.get(url, ALICE);
    asked();
  });

  test("holds for the same credential for as long as the rule says", async () => {
    expect((await world.get(url, ALICE)).bytes.equals(content)).toBe(true);
    expect(asked()).toEqual([]);
    await world.get(url, ALICE, { accessTtlMs: 0 });
    expect(asked()).toEqual([]);
  });

  test("is not remembered when the rule says so", async () => {
    const other = await bytesOf(seededContent("asked each time", MIB));
    world.origin.add(anchoredPath(other), other);
    const rule = { accessTtlMs: 0 };
    await world.get(`${HOST}${anchoredPath(other)}`, ALICE, rule);
    asked();
    await world.get(`${HOST}${anchoredPath(other)}`, ALICE, rule);
    expect(asked()).toEqual([PROBE]);
  });

  test.each<[string, HeaderList, string]>([
    ["another token in a header of the server's own", BOB, ""],
    ["no credential", [], ""],
    ["another Authorization besides", [...ALICE, ["Authorization", "Basic eDp5"]], ""],
    ["another cookie besides", [...ALICE, ["Cookie", "a=b"]], ""],
    ["a header that nobody knows", [...ALICE, ["X-Whatever", "1"]], ""],
    ["a signature in the URL", ALICE, "?X-Amz-Signature=forged"],
  ])("says nothing about %s", async (_what, headers, query) => {
    file.status = 403;
    const { answer, bytes } = await world.get(`${url}${query}`, headers);
    expect([answer.status, bytes.toString()]).toEqual([403, "none"]);
    expect(asked()).toEqual([PROBE]);
  });

  test("is not worn down by how the client asks", async () => {
    const wishes: HeaderList = [
      ["Range", "bytes=0-9"],
      ["User-Agent", "another/1"],
      ["Accept-Encoding", "gzip"],
    ];
    const { answer } = await world.get(url, [...ALICE, ...wishes]);
    expect([answer.status, asked()]).toEqual([206, []]);
  });
});

describe("HEAD", () => {
  const head = async (headers: HeaderList, rule = {}) =>
    (await world.client(url, headers, rule, "HEAD").done).answer;
  beforeEach(async () => {
    await world.get(url, ALICE);
    asked();
  });

  test("of held content is answered to whoever may read it, as a GET would be", async () => {
    const answer = await head(ALICE);
    expect(answer).toMatchObject({ status: 200, body: undefined, bodyLength: 0 });
    expect(headerOf(answer.headers, "content-length")).toBe(String(content.length));
    expect(headerOf(answer.headers, "etag")).toBe(file.etag);
    expect((await head([...ALICE, ["If-None-Match", file.etag]])).status).toBe(304);
    expect(asked()).toEqual([]);
  });

  test("is the origin's to answer for everybody else", async () => {
    file.status = 403;
    expect((await head(BOB)).status).toBe(403);
    expect(asked()).toEqual(["HEAD whole"]);
  });

  test("is the origin's to answer at another URL of content that all may have: it may lack it there", async () => {
    const rule = { access: "public" } as const;
    const there = `${url}?X-Amz-Signature=there`;
    file.status = 404;
    const answer = (await world.client(there, [], rule, "HEAD").done).answer;
    expect([answer.status, asked()]).toEqual([404, ["HEAD whole"]]);
    expect((await world.client(url, ALICE, rule, "HEAD").done).answer.status).toBe(200);
    expect(asked()).toEqual([]);
  });

  test("is refused or answered as the rule says while the origin is down", async () => {
    file.isDown = true;
    await expect(head(BOB)).rejects.toHaveProperty("code", "origin_unreachable");
    expect((await head(BOB, { whenOriginDown: "serve" })).status).toBe(200);
  });

  test("tells nothing of content that is only described and not held", async () => {
    for (const { description } of world.store.list()) await world.store.remove(description.taskId);
    await head(ALICE);
    expect(asked()).toEqual(["HEAD whole"]);
  });
});

describe("an origin that is down", () => {
  test("leaves content without a digest unserved, whatever the rule says: it may be stale", async () => {
    const plain = world.origin.add("/plain", content);
    await world.get(`${HOST}/plain`);
    plain.isDown = true;
    await expect(
      world.get(`${HOST}/plain`, [], { whenOriginDown: "serve" }),
    ).rejects.toHaveProperty("code", "origin_unreachable");
  });
});

describe("an opening request", () => {
  test.each([
    ["If-None-Match", '"another"'],
    ["If-Modified-Since", "Sun, 06 Nov 1994 08:49:37 GMT"],
    ["If-Match", '"another"'],
  ])("with %s, which may end without content, asks for one byte first", async (name, value) => {
    await world.get(url, [[name, value]]);
    expect(asked()[0]).toBe(PROBE);
  });

  test("does not pass on what the origin said of one byte as if it were said of the content", async () => {
    file.headers = [
      ["Content-Digest", "sha-256=:of one byte:"],
      ["Content-MD5", "of one byte"],
      ["X-Kept", "yes"],
    ];
    const { answer } = await world.get(url, [["Range", "bytes=5-9"]]);
    expect(headerOf(answer.headers, "content-digest")).toBeUndefined();
    expect(headerOf(answer.headers, "content-md5")).toBeUndefined();
    expect(headerOf(answer.headers, "x-kept")).toBe("yes");
  });
});

describe("a client that wants nothing of its answer stored", () => {
  const noStore: HeaderList = [["Cache-Control", "max-age=0, no-store"]];

  test("has it passed through, with its own range, and nothing is kept", async () => {
    const { answer, bytes } = await world.get(url, [...noStore, ["Range", "bytes=5-9"]]);
    expect([answer.status, bytes.equals(content.subarray(5, 10))]).toEqual([206, true]);
    expect([...world.store.list()]).toEqual([]);
    expect(world.controlPlane.all("taskRequested")).toEqual([]);
  });

  test("is answered from what is held already", async () => {
    await world.get(url);
    asked();
    expect((await world.get(url, noStore)).bytes.equals(content)).toBe(true);
    expect(asked()).toEqual([]);
  });
});

describe("content that is passed through", () => {
  test.each(["bytes=-10", "bytes=0-4,8-9", "bytes=5-"])(
    "has its %s asked of the origin as it is",
    async (range) => {
      world.origin.add("/weak", content, { etag: 'W/"1"' });
      await world.get(`${HOST}/weak`, [["Range", range]]);
      expect(world.origin.requests.at(-1)?.clientRange).toBe(range);
    },
  );
});

describe("content that is read in parts", () => {
  const plainUrl = `${HOST}/plain`;
  beforeEach(() => {
    const answer = world.controlPlane.onEvent;
    // A broken read is granted again as long as somebody waits for it.
    world.controlPlane.onEvent = (event) => {
      answer(event);
      if (event.$case !== "piecesFailed") return;
      setImmediate(() => {
        for (const { request } of world.registry.liveRequests()) world.grantOrigin(request);
      });
    };
  });

  /** Everything from the second part on is another answer than the first was. */
  async function changedAfterPart(change: (plain: ScriptedFile) => void) {
    const plain = world.origin.add("/plain", content, { breaksAfterBytes: MIB + 200_000 });
    const gate = Promise.withResolvers<void>();
    plain.gate = { atBytes: MIB + 100_000, opened: gate.promise };
    const client = world.client(plainUrl);
    await expect.poll(() => client.received()).toBeGreaterThan(MIB);
    change(plain);
    plain.gate = undefined;
    gate.resolve();
    return client.done;
  }

  test("is asked on under its validator, and the same content completes it", async () => {
    const plain = world.origin.add("/plain", content, { breaksAfterBytes: MIB + 200_000 });
    const { bytes } = await world.get(plainUrl);
    expect(bytes.equals(content)).toBe(true);
    expect(world.origin.requests.map(({ ifRange }) => ifRange)).toContain(plain.etag);
  });

  test.each<[string, (plain: ScriptedFile) => void]>([
    ["another validator", (plain) => (plain.etag = '"2"')],
    ["no validator, as a whole", (plain) => Object.assign(plain, { etag: "", hasRanges: false })],
    ["another length", (plain) => (plain.bytes = Buffer.concat([plain.bytes, Buffer.from("!")]))],
  ])(
    "and then has %s breaks off the client that had begun, and is forgotten",
    async (_what, change) => {
      const { error } = await changedAfterPart(change);
      expect(error).toHaveProperty("code", "download_failed");
      expect([...world.store.list()]).toEqual([]);
      await expect
        .poll(() => world.controlPlane.all("piecesFailed").map(({ reason }) => reason))
        .toContain("origin_changed");
    },
  );

  test("never takes an encoded answer for the bytes themselves", async () => {
    const { error, bytes } = await changedAfterPart((plain) => {
      plain.headers = [["Content-Encoding", "gzip"]];
    });
    expect(error).toHaveProperty("code", "download_failed");
    expect(content.subarray(0, bytes.length).equals(bytes)).toBe(true);
  });
});

describe("credentials that an origin may take for those of the connection", () => {
  test.each(["Negotiate YIIa", "ntlm TlRM", "Kerberos a"])(
    "%s: each answer is the origin's own, nothing becomes a task, and no yes is remembered",
    async (value) => {
      const headers: HeaderList = [["Authorization", value]];
      for (let round = 0; round < 2; round++) {
        expect((await world.get(url, headers)).bytes.equals(content)).toBe(true);
        expect(asked()).toEqual(["GET whole"]);
      }
      expect(world.controlPlane.all("taskRequested")).toEqual([]);
      await world.get(url, ALICE);
      asked();
      expect((await world.get(url, headers)).bytes.equals(content)).toBe(true);
      expect(asked()).toEqual(["GET whole"]);
    },
  );
});
