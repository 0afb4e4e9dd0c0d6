import { ORIGIN_RESTS } from "@lacewing/contracts/events/reasons.ts";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
// @boundaries-ignore tests share builders that no service ships
import { bytesOf, seededContent } from "../../../../test/support/content.ts";
// @boundaries-ignore tests share builders that no service ships
import { anchoredPath, layoutOf, PeerWorld } from "../../../../test/support/peer-world.ts";
// @boundaries-ignore tests share builders that no service ships
import type { ScriptedFile } from "../../../../test/support/scripted-origin.ts";
// @boundaries-ignore tests share builders that no service ships
import { waitFor } from "../../../../test/support/wait-for.ts";

const MIB = 2 ** 20;

let world: PeerWorld;
let content: Buffer;
let url: string;
let file: ScriptedFile;
beforeEach(async () => {
  world = new PeerWorld({ isHurried: true });
  content = await bytesOf(seededContent("refusals", 2 * MIB + 5));
  url = `http://origin.test${anchoredPath(content)}`;
  file = world.origin.add(anchoredPath(content), content);
});
afterEach(async () => world.close());

const told = () =>
  world.controlPlane.all("piecesFailed").map(({ leaseId, reason, retryAfterMs }) => {
    return `${leaseId} ${reason} ${retryAfterMs}`;
  });

describe("an origin that asks to be left alone", () => {
  test("at the opening request: the client gets its answer, the scheduler how long", async () => {
    file.status = 429;
    file.retryAfter = "17";
    world.onRequest((request) => world.grantOrigin(request, "0-1-1"));
    const { answer, bytes } = await world.get(url);
    expect([answer.status, bytes.toString()]).toEqual([429, "none"]);
    expect(answer.headers).toContainEqual(["Retry-After", "17"]);
    await expect.poll(told).toEqual([" origin_refused 17000", "0-1-1 origin_refused 0"]);
  });

  test("another client: this one's own good answer is told to the scheduler, and it need not wait", async () => {
    const isDescribed = (): boolean => world.controlPlane.all("taskDescribed").length > 0;
    world.onRequest(({ taskId, requestId }) => {
      const value = { taskId, requestId, nextByMs: 2_000, reason: ORIGIN_RESTS, lengthBytes: 0 };
      world.controlPlane.assign({ $case: "pending", value });
    });
    const client = world.client(url);
    await waitFor("the good answer is told", isDescribed);
    expect(world.controlPlane.all("taskRequested")).toHaveLength(2);
    world.grantOrigin(world.waiting);
    expect((await client.done).bytes.equals(content)).toBe(true);
  });

  test("in the middle, for a moment: it is, and then read on from where it stopped", async () => {
    world.controlPlane.isConnected = false;
    file.breaksAfterBytes = MIB;
    world.origin.beforeAnswer = () => {
      file.status = world.origin.requests.length === 2 ? 503 : undefined;
      file.retryAfter = "8";
    };
    const { bytes } = await world.get(url);
    expect(bytes.equals(content)).toBe(true);
    expect(world.origin.sentBytes).toBe(content.length);
    expect(world.sleeps).toContain(8_000);
  });

  test("in the middle, for longer than clients wait: the client is broken off and told why, at once", async () => {
    file.breaksAfterBytes = MIB;
    world.origin.beforeAnswer = () => {
      file.status = world.origin.requests.length > 1 ? 429 : undefined;
      file.retryAfter = "3600";
    };
    world.onRequest((request) => world.grantOrigin(request));
    const client = world.client(url);
    const { error } = await client.done;
    expect(String(error)).toMatch(/asks to be left alone for 3600000 ms: the origin answered 429/);
    expect(world.origin.requests).toHaveLength(2);
    await expect.poll(told).toContainEqual(expect.stringMatching(/ origin_refused 3600000$/));
  });

  test.each([true, false])(
    "in the middle, one client for longer than it waits: another client's credentials bring it to both (scheduler: %s)",
    async (isScheduled) => {
      world.controlPlane.isConnected = isScheduled;
      const gate = Promise.withResolvers<void>();
      file.breaksAfterBytes = MIB;
      file.gate = { atBytes: MIB, opened: gate.promise };
      let isBusy = false;
      // Whoever comes first.
      let refused: string | undefined;
      world.origin.beforeAnswer = ({ headers }) => {
        const [[, token] = []] = headers;
        if (isBusy) refused ??= token;
        file.status = isBusy && token === refused ? 429 : undefined;
        file.retryAfter = "3600";
      };
      let grants = 0;
      world.onRequest((request) => world.grantOrigin(request, `0-1-${++grants}`));
      const alice = world.client(url, [["Private-Token", "alice"]]);
      await waitFor("the first piece", () => alice.received() > 0);
      const bob = world.client(url, [["Private-Token", "bob"]]);
      await waitFor("bytes of the other", () => bob.received() > 0);
      isBusy = true;
      gate.resolve();
      for (const { bytes, error } of await Promise.all([alice.done, bob.done])) {
        expect(error).toBeUndefined();
        expect(bytes.equals(content)).toBe(true);
      }
      expect(refused).toBeDefined();
    },
  );
});

describe("an origin that lets a client in, and refuses it before it got a byte", () => {
  const refuseAfterProbe = (
    status: number,
    isRefused = (_token: string): boolean => true,
  ): void => {
    world.origin.beforeAnswer = ({ range, headers }) => {
      const isProbe = range?.start === 0 && range.end === 1;
      file.status = !isProbe && isRefused(headers[0]?.[1] ?? "") ? status : undefined;
    };
  };

  test.each([401, 403, 302])("with %i: the client gets that answer at once", async (status) => {
    refuseAfterProbe(status);
    world.onRequest((request) => world.grantOrigin(request));
    const { error } = await world.get(url, [["Range", "bytes=5-"]]);
    expect(error).toMatchObject({
      name: "OriginRefused",
      refusal: { status, body: Buffer.from("none") },
    });
    expect(world.origin.requests).toHaveLength(2);
    await expect.poll(told).toContainEqual(expect.stringMatching(/ origin_refused 0$/));
  });

  test("another client is let in: both get the content by that", async () => {
    const [alice, bob] = ["alice", "bob"].map((name) => [["Private-Token", name]] as const);
    refuseAfterProbe(403, (token) => token === "alice");
    world.controlPlane.isConnected = false;
    const range = [["Range", "bytes=0-2000000"]] as const;
    const clients = [alice, bob].map((own) => world.client(url, [...(own ?? []), ...range]));
    for (const { bytes, error } of await Promise.all(clients.map(({ done }) => done))) {
      expect(error).toBeUndefined();
      expect(bytes.equals(content.subarray(0, 2_000_001))).toBe(true);
    }
  });

  test("another one too: neither is told what the other one was", async () => {
    refuseAfterProbe(403);
    world.controlPlane.isConnected = false;
    const clients = ["alice", "bob"].map((name) =>
      world.client(url, [
        ["Private-Token", name],
        ["Range", "bytes=0-2000000"],
      ]),
    );
    for (const { error } of await Promise.all(clients.map(({ done }) => done)))
      expect(error).toMatchObject({ name: "DownloadFailure", message: "the origin answered 403" });
  });

  test("other hosts have it: they bring it", async () => {
    refuseAfterProbe(403);
    world.pieceClient.parents.set("host-b", content);
    const parent = { hostId: "host-b", truth: content };
    const refused = () =>
      waitFor("the refusal", () => world.log.entries.some(({ event }) => event === "fetch failed"));
    world.pieceClient.beforeChunk = async () => {
      await refused();
    };
    world.onRequest((request) => {
      const { taskId, requestId } = request;
      const pieces = [{ start: 0, count: 1 }];
      world.grant({ leaseId: "0-1-2", taskId, requestId, pieces, ...layoutOf(content) });
      world.grantParent(request, parent, [1, 2]);
    });
    const client = world.client(url, [["Range", "bytes=0-"]]);
    await refused();
    world.grantParent(world.waiting, parent, [0]);
    const { error, bytes } = await client.done;
    expect(error).toBeUndefined();
    expect(bytes.equals(content)).toBe(true);
  });

  test("after a byte of the content it is asked again, as it may be for a moment", async () => {
    world.controlPlane.isConnected = false;
    file.breaksAfterBytes = MIB;
    world.origin.beforeAnswer = () => {
      file.status = world.origin.requests.length === 2 ? 403 : undefined;
    };
    const { bytes } = await world.get(url);
    expect(bytes.equals(content)).toBe(true);
  });
});

describe("credentials that count for one request", () => {
  const digest = ["Authorization", 'Digest username="u", nonce="n", nc=00000001'] as const;
  const signed = [
    "Authorization",
    "AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host;range, Signature=c",
  ] as const;

  test.each([
    ["Digest", digest],
    ["a signature of the range", signed],
  ])("%s: the request goes to the origin as it came, once", async (_name, field) => {
    world.onRequest((request) => world.grantOrigin(request));
    const headers = [field, ["Range", "bytes=5-9"], ["If-Range", file.etag]] as const;
    const { answer, bytes } = await world.get(url, headers);
    expect([answer.status, bytes.equals(content.subarray(5, 10))]).toEqual([206, true]);
    expect(world.origin.requests).toHaveLength(1);
    expect(world.origin.requests[0]).toMatchObject({ headers, isAsItCame: true });
    expect([...world.store.list()]).toHaveLength(0);
    expect(await world.facts(1)).toMatchObject([{ outcome: "finished" }]);
  });

  test("what is held for everybody needs none; for others the origin is asked by the client's own request", async () => {
    world.onRequest((request) => world.grantOrigin(request));
    await world.get(url);
    const { length } = world.origin.requests;
    await world.get(url, [digest], { access: "public" });
    expect(world.origin.requests).toHaveLength(length);
    file.status = 401;
    const { answer } = await world.get(url, [digest]);
    expect(answer.status).toBe(401);
    expect(world.origin.requests.slice(length)).toMatchObject([
      { range: undefined, isAsItCame: true },
    ]);
  });

  test("a HEAD goes on as it came too", async () => {
    await world.client(url, [signed, ["Range", "bytes=0-1"]], {}, "HEAD").done;
    expect(world.origin.requests).toMatchObject([{ method: "HEAD", isAsItCame: true }]);
  });
});
