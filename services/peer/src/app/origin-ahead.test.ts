import { digestOfHex } from "@lacewing/contracts/ids.ts";
import { systemClock } from "@lacewing/runtime/clock.ts";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { createHash } from "node:crypto";
import { ruleOf, type RuleSpec } from "../core/rules.ts";
// @boundaries-ignore tests share builders that no service ships
import { bytesOf, seededContent } from "../../../../test/support/content.ts";
// @boundaries-ignore tests share builders that no service ships
import { anchoredPath, PeerWorld } from "../../../../test/support/peer-world.ts";
// @boundaries-ignore tests share builders that no service ships
import { waitFor } from "../../../../test/support/wait-for.ts";
import type { ForetoldContent } from "./ports.ts";

const HOST = "http://origin.test";
/** What is read of one batch ahead of its client. */
const AHEAD_COUNT = 16;

let world: PeerWorld;
let contents: Buffer[];
/** How long the origin takes to begin an answer, by the world's clock. */
let distanceMs: number;

beforeEach(async () => {
  distanceMs = 20;
  let passedMs = 0;
  const clock = { ...systemClock, monotonic: () => systemClock.monotonic() + passedMs };
  world = new PeerWorld({ clock });
  world.origin.beforeAnswer = () => {
    passedMs += distanceMs;
  };
  world.onRequest((request) => world.grantOrigin(request));
  const names = Array.from({ length: AHEAD_COUNT + 4 }, (_, index) => `content-${index}`);
  contents = await Promise.all(names.map((name) => bytesOf(seededContent(name, 3000))));
  for (const content of contents) world.origin.add(anchoredPath(content), content);
});
afterEach(async () => world.close());

function at(index: number): Buffer {
  const content = contents[index];
  if (content === undefined) throw new Error("no content");
  return content;
}

function urlOf(content: Buffer): string {
  return `${HOST}${anchoredPath(content)}`;
}

function foretell(
  batch: readonly Buffer[],
  rule: Partial<RuleSpec> = {},
  overrides: Partial<ForetoldContent> = {},
): void {
  const foretold = batch.map((content): ForetoldContent => {
    const digest = digestOfHex(createHash("sha256").update(content).digest("hex"));
    if (digest === undefined) throw new Error("no digest");
    return {
      url: new URL(urlOf(content)),
      rule: ruleOf({ regex: ".*", ...rule }),
      headers: [],
      digest,
      lengthBytes: content.length,
      isGranted: false,
      ...overrides,
    };
  });
  world.downloads.foretell(foretold, "");
}

/** Holds the origin's answers back, each for longer than it takes anyway, until the returned function is called. */
function hold(): () => void {
  const gate = Promise.withResolvers<void>();
  const { beforeAnswer } = world.origin;
  world.origin.beforeAnswer = async (request) => {
    await gate.promise;
    await beforeAnswer(request);
  };
  return gate.resolve;
}

/** By this the host knows how far away the origin is. */
async function askOnce(): Promise<void> {
  const first = await bytesOf(seededContent("first", 10));
  world.origin.add(anchoredPath(first), first);
  await world.get(urlOf(first));
}

/** Requests to the origin for what was foretold, by path. */
function asked(): readonly string[] {
  return world.origin.requests.slice(1).map(({ url }) => url.pathname);
}

async function questions(count: number): Promise<void> {
  await waitFor("the scheduler's word", () => world.registry.liveLeaseIds().length >= count);
}

describe("small contents that nobody holds, of an origin that is far away,", () => {
  test("are read before their client comes, which pays for them and asks nobody", async () => {
    await askOnce();
    const batch = [at(0), at(1), at(2)];
    foretell(batch);
    await waitFor("the copies", () => batch.every((content) => isHeld(content)));
    expect(asked()).toEqual(batch.map((content) => anchoredPath(content)));
    for (const content of batch) {
      const { bytes } = await world.get(urlOf(content));
      expect(bytes.equals(content)).toBe(true);
    }
    expect(asked()).toHaveLength(3);
    const facts = await world.facts(4);
    const counts = { remotePeer: 0, localPeer: 0, backToSource: 3000 };
    for (const fact of facts.slice(1)) {
      expect(fact).toMatchObject({ probeBytes: 0, fetched: counts, delivered: counts });
    }
    await waitFor("the requests to end", () => world.controlPlane.all("requestEnded").length >= 3);
    expect(world.controlPlane.all("piecesFailed")).toEqual([]);
    const held = world.controlPlane.all("taskDescribed").map(({ taskId }) => taskId);
    expect(new Set(held).size).toBe(4);
  });

  test("are read a few at a time, and one more for each that its client came for", async () => {
    await askOnce();
    foretell(contents);
    const copies = () => contents.filter((content) => isHeld(content));
    await waitFor("the copies", () => copies().length === AHEAD_COUNT);
    await questions(contents.length - AHEAD_COUNT);
    expect(asked()).toHaveLength(AHEAD_COUNT);
    const [one] = copies();
    if (one === undefined) throw new Error("no copy");
    await world.get(urlOf(one));
    await waitFor("one more", () => copies().length > AHEAD_COUNT);
    expect(asked()).toHaveLength(AHEAD_COUNT + 1);
  });

  test("arrive for a client that comes while the origin is being asked", async () => {
    await askOnce();
    const release = hold();
    foretell([at(0)]);
    await waitFor("the question", () => asked().length === 1);
    const { done } = world.client(urlOf(at(0)));
    release();
    expect((await done).bytes.equals(at(0))).toBe(true);
    expect(asked()).toHaveLength(1);
  });

  test("are not read on for a client that left while the origin was being asked", async () => {
    await askOnce();
    const release = hold();
    foretell([at(0)]);
    await waitFor("the question", () => asked().length === 1);
    const client = world.client(urlOf(at(0)));
    client.leave();
    release();
    await expect(client.done).rejects.toThrow("left");
    await waitFor("the request to end", () => world.registry.liveLeaseIds().length === 0);
    expect(isHeld(at(0))).toBe(false);
  });

  test("are shown to a client with other credentials only after the origin was asked", async () => {
    await askOnce();
    foretell([at(0)]);
    await waitFor("the copy", () => isHeld(at(0)));
    await world.get(urlOf(at(0)), [["Authorization", "Basic other"]]);
    expect(asked()).toHaveLength(2);
  });

  test("are not read ahead any more once the origin has refused one, and its client gets the refusal", async () => {
    await askOnce();
    for (const content of contents)
      world.origin.add(anchoredPath(content), content, { status: 403 });
    foretell(contents);
    await questions(contents.length);
    const askedAhead = asked().length;
    expect(askedAhead).toBeLessThan(contents.length);
    for (const content of contents) {
      const { answer } = await world.get(urlOf(content));
      expect(answer.status).toBe(403);
    }
    expect(asked()).toHaveLength(askedAhead + contents.length);
  });

  test("and that came in vain leave their client to the origin's own word", async () => {
    await askOnce();
    const gate = Promise.withResolvers<void>();
    const content = await bytesOf(seededContent("broken off", 200_000));
    const file = world.origin.add(anchoredPath(content), content, {
      gate: { atBytes: 32_768, opened: gate.promise },
    });
    foretell([content]);
    const ended = () => world.controlPlane.all("requestEnded").length;
    await waitFor("the request to lapse", () => ended() === 2);
    gate.resolve();
    file.status = 403;
    foretell([content], {}, { isGranted: true });
    await waitFor("the refusal", () => asked().length === 2);
    expect((await world.get(urlOf(content))).answer.status).toBe(403);
    expect(asked()).toHaveLength(3);
  });

  test("fail for a client that waits for them when the origin cannot be reached, without another try", async () => {
    await askOnce();
    const release = hold();
    const file = world.origin.add(anchoredPath(at(0)), at(0));
    file.isDown = true;
    foretell([at(0)]);
    await waitFor("the question", () => asked().length === 1);
    const { done } = world.client(urlOf(at(0)));
    release();
    await expect(done).rejects.toThrow("refused");
    expect(asked()).toHaveLength(1);
  });

  test("are not kept when they are longer than the batch says", async () => {
    await askOnce();
    foretell([at(0)], {}, { lengthBytes: 2999 });
    await waitFor("the question", () => asked().length === 1);
    expect((await world.get(urlOf(at(0)))).bytes.equals(at(0))).toBe(true);
    expect(asked()).toHaveLength(2);
  });

  test("are not asked for when their lease was taken back", async () => {
    await askOnce();
    world.isBusy = true;
    foretell([at(0), at(1)]);
    await questions(2);
    for (const leaseId of world.registry.liveLeaseIds()) {
      const taskId = "";
      const value = { leaseId, taskId, reason: "shared" };
      for (const { taskId: id } of world.controlPlane.all("taskRequested"))
        world.controlPlane.assign({ $case: "leaseEnd", value: { ...value, taskId: id } });
    }
    world.isBusy = false;
    await world.get(urlOf(at(0)));
    expect(asked()).toEqual([anchoredPath(at(0))]);
  });

  test("are read on when the client of one of them leaves", async () => {
    await askOnce();
    const release = hold();
    foretell(contents);
    await waitFor("the questions", () => asked().length === AHEAD_COUNT);
    const asking = contents.find((content) => asked().includes(anchoredPath(content)));
    const client = world.client(urlOf(asking ?? at(0)));
    client.leave();
    release();
    await expect(client.done).rejects.toThrow("left");
    const copies = () => contents.filter((content) => isHeld(content));
    await waitFor("the others", () => copies().length === AHEAD_COUNT);
    await world.get(urlOf(copies()[0] ?? at(0)));
    await waitFor("one more", () => asked().length === AHEAD_COUNT + 2);
  });

  test("are no more than 64 at a time, however many batches there are", async () => {
    await askOnce();
    const release = hold();
    const names = Array.from({ length: 80 }, (_, index) => `one-${index}`);
    const many = await Promise.all(names.map((name) => bytesOf(seededContent(name, 100))));
    for (const content of many) {
      world.origin.add(anchoredPath(content), content);
      foretell([content]);
    }
    await questions(many.length);
    await waitFor("the questions", () => asked().length >= 64);
    expect(asked()).toHaveLength(64);
    release();
    const [first] = many.filter((content) => asked().includes(anchoredPath(content)));
    await world.get(urlOf(first ?? at(0)));
    await waitFor("one of another batch", () => asked().length === 65);
  });

  test("are not read ahead of the next batch either when the origin asks to be left alone", async () => {
    await askOnce();
    world.origin.add(anchoredPath(at(0)), at(0), { status: 429, retryAfter: "5" });
    foretell([at(0)]);
    await waitFor("the refusal", () => asked().length === 1);
    foretell([at(1), at(2)]);
    await questions(3);
    expect(asked()).toHaveLength(1);
  });

  test("and whose client does not come are given back: what arrived is kept", async () => {
    await askOnce();
    foretell(contents);
    const ended = () => world.controlPlane.all("requestEnded").length;
    await waitFor("the requests to end", () => ended() >= contents.length + 1);
    expect(asked()).toHaveLength(AHEAD_COUNT);
    expect(world.registry.liveLeaseIds()).toEqual([]);
    expect(contents.filter((content) => isHeld(content))).toHaveLength(AHEAD_COUNT);
  });
});

describe("small contents that nobody holds are not read ahead", () => {
  test("of an origin that is near", async () => {
    distanceMs = 2;
    await askOnce();
    foretell(contents);
    await questions(contents.length);
    expect(asked()).toEqual([]);
  });

  test("by a host that has no time left", async () => {
    await askOnce();
    world.isBusy = true;
    foretell(contents);
    await questions(contents.length);
    expect(asked()).toEqual([]);
  });

  test("of one that was not asked yet", async () => {
    foretell(contents);
    await questions(contents.length);
    expect(world.origin.requests).toEqual([]);
  });

  test("of one that is to be asked for each client", async () => {
    await askOnce();
    foretell(contents, { accessTtlMs: 0 });
    await questions(contents.length);
    expect(asked()).toEqual([]);
  });
});

function isHeld(content: Buffer): boolean {
  const hex = createHash("sha256").update(content).digest("hex");
  return [...world.store.list()].some(
    ({ description, held }) => description.anchor === `sha256:${hex}` && held.isFull,
  );
}
