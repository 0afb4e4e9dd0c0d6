import { createHash } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { bytesOf, seededContent } from "../support/content.ts";
import { startWorld, type World } from "../support/e2e-world.ts";
import { httpGet, type HttpGet } from "../support/http.ts";
import { type MembersOrigin, REFUSAL, startMembersOrigin } from "../support/members-origin.ts";
import { listTasks } from "../support/peer-api.ts";

/**
 * Goal: nobody gets a byte that the origin would not give to him, whoever holds it in the cluster, and nobody gets another
 * one's answer.
 *
 * Method: real peers, and servers that know members from strangers by every kind of credential. Alice is a member; Bob is
 * not, and knows everything but her credentials: URL, digest, length.
 */
const RULES = `
proxy:
  rules:
    - regex: /always/
      accessTtlMs: 0
    - regex: /open/
      access: public
    - regex: /serving/
      accessTtlMs: 0
      whenOriginDown: serve
    - regex: /plain/
`;
const MIB = 2 ** 20;

let world: World;
let members: MembersOrigin;
let attacker: MembersOrigin;
beforeAll(async () => {
  members = await startMembersOrigin("members.localhost");
  attacker = await startMembersOrigin("attacker.localhost");
  world = await startWorld({ peers: 2, seedPeers: 0, config: RULES });
});
afterAll(async () => {
  await world?.[Symbol.asyncDispose]();
  await members?.[Symbol.asyncDispose]();
  await attacker?.[Symbol.asyncDispose]();
});
beforeEach(() => {
  members.takeSeen();
  attacker.takeSeen();
});

const HOSTS = ["peer-1", "peer-2"] as const;
const digestOf = (bytes: Buffer) => createHash("sha256").update(bytes).digest("hex");

async function get(hostId: (typeof HOSTS)[number], url: string, options: HttpGet = {}) {
  return httpGet(url, { proxyUrl: world.peer(hostId).proxyUrl, ...options });
}

let fileCount = 0;
/** New content under a path that names its digest. */
async function lfsFile(folder: string, isMember?: (request: IncomingMessage) => boolean) {
  const bytes = await bytesOf(seededContent(`members ${++fileCount}`, 2 * MIB + 77));
  const path = `/${folder}/lfs/objects/${digestOf(bytes)}`;
  members.files.set(path, { bytes, ...(isMember === undefined ? {} : { isMember }) });
  return { bytes, path, url: `${members.url}${path}`, sha256: digestOf(bytes) };
}

async function expectRefused(answer: ReturnType<typeof get>): Promise<void> {
  const { status, headers, body } = await answer;
  expect({ status, reason: headers["x-reason"], body: body.toString() }).toEqual({
    status: REFUSAL.status,
    reason: REFUSAL.header,
    body: REFUSAL.body,
  });
}

describe("content that a member fetched and this cluster holds", () => {
  interface Credential {
    readonly kind: string;
    readonly alice: HttpGet["headers"];
    readonly bob: HttpGet["headers"];
    readonly query?: readonly [alice: string, bob: string];
    readonly isMember: (request: IncomingMessage) => boolean;
  }
  const credentials: readonly Credential[] = [
    {
      kind: "Authorization",
      alice: { authorization: "Basic YWxpY2U6eA==" },
      bob: { authorization: "Basic Ym9iOng=" },
      isMember: ({ headers }) => headers.authorization === "Basic YWxpY2U6eA==",
    },
    {
      kind: "a cookie",
      alice: { cookie: "theme=dark; session=alice" },
      bob: { cookie: "theme=dark; session=bob" },
      isMember: ({ headers }) => headers.cookie?.includes("session=alice") === true,
    },
    {
      kind: "a header of the server's own",
      alice: { "private-token": "alice" },
      bob: { "private-token": "bob" },
      isMember: ({ headers }) => headers["private-token"] === "alice",
    },
    {
      kind: "where the link was found",
      alice: { referer: "https://members.example/list" },
      bob: {},
      isMember: ({ headers }) => headers.referer !== undefined,
    },
    {
      kind: "a signature in the URL",
      alice: {},
      bob: {},
      query: ["?X-Amz-Signature=alice", "?X-Amz-Signature=bob"],
      isMember: ({ url }) => url?.endsWith("=alice") === true,
    },
  ];

  test.each(credentials)(
    "by $kind is refused to a stranger at every host, in the origin's own words",
    async ({ alice = {}, bob = {}, query = ["", ""], isMember }) => {
      const { url, sha256 } = await lfsFile("members", isMember);
      const [ofAlice, ofBob] = query;
      for (const hostId of HOSTS) {
        const answer = await get(hostId, `${url}${ofAlice}`, { headers: alice });
        expect(answer).toMatchObject({ status: 200, isComplete: true, sha256 });
      }
      // One copy was read; the second host got it from the first.
      const whole = members.takeSeen().filter(({ range }) => range === undefined);
      expect(whole).toHaveLength(1);
      for (const hostId of HOSTS) {
        await expectRefused(get(hostId, `${url}${ofBob}`, { headers: bob }));
        await expectRefused(get(hostId, `${url}${ofBob}`, { headers: bob, range: "5-9" }));
        await expectRefused(get(hostId, url, {}));
        const head = await get(hostId, `${url}${ofBob}`, { headers: bob, method: "HEAD" });
        expect(head).toMatchObject({ status: 403, headers: { "x-reason": REFUSAL.header } });
      }
      expect(members.takeSeen()).toHaveLength(2 * 4);
    },
  );

  test("is not asked for again for the same member, until his yes runs out", async () => {
    const alice = { headers: { "private-token": "alice" } };
    const kept = await lfsFile("kept");
    const always = await lfsFile("always");
    for (const { url } of [kept, always]) await get("peer-1", url, alice);
    members.takeSeen();
    await get("peer-1", kept.url, alice);
    await get("peer-1", kept.url, { ...alice, method: "HEAD" });
    expect(members.takeSeen()).toEqual([]);
    await get("peer-1", always.url, alice);
    expect(members.takeSeen()).toMatchObject([{ path: always.path, range: "bytes=0-0" }]);
    // A member who is none any more, under a rule that asks each time.
    members.files.set(always.path, { bytes: always.bytes, isMember: () => false });
    await expectRefused(get("peer-1", always.url, alice));
  });

  test("is given to everybody where a rule says that it is public", async () => {
    const { url, sha256 } = await lfsFile("open");
    await get("peer-1", url);
    members.takeSeen();
    const answer = await get("peer-1", url, { headers: { cookie: "somebody=else" } });
    expect(answer).toMatchObject({ status: 200, sha256 });
    expect(members.takeSeen()).toEqual([]);
  });

  test("without a digest in its URL is asked for each time, also for the same member", async () => {
    const isMember = ({ headers }: IncomingMessage) => headers["private-token"] === "alice";
    const bytes = await bytesOf(seededContent("plain", 2 * MIB));
    members.files.set("/plain/file", { bytes, isMember });
    const url = `${members.url}/plain/file`;
    const alice = { headers: { "private-token": "alice" } };
    for (let round = 0; round < 2; round++) {
      expect((await get("peer-1", url, alice)).sha256).toBe(digestOf(bytes));
      expect(members.takeSeen()).toHaveLength(1);
      await expectRefused(get("peer-1", url, { headers: { "private-token": "bob" } }));
      await expectRefused(get("peer-2", url));
      members.takeSeen();
    }
  });
});

describe("an attacker's own server", () => {
  test("that names a digest of ours, and says yes to everything, gets nothing of it", async () => {
    const { bytes, sha256, url } = await lfsFile("secret");
    await get("peer-1", url);
    const path = `/secret/lfs/objects/${sha256}`;
    attacker.files.set(path, { bytes: Buffer.alloc(bytes.length) });
    for (const hostId of HOSTS) {
      for (const range of [undefined, "0-99", `${MIB}-${MIB + 99}`]) {
        const options = range === undefined ? {} : { range };
        const answer = await get(hostId, `${attacker.url}${path}`, options);
        // Its own zeros, or nothing.
        expect(answer.status >= 500 || answer.body.every((byte) => byte === 0)).toBe(true);
        expect(answer.isComplete && answer.sha256 === sha256).toBe(false);
      }
    }
    // What is held of the true one is still there, and right.
    expect((await get("peer-1", url)).sha256).toBe(sha256);
  });

  test("that redirects to ours gets what a stranger gets: the credentials stay with the server they are for", async () => {
    const { url } = await lfsFile("members", ({ headers }) => headers.authorization !== undefined);
    const headers = { authorization: "Basic YWxpY2U6eA==" };
    await get("peer-1", url, { headers });
    attacker.files.set("/plain/redirect", {
      bytes: Buffer.alloc(0),
      answer: (_request, response) => response.writeHead(302, { location: url }).end(),
    });
    // The stranger's redirect, for the client to follow: it knows itself what it shows there.
    const answer = await get("peer-1", `${attacker.url}/plain/redirect`, { headers });
    expect(answer).toMatchObject({ status: 302, headers: { location: url } });
    expect(answer.body).toHaveLength(0);
    const asked = members.takeSeen().filter(({ path }) => url.endsWith(path));
    expect(asked.map(({ authorization }) => authorization)).toEqual([
      headers.authorization,
      undefined,
    ]);
    await expectRefused(get("peer-1", url, {}));
  });

  test("to which ours redirects cannot name content of ours by its headers", async () => {
    const { bytes, url, sha256 } = await lfsFile("secret");
    await get("peer-1", url);
    members.files.set("/plain/open-redirect", {
      bytes: Buffer.alloc(0),
      answer: (_request, response) =>
        response.writeHead(302, { location: `${attacker.url}/claim` }).end(),
    });
    const digest = Buffer.from(sha256, "hex").toString("base64");
    attacker.files.set("/claim", {
      bytes: Buffer.alloc(bytes.length),
      headers: { "x-linked-etag": `"${sha256}"`, "repr-digest": `sha-256=:${digest}:` },
    });
    const answer = await get("peer-1", `${members.url}/plain/open-redirect`);
    expect(answer.status).toBe(200);
    expect(answer.body.every((byte) => byte === 0)).toBe(true);
  });
});

describe("while the origin is down", () => {
  test("content is refused, or served where a rule says so", async () => {
    const gone = await startMembersOrigin("gone.localhost");
    const bytes = await bytesOf(seededContent("gone", 2 * MIB));
    const paths = ["always", "serving"].map((folder) => `/${folder}/lfs/${digestOf(bytes)}`);
    for (const path of paths) {
      gone.files.set(path, { bytes });
      expect((await get("peer-1", `${gone.url}${path}`)).status).toBe(200);
    }
    await gone[Symbol.asyncDispose]();
    const [refusing, serving] = await Promise.all(
      paths.map(async (path) => get("peer-1", `${gone.url}${path}`)),
    );
    expect(refusing?.status).toBe(502);
    expect(refusing?.body.toString()).toContain("cannot reach gone.localhost");
    expect(serving).toMatchObject({ status: 200, sha256: digestOf(bytes) });
  });
});

describe("an answer that is one client's own", () => {
  test.each<[string, Record<string, string>]>([
    ["private", { "cache-control": "max-age=60, private" }],
    ["not to be stored", { "cache-control": "no-store" }],
    ["with a cookie", { "set-cookie": "session=1" }],
    ["of a server that looks at everything", { vary: "*" }],
    ["of a server that looks at the language", { vary: "Accept-Encoding, Accept-Language" }],
    ["of a server that looks at the cookie", { vary: "Cookie" }],
    ["encoded", { "content-encoding": "gzip", vary: "Accept-Encoding" }],
    ["with a weak validator", { etag: 'W/"1"' }],
  ])("%s reaches that client alone, and is not kept", async (what, headers) => {
    const path = `/plain/own/${what.replaceAll(" ", "-")}`;
    let count = 0;
    // One validator for all of them: only the answer's own words tell that they are not the same.
    members.files.set(path, {
      bytes: Buffer.alloc(0),
      answer: (request, response) => {
        const name = String(request.headers["x-name"]).padEnd(64, ".");
        const own: Record<string, string> = {
          etag: '"same"',
          "content-length": String(name.length),
          ...headers,
        };
        if (own["set-cookie"] !== undefined) own["set-cookie"] = `session=${++count}`;
        response.writeHead(200, own).end(name);
      },
    });
    const before = (await Promise.all(HOSTS.map(async (id) => listTasks(world.peer(id))))).flat();
    for (const name of ["alice", "bob"]) {
      for (const hostId of HOSTS) {
        const answer = await get(hostId, `${members.url}${path}`, { headers: { "x-name": name } });
        expect(answer.body.toString()).toBe(name.padEnd(64, "."));
        const cookie = headers["set-cookie"] === undefined ? undefined : [`session=${count}`];
        expect(answer.headers["set-cookie"]).toEqual(cookie);
      }
    }
    const after = (await Promise.all(HOSTS.map(async (id) => listTasks(world.peer(id))))).flat();
    expect(after.length).toBe(before.length);
  });

  test("private is shared when its digest is known, and its cookie is still one client's own", async () => {
    const { bytes, path, url, sha256 } = await lfsFile("always");
    let count = 0;
    members.files.set(path, {
      bytes,
      get headers() {
        return { "cache-control": "private", "set-cookie": `session=${++count}` };
      },
    });
    const cookies = new Set<string>();
    for (const name of ["alice", "bob"]) {
      const answer = await get("peer-1", url, { headers: { "x-name": name } });
      expect(answer.sha256).toBe(sha256);
      cookies.add(String(answer.headers["set-cookie"]));
    }
    expect(cookies.size).toBe(2);
    const whole = members.takeSeen().filter(({ range }) => range === undefined);
    expect(whole).toHaveLength(1);
  });
});
