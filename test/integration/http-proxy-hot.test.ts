import { parseProxyUsers } from "@lacewing/peer/adapters/http-proxy/proxy-users.ts";
import { TALLIED_BYTES_MAX } from "@lacewing/peer/app/hit-tally.ts";
import { describe, expect, test } from "vitest";
import { bytesOf, seededContent } from "../support/content.ts";
import { type HotWorld, startHotWorld } from "../support/hot-world.ts";
import { RawClient } from "../support/http-proxy-world.ts";
import { waitFor } from "../support/wait-for.ts";

/**
 * Goal: an answer that is given again without the download flow is the one that the flow would have given, byte for byte, to
 * exactly those who would have got it, for as long as it is so, and each counts.
 *
 * Method: a real port before a real flow; whether a request went through the flow is counted there. `X-Flow` makes one go
 * that way, because a field that is not known may mean something.
 */
const LENGTH = 20 * 1024;
const FLOW = ["X-Flow: 1"];

/** Content that was answered so often that it is answered from memory now. @returns its URL. */
async function hotContent(world: HotWorld, form: "prefix" | "absolute" = "absolute") {
  const content = await bytesOf(seededContent("hot", LENGTH));
  const url = world.offer(content);
  const target = form === "prefix" ? `/url/${url}` : url;
  // From the origin, from the store, from memory.
  for (let count = 0; count < 3; count++) await world.ask(target);
  expect(world.flowCount()).toBe(2);
  return { content, target };
}

describe.each(["absolute", "prefix"] as const)("asked for in %s form", (form) => {
  test("a hot answer is the flow's own, byte for byte", async () => {
    await using world = await startHotWorld();
    const { content, target } = await hotContent(world, form);
    const hot = await world.ask(target, ["User-Agent: x", "Accept-Encoding: gzip"]);
    expect(world.flowCount()).toBe(2);
    const flow = await world.ask(target, FLOW);
    expect(world.flowCount()).toBe(3);
    expect(hot).toBe(flow);
    expect(hot.startsWith("HTTP/1.1 200 OK\r\n")).toBe(true);
    expect(hot.endsWith(`\r\n\r\n${content.toString("latin1")}`)).toBe(true);
    expect(hot).toMatch(/\r\nlacewing-verified: content\r\n/);
    expect(world.told()).toEqual({ finished: 5, gone: 0, bytes: 5 * LENGTH });
  });
});

describe("between hot answers", () => {
  test.each<[string, readonly string[], string, string]>([
    ["a range", ["Range: bytes=1-2"], "GET", "206 Partial Content"],
    ["a condition", ["If-None-Match: *"], "GET", "304 Not Modified"],
    ["a HEAD", [], "HEAD", "200 OK"],
    ["credentials", ["Authorization: Basic eDp5"], "GET", "200 OK"],
    ["a cookie", ["Cookie: a=b"], "GET", "200 OK"],
    ["no-store", ["Cache-Control: no-store"], "GET", "200 OK"],
    ["an ended connection", ["Connection: close"], "GET", "200 OK"],
  ])("%s is answered by the flow", async (_what, fields, method, status) => {
    await using world = await startHotWorld();
    const { target } = await hotContent(world);
    const hot = await world.ask(target);
    const other = await world.ask(target, fields, method);
    expect(other.startsWith(`HTTP/1.1 ${status}\r\n`)).toBe(true);
    expect(world.flowCount()).toBe(3);
    expect(await world.ask(target)).toBe(hot);
    expect(world.flowCount()).toBe(3);
  });

  test("a request that is traced is recorded by itself, in its trace", async () => {
    await using world = await startHotWorld();
    const { target } = await hotContent(world);
    world.told();
    const factsBefore = [...world.peer.journal.facts.keys()];
    const traceId = "4bf92f3577b34da6a3ce929d0e0e4736";
    for (const spanId of ["00f067aa0ba902b7", "00f067aa0ba902b8"]) {
      await world.ask(target, [`traceparent: 00-${traceId}-${spanId}-01`]);
    }
    expect(world.flowCount()).toBe(4);
    const isTold = (): boolean => world.told().finished === 5;
    await waitFor("both accounts", isTold);
    const told = [...world.peer.journal.facts.values()].slice(factsBefore.length);
    expect(told.map(({ requestCount }) => requestCount)).toEqual([1, 1]);
  });

  test("a hit that has a record of its own is answered and told as ever", async () => {
    await using world = await startHotWorld();
    const { target } = await hotContent(world);
    expect(world.peer.tally.hasRecord).toBe(false);
    Object.defineProperty(world.peer.tally, "hasRecord", { get: () => true });
    await world.ask(target);
    expect(world.flowCount()).toBe(3);
  });

  test("what refuses a request refuses it", async () => {
    await using world = await startHotWorld();
    const { target } = await hotContent(world, "prefix");
    const refusals: readonly (readonly [readonly string[], number])[] = [
      [["Host: evil.example"], 403],
      [["Sec-Fetch-Site: cross-site"], 403],
      [["Origin: http://evil.example"], 403],
      [["Host: a b"], 400],
      [["Host: localhost", "Host: localhost"], 400],
    ];
    for (const [fields, status] of refusals) {
      expect((await world.ask(target, fields)).slice(9, 12)).toBe(String(status));
    }
    expect(world.flowCount()).toBe(2);
  });

  test("who has to say who he is does so each time", async () => {
    const users = parseProxyUsers("ann:correct-horse-battery", "users");
    await using world = await startHotWorld({ access: { users } });
    const url = world.offer(await bytesOf(seededContent("hot", LENGTH)));
    const pair = Buffer.from("ann:correct-horse-battery").toString("base64");
    for (let count = 0; count < 3; count++) {
      const answer = await world.ask(url, [`Proxy-Authorization: Basic ${pair}`]);
      expect(answer.startsWith("HTTP/1.1 200 OK")).toBe(true);
    }
    expect(await world.ask(url)).toMatch(/^HTTP\/1.1 407 /);
  });
});

describe("a hot answer is not given any more when", () => {
  const changes: readonly (readonly [string, (world: HotWorld) => Promise<void> | void])[] = [
    [
      "the copy is removed",
      async ({ peer }) => peer.store.remove(theTask(peer).description.taskId),
    ],
    [
      "the copy is known to be wrong",
      ({ peer }) => {
        peer.store.get(theTask(peer).description.taskId)?.unprove();
      },
    ],
    [
      "its content was poisoned",
      ({ peer }) => peer.poisoned.note(theTask(peer).description.taskId),
    ],
    [
      "the copy is damaged",
      async ({ peer }) => {
        const task = theTask(peer);
        task.bytes.fill(0, 10, 20);
        expect(await task.recheck([0])).toEqual([0]);
      },
    ],
    [
      "the copy is another one",
      async (world) => {
        const { taskId, ...rest } = theTask(world.peer).description;
        const { bytes } = theTask(world.peer);
        await world.peer.store.remove(taskId);
        const task = await world.peer.store.create({ taskId, ...rest });
        if (typeof task === "string") throw new Error(task);
        await task.write(bytes, 0);
        await task.commitPiece(0, undefined);
        await task.markVerified();
      },
    ],
  ];

  test.each(changes)("%s: the flow answers, with the right bytes", async (_what, change) => {
    await using world = await startHotWorld();
    const { content, target } = await hotContent(world);
    await change(world);
    const answer = await world.ask(target);
    expect(world.flowCount()).toBe(3);
    expect(answer.endsWith(`\r\n\r\n${content.toString("latin1")}`)).toBe(true);
  });

  const theTask = (peer: HotWorld["peer"]) => {
    const [task] = peer.store.list();
    if (task === undefined) throw new Error("nothing is held");
    return task;
  };
});

test("where the origin says who may have it, nothing is answered from memory", async () => {
  await using world = await startHotWorld({ rule: { access: "origin" } });
  const url = world.offer(await bytesOf(seededContent("hot", LENGTH)));
  for (let count = 0; count < 4; count++) await world.ask(url);
  expect(world.flowCount()).toBe(4);
});

test("content of more than a small one's size is answered by the flow", async () => {
  await using world = await startHotWorld();
  const url = world.offer(await bytesOf(seededContent("large", 200 * 1024)));
  for (let count = 0; count < 4; count++) await world.ask(url);
  expect(world.flowCount()).toBe(4);
});

test("a client's pace holds for hot answers, and one that leaves while it waits is counted as gone", async () => {
  const gate = Promise.withResolvers<undefined>();
  const waits: number[] = [];
  await using world = await startHotWorld({
    clientBytesPerSecond: 40 * LENGTH,
    sleep: async (ms) => {
      waits.push(ms);
      await gate.promise;
    },
  });
  const { target } = await hotContent(world);
  // What it has saved up is used by now.
  await world.ask(target);
  expect(waits).toEqual([]);
  const client = new RawClient(world.port);
  client.send(`GET ${target} HTTP/1.1\r\nHost: o\r\n\r\n`);
  await waitFor("its wait", () => waits.length === 1);
  expect(client.received).toBe("");
  client.socket.destroy();
  await new Promise((resolve) => client.socket.once("close", resolve));
  // The port has heard of it, too.
  await world.ask("/healthz");
  // Its account is closed although its turn never comes.
  await waitFor("its account", () => world.told().gone === 1);
  expect(world.told()).toEqual({ finished: 4, gone: 1, bytes: 4 * LENGTH });
  expect(world.flowCount()).toBe(2);
  gate.resolve(undefined);
});

test.each([
  [TALLIED_BYTES_MAX, true],
  [TALLIED_BYTES_MAX + 1, false],
])("hits of a content of %i bytes are summed up: %s", async (lengthBytes, isSummedUp) => {
  await using world = await startHotWorld();
  const url = world.offer(await bytesOf(seededContent("large", lengthBytes)));
  for (let count = 0; count < 3; count++) await world.ask(url);
  await waitFor("their accounts", () => world.told().finished === 3);
  const lines = world.peer.log.entries.filter(({ event }) => event === "peer task done");
  expect(lines.some(({ fields }) => "requests" in fields)).toBe(isSummedUp);
});
