import { ORIGIN_RESTS } from "@lacewing/contracts/events/reasons.ts";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
// @boundaries-ignore tests share builders that no service ships
import { bytesOf, seededContent } from "../../../../test/support/content.ts";
// @boundaries-ignore tests share builders that no service ships
import { anchoredPath, PeerWorld } from "../../../../test/support/peer-world.ts";
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
      const value = { taskId, requestId, nextByMs: 2_000, reason: ORIGIN_RESTS };
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
