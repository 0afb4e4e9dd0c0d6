import { digestOfHex } from "@lacewing/contracts/ids.ts";
import { systemClock } from "@lacewing/runtime/clock.ts";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { createHash, randomUUID } from "node:crypto";
import { ruleOf } from "../core/rules.ts";
// @boundaries-ignore tests share builders that no service ships
import { bytesOf, seededContent } from "../../../../test/support/content.ts";
// @boundaries-ignore tests share builders that no service ships
import { anchoredPath, PeerWorld } from "../../../../test/support/peer-world.ts";
// @boundaries-ignore tests share builders that no service ships
import { waitFor } from "../../../../test/support/wait-for.ts";
import { AccessCache } from "./access-cache.ts";
import { targetOf } from "./download-target.ts";
import { ForetoldDownloads } from "./foretold-downloads.ts";
import { OpeningRequests } from "./opening-request.ts";
import { PoisonedTasks } from "./poisoned-tasks.ts";
import type { ForetoldContent } from "./ports.ts";

const HOST = "http://origin.test";
const KIB = 1024;

let world: PeerWorld;
let contents: Buffer[];
beforeEach(async () => {
  world = new PeerWorld();
  contents = await Promise.all(
    ["a", "b", "c"].map((name) => bytesOf(seededContent(name, 20 * KIB))),
  );
  for (const content of contents) world.origin.add(anchoredPath(content), content);
});
afterEach(async () => world.close());

function urlOf(content: Buffer): string {
  return `${HOST}${anchoredPath(content)}`;
}

function foretold(content: Buffer, overrides: Partial<ForetoldContent> = {}): ForetoldContent {
  const digest = digestOfHex(createHash("sha256").update(content).digest("hex"));
  if (digest === undefined) throw new Error("no digest");
  return {
    url: new URL(urlOf(content)),
    rule: ruleOf({ regex: ".*" }),
    headers: [],
    digest,
    lengthBytes: content.length,
    isGranted: true,
    ...overrides,
  };
}

describe("content that was foretold", () => {
  test("is asked for at once, before any client comes, and not again when they do", async () => {
    world.onRequest((request) => world.grantOrigin(request));
    world.downloads.foretell(
      contents.map((content) => foretold(content)),
      "",
    );
    const asked = () => world.controlPlane.all("taskRequested");
    await waitFor("the questions", () => asked().length === 3);
    for (const content of contents) {
      const { bytes } = await world.get(urlOf(content));
      expect(bytes.equals(content)).toBe(true);
    }
    expect(new Set(asked().map(({ requestId }) => requestId)).size).toBe(3);
    const facts = await world.facts(3);
    expect(facts.map(({ downloadId }) => downloadId).toSorted()).toEqual(
      asked()
        .map(({ requestId }) => requestId)
        .filter((id, at, all) => all.indexOf(id) === at)
        .toSorted(),
    );
    expect(world.origin.requests).toHaveLength(3);
  });

  test("is fetched from others ahead of its client, without a byte or a question to the origin", async () => {
    const [content] = contents;
    if (content === undefined) throw new Error("no content");
    world.pieceClient.parents.set("host-b", content);
    world.onRequest((request) =>
      world.grantParent(request, { hostId: "host-b", truth: content }, [0]),
    );
    world.downloads.foretell([foretold(content)], "");
    await waitFor("the copy", () => [...world.store.list()].some(({ held }) => held.isFull));
    const { bytes } = await world.get(urlOf(content));
    expect(bytes.equals(content)).toBe(true);
    const [fact] = await world.facts(1);
    expect(fact).toMatchObject({
      probeBytes: 0,
      fetched: { remotePeer: content.length, localPeer: 0, backToSource: 0 },
      delivered: { remotePeer: content.length, localPeer: 0, backToSource: 0 },
    });
    expect(world.origin.requests).toHaveLength(0);
    await waitFor("the request to end", () => world.controlPlane.all("requestEnded").length === 1);
  });

  test("is taken from others without a question to the origin also by a client that comes before the lease", async () => {
    const [content] = contents;
    if (content === undefined) throw new Error("no content");
    world.pieceClient.parents.set("host-b", content);
    // A disk that takes its time: the client has its answer before there is a place for the content.
    const create = world.store.create.bind(world.store);
    vi.spyOn(world.store, "create").mockImplementation(async (description) => {
      await systemClock.sleep(30);
      return create(description);
    });
    const isHere = Promise.withResolvers<void>();
    world.onRequest((request) => {
      void isHere.promise.then(() =>
        world.grantParent(request, { hostId: "host-b", truth: content }, [0]),
      );
    });
    world.downloads.foretell([foretold(content)], "");
    const got = world.get(urlOf(content));
    await systemClock.sleep(20);
    isHere.resolve();
    expect((await got).bytes.equals(content)).toBe(true);
    expect(world.origin.requests).toHaveLength(0);
  });

  test("in large numbers is asked for in two parts, the second at once when a client is there already", async () => {
    world.onRequest((request) => world.grantOrigin(request));
    const many = await Promise.all(
      Array.from({ length: 20 }, async (_, at) => bytesOf(seededContent(`many-${at}`, KIB))),
    );
    for (const content of many) world.origin.add(anchoredPath(content), content);
    // The moment in which the second part is due never comes.
    vi.useFakeTimers({ toFake: ["setTimeout"] });
    world.downloads.foretell(
      many.map((content) => foretold(content)),
      "",
    );
    vi.useRealTimers();
    const asked = () => world.controlPlane.all("taskRequested").map(({ requestId }) => requestId);
    await waitFor("the first questions", () => asked().length >= 16);
    expect(asked()).toHaveLength(16);
    const last = many.at(-1);
    if (last === undefined) throw new Error("no content");
    const { bytes } = await world.get(urlOf(last));
    expect(bytes.equals(last)).toBe(true);
    await waitFor("all questions", () => new Set(asked()).size === 20);
    for (const content of many) await world.get(urlOf(content));
    expect(new Set(asked()).size).toBe(20);
  });

  test("by a server that does not own it is fetched ahead, but shown only after its owner was asked", async () => {
    const [content] = contents;
    if (content === undefined) throw new Error("no content");
    world.pieceClient.parents.set("host-b", content);
    world.onRequest((request) =>
      world.grantParent(request, { hostId: "host-b", truth: content }, [0]),
    );
    world.downloads.foretell([foretold(content, { isGranted: false })], "");
    await waitFor("the copy", () => [...world.store.list()].some(({ held }) => held.isFull));
    await world.get(urlOf(content));
    expect(world.origin.requests).toHaveLength(1);
    const [fact] = await world.facts(1);
    expect(fact).toMatchObject({ probeBytes: 1, delivered: { remotePeer: content.length } });
  });

  test("is not asked for ahead when it is large, or its URL names another content", async () => {
    const [content, other] = contents;
    if (content === undefined || other === undefined) throw new Error("no content");
    world.downloads.foretell(
      [
        foretold(content, { lengthBytes: 3 * KIB * KIB }),
        foretold(other, { digest: foretold(content).digest }),
      ],
      "",
    );
    const subjects = world.controlPlane.tries.map(({ subject }) => subject);
    expect(subjects.filter((subject) => subject.startsWith("lw.v1.ev."))).toEqual([]);
  });

  test("and whose client does not come is given back", async () => {
    const [content] = contents;
    if (content === undefined) throw new Error("no content");
    world.onRequest((request) => world.grantOrigin(request));
    world.downloads.foretell([foretold(content)], "");
    await waitFor("the request to end", () => world.controlPlane.all("requestEnded").length === 1);
    expect(world.controlPlane.all("piecesFailed")).toMatchObject([{ reason: "cancelled" }]);
    expect(world.origin.requests).toHaveLength(0);
    expect(world.registry.liveLeaseIds()).toEqual([]);
  });

  test("is shown to a client with other credentials only after the origin was asked", async () => {
    const [content] = contents;
    if (content === undefined) throw new Error("no content");
    world.onRequest((request) => world.grantOrigin(request));
    world.downloads.foretell(
      [foretold(content, { headers: [["Authorization", "Basic right"]] })],
      "",
    );
    await world.get(urlOf(content), [["Authorization", "Basic right"]]);
    expect(world.origin.requests).toHaveLength(1);
    await world.get(urlOf(content), [["Authorization", "Basic right"]]);
    expect(world.origin.requests).toHaveLength(1);
    await world.get(urlOf(content), [["Authorization", "Basic other"]]);
    expect(world.origin.requests).toHaveLength(2);
  });

  test("whose parent fails is not read from the origin before its client comes, and nobody takes the scheduler for silent", async () => {
    const [content] = contents;
    if (content === undefined) throw new Error("no content");
    let isParentAsked = false;
    world.controlPlane.onEvent = (kind) => {
      if (kind.$case === "piecesFailed") {
        const { taskId } = kind.value;
        const requestId = world.controlPlane.all("taskRequested")[0]?.requestId ?? "";
        setImmediate(() =>
          world.grant({ leaseId: "0-1-2", taskId, requestId, pieces: [{ start: 0, count: 1 }] }),
        );
        return;
      }
      if (kind.$case !== "taskRequested" || isParentAsked) return;
      isParentAsked = true;
      const request = kind.value;
      setImmediate(() => world.grantParent(request, { hostId: "nobody", truth: content }, [0]));
    };
    world.downloads.foretell([foretold(content)], "");
    await waitFor("the request to end", () => world.controlPlane.all("requestEnded").length === 1);
    expect(world.origin.requests).toHaveLength(0);
    expect(world.link.isResponsive).toBe(true);
  });
});

describe("a batch whose client goes on with it slowly", () => {
  let nowMs: number;
  let foretells: ForetoldDownloads;
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    nowMs = 10_000;
    const clock = { ...systemClock, monotonic: () => nowMs };
    const { store, origin, registry } = world;
    const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");
    const [access, poisoned] = [new AccessCache(clock), new PoisonedTasks(clock)];
    const openings = new OpeningRequests(clock);
    const parts = { store, origin, registry, access, openings, poisoned, clock, sha256 };
    foretells = new ForetoldDownloads({ ...parts, isBusy: () => false, newId: randomUUID });
    foretells.foretell(
      contents.map((content) => foretold(content)),
      "",
    );
  });
  afterEach(() => vi.useRealTimers());

  function claim(content: Buffer | undefined): boolean {
    if (content === undefined) throw new Error("no content");
    const target = { url: new URL(urlOf(content)), headers: [] };
    const { anchoredTaskId } = targetOf(target, ruleOf({ regex: ".*" }), (text) =>
      createHash("sha256").update(text).digest("hex"),
    );
    const { signal } = new AbortController();
    return anchoredTaskId !== undefined && foretells.claim(anchoredTaskId, signal) !== undefined;
  }

  function pass(ms: number): void {
    nowMs += ms;
    vi.advanceTimersByTime(ms);
  }

  test("keeps its place while something of it is asked for every two seconds", () => {
    pass(1_500);
    expect(claim(contents[0])).toBe(true);
    pass(1_500);
    expect(claim(contents[1])).toBe(true);
    pass(2_500);
    expect(claim(contents[2])).toBe(false);
  });
});

test("a copy for the host's own keeping that is taken back before it began is not fetched", async () => {
  const [content] = contents;
  if (content === undefined) throw new Error("no content");
  world.pieceClient.parents.set("host-b", content);
  const taskId = "5".repeat(64);
  world.grantParent(
    { taskId, requestId: "" },
    { hostId: "host-b", truth: content, leaseId: "0-1-9" },
    [0],
  );
  expect(world.registry.liveLeaseIds()).toEqual(["0-1-9"]);
  world.controlPlane.assign({
    $case: "leaseEnd",
    value: { leaseId: "0-1-9", taskId, reason: "retired" },
  });
  expect(world.registry.liveLeaseIds()).toEqual([]);
});
