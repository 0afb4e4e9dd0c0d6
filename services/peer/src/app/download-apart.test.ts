import { CONTENT_DIFFERS } from "@lacewing/contracts/events/reasons.ts";
import type { TaskRequested } from "@lacewing/contracts/gen/lacewing/events/v1/events.ts";
import { parseTaskId } from "@lacewing/contracts/ids.ts";
import { systemClock } from "@lacewing/runtime/clock.ts";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
// @boundaries-ignore tests share builders that no service ships
import { bytesOf, seededContent } from "../../../../test/support/content.ts";
// @boundaries-ignore tests share builders that no service ships
import { anchoredPath, PeerWorld } from "../../../../test/support/peer-world.ts";
// @boundaries-ignore tests share builders that no service ships
import { waitFor } from "../../../../test/support/wait-for.ts";
import { RecentDigests } from "./recent-digests.ts";
import { TaskDrops } from "./task-drops.ts";

const MIB = 2 ** 20;
const HOST = "http://origin.test";
const PAGE = Buffer.from("<html>please log in</html>".repeat(200));
const ALICE = [["Authorization", "Basic YWxpY2U6YQ=="]] as const;
const BOB = [["Authorization", "Basic Ym9iOmI="]] as const;

let world: PeerWorld;
let content: Buffer;
let path: string;
let url: string;
beforeEach(async () => {
  world = new PeerWorld();
  content = await bytesOf(seededContent("apart", 3 * MIB + 77));
  path = anchoredPath(content);
  url = `${HOST}${path}`;
  world.origin.add(path, content);
});
afterEach(async () => world.close());

const drop = (reason: string, lengthBytes = 0): void => {
  const [task] = world.store.list();
  const value = { taskId: task?.description.taskId ?? "", reason, lengthBytes };
  world.controlPlane.assign({ $case: "dropTask", value });
};
const verified = () => world.controlPlane.all("taskVerified");

/** Each request is answered with a lease for the page that somebody else got first. */
function grantThePage(): void {
  world.onRequest(({ taskId, requestId }) =>
    world.grant({
      leaseId: "0-1-7",
      taskId,
      requestId,
      parentHostId: "host-b",
      parentAddress: "host-b",
      pieces: [{ start: 0, count: 1 }],
      lengthBytes: PAGE.length,
      pieceLengthBytes: MIB,
    }),
  );
}

function pendingFor({ taskId, requestId }: TaskRequested, lengthBytes = content.length) {
  return { taskId, requestId, nextByMs: 500, reason: "no free copy yet", lengthBytes };
}

/** A client that has the first piece of what it asked for; the rest waits until `go`. */
async function clientInTheMiddle(how: { readonly breaksAfterBytes?: number } = {}) {
  const gate = Promise.withResolvers<void>();
  const opened = { atBytes: MIB + 1000, opened: gate.promise };
  world.origin.add(path, content, { ...how, gate: opened });
  world.onRequest((request) => world.grantOrigin(request));
  const client = world.client(url);
  await expect.poll(() => client.received()).toBeGreaterThan(MIB / 2);
  return { client, go: gate.resolve };
}

describe("a host whose cluster knows other content by the same name", () => {
  test("goes on from its origin, says what it has, and lets the others be", async () => {
    grantThePage();
    const { bytes, error } = await world.get(url);

    expect(error).toBeUndefined();
    expect(bytes.equals(content)).toBe(true);
    const reasons = world.controlPlane.all("piecesFailed").map(({ reason }) => reason);
    expect(new Set(reasons)).toEqual(new Set(["cancelled"]));
    const told = () => world.controlPlane.all("taskDescribed")[0]?.lengthBytes;
    await expect.poll(told).toBe(content.length);
    await expect.poll(() => world.controlPlane.all("requestEnded").length).toBeGreaterThan(0);
    await waitFor("the check", () => [...world.store.list()][0]?.isVerified === true);
  });

  test("offers its copy again when the digest of the whole has shown that it is right", async () => {
    grantThePage();
    await world.get(url);

    await waitFor("the word", () => verified().length === 1);
    const told = world.controlPlane.all("piecesAvailable").at(-1);
    expect(told?.digests).toHaveLength(4);
    expect(world.controlPlane.all("taskDescribed").at(-1)?.lengthBytes).toBe(content.length);
  });

  test.each(["poisoned", "digest_conflict", "validator_changed"])(
    "breaks nobody off when the others' content is dropped as %s",
    async (reason) => {
      const { client, go } = await clientInTheMiddle();
      drop(CONTENT_DIFFERS);
      drop(reason);
      go();

      const { bytes, error } = await client.done;
      expect(error).toBeUndefined();
      expect(bytes.equals(content)).toBe(true);
      expect(world.origin.sentBytes).toBeLessThan(2 * content.length);
    },
  );

  test("does not wait for what others are getting when that is of another length", async () => {
    world.onRequest((request) => {
      const value = { ...pendingFor(request, PAGE.length), nextByMs: 60_000 };
      world.controlPlane.assign({ $case: "pending", value });
    });
    const { bytes, error } = await world.get(url);

    expect(error).toBeUndefined();
    expect(bytes.equals(content)).toBe(true);
    const told = () => world.controlPlane.all("taskDescribed")[0]?.lengthBytes;
    await expect.poll(told).toBe(content.length);
  });

  test.each(["poisoned", "validator_changed"])(
    "asks anew when what is dropped as %s is of another length than what it is about to get",
    async (reason) => {
      world.onRequest((request) =>
        world.controlPlane.assign({ $case: "pending", value: pendingFor(request, 0) }),
      );
      const client = world.client(url);
      await waitFor("the copy is made", () => [...world.store.list()].length === 1);
      const before = world.controlPlane.all("taskRequested").length;
      world.onRequest((request) => world.grantOrigin(request));
      drop(reason, PAGE.length);

      const { bytes, error } = await client.done;
      expect(error).toBeUndefined();
      expect(bytes.equals(content)).toBe(true);
      expect(world.controlPlane.all("taskRequested").length).toBeGreaterThan(before);
    },
  );

  test("says so when what it has by now is what the others have", async () => {
    world.onRequest((request) =>
      world.controlPlane.assign({ $case: "pending", value: pendingFor(request) }),
    );
    const client = world.client(url);
    await waitFor("the copy is made", () => [...world.store.list()].length === 1);
    world.onRequest((request) => world.grantOrigin(request));
    drop(CONTENT_DIFFERS, content.length);

    expect((await client.done).bytes.equals(content)).toBe(true);
    await waitFor("the word", () => verified().length === 1);
    const lengths = world.controlPlane.all("taskDescribed").map(({ lengthBytes }) => lengthBytes);
    expect(new Set(lengths)).toEqual(new Set([content.length]));
    expect(world.controlPlane.all("piecesAvailable").length).toBeGreaterThan(0);
  });

  test("breaks nobody off when the content is given up for what an origin has for somebody else", async () => {
    const { client, go } = await clientInTheMiddle();
    drop("validator_changed", content.length);
    go();

    const { bytes, error } = await client.done;
    expect(error).toBeUndefined();
    expect(bytes.equals(content)).toBe(true);
    await waitFor("the word", () => verified().length === 1);
  });

  test.each(["poisoned", "validator_changed"])(
    "offers what it has verified when the others' content is dropped as %s",
    async (reason) => {
      world.onRequest((request) => world.grantOrigin(request));
      await world.get(url);
      await waitFor("the check", () => verified().length === 1);
      drop(CONTENT_DIFFERS, PAGE.length);
      drop(reason, PAGE.length);

      await waitFor("the word", () => verified().length === 2);
      expect(world.controlPlane.all("piecesAvailable").at(-1)?.digests).toHaveLength(4);
      const lengths = world.controlPlane.all("taskDescribed").map(({ lengthBytes }) => lengthBytes);
      expect(lengths.at(-1)).toBe(content.length);
    },
  );

  test("does not go on for ever to offer what differs, as others see it, in more than its length", async () => {
    world.onRequest((request) => world.grantOrigin(request));
    await world.get(url);
    await waitFor("the check", () => verified().length === 1);
    const again = (): void => drop(CONTENT_DIFFERS, content.length);
    world.controlPlane.onEvent = ({ $case }) => {
      if ($case === "taskDescribed") setImmediate(again);
    };
    const described = () => world.controlPlane.all("taskDescribed").length;
    const before = described();
    again();

    await waitFor("some words", () => described() - before >= 3);
    await systemClock.sleep(300);
    expect(described() - before).toBe(3);
  });

  test("asks nobody for what joins such a download", async () => {
    const { client, go } = await clientInTheMiddle();
    drop(CONTENT_DIFFERS);
    const before = world.controlPlane.all("taskRequested").length;
    const joined = world.client(url, ALICE);
    await waitFor("the origin is asked", () => world.origin.requests.length >= 2);
    go();

    expect((await joined.done).bytes.equals(content)).toBe(true);
    expect((await client.done).bytes.equals(content)).toBe(true);
    expect(world.controlPlane.all("taskRequested")).toHaveLength(before);
  });

  test("does not take its scheduler for silent because of it", async () => {
    grantThePage();
    await world.get(url);

    expect(world.link.isResponsive).toBe(true);
  });
});

test("a part of a copy that stands apart is for nobody whose own origin does not say that it has the same", async () => {
  const other = await bytesOf(seededContent("other", 5 * MIB));
  const gate = Promise.withResolvers<void>();
  world.origin.add(path, other, { gate: { atBytes: 3 * MIB, opened: gate.promise } });
  world.onRequest((request) => world.grantOrigin(request));
  const first = world.client(url, [], { access: "public" });
  await expect.poll(() => first.received()).toBeGreaterThan(2 * MIB);
  drop(CONTENT_DIFFERS, content.length);
  world.origin.add(path, content);

  const part = await world.get(url, [["Range", "bytes=0-99"]], { access: "public" });
  expect(part.error).toBeUndefined();
  expect(part.bytes.equals(content.subarray(0, 100))).toBe(true);
  gate.resolve();
  expect((await first.done).error).toHaveProperty("code", "anchor_mismatch");
});

test("a lease that does not fit keeps no download, and no copy, that nobody wants", async () => {
  world.onRequest((request) => world.grantOrigin(request));
  await world.get(url);
  const [stored] = world.store.list();
  if (stored === undefined) throw new Error("no copy");
  const { taskId } = stored.description;
  await waitFor("the end", () => !world.registry.isDownloading(taskId));
  world.grant({
    leaseId: "0-1-9",
    taskId,
    parentHostId: "host-b",
    parentAddress: "host-b",
    pieces: [{ start: 9, count: 1 }],
    lengthBytes: content.length,
    pieceLengthBytes: MIB,
  });
  await waitFor("the refusal", () => world.controlPlane.all("piecesFailed").length === 1);

  expect(world.registry.isDownloading(taskId)).toBe(false);
  expect(stored.isPinned).toBe(false);
});

test("what is made of the task after the copy that stood apart is told of like any other", async () => {
  const never = { atBytes: 0, opened: new Promise<void>(() => {}) };
  world.origin.add(path, PAGE, { hasRanges: false, gate: never });
  world.onRequest((request) => world.grantOrigin(request));
  const stranger = world.client(url);
  await waitFor("the copy is made", () => [...world.store.list()].length === 1);
  drop(CONTENT_DIFFERS, content.length);
  stranger.leave();
  await waitFor("its room is given back", () => [...world.store.list()].length === 0);
  world.origin.add(path, content);

  expect((await world.get(url)).bytes.equals(content)).toBe(true);
  const told = () => world.controlPlane.all("piecesAvailable");
  const endedCount = () => told().flatMap(({ leasesEnded }) => leasesEnded).length;
  await expect.poll(endedCount).toBe(1);
  expect(told().flatMap(({ digests }) => digests)).toHaveLength(4);
});

test("a page that a stranger is sent is broken off at its end, kept by nobody, and told to nobody as a fault of the content", async () => {
  world.origin.add(path, PAGE, { hasRanges: false });
  world.onRequest(({ taskId, requestId }) =>
    world.grant({
      leaseId: "0-1-8",
      taskId,
      requestId,
      parentHostId: "host-b",
      parentAddress: "host-b",
      pieces: [{ start: 0, count: 4 }],
      lengthBytes: content.length,
      pieceLengthBytes: MIB,
    }),
  );
  const { bytes, error } = await world.get(url);

  expect(error).toHaveProperty("code", "anchor_mismatch");
  expect(bytes.length).toBeLessThan(PAGE.length);
  await waitFor("it is gone", () => [...world.store.list()].length === 0);
  expect(world.controlPlane.all("taskPoisoned")).toEqual([]);
});

test("an origin that has a page for one client now breaks nobody off while another client can still read", async () => {
  const { client, go } = await clientInTheMiddle({ breaksAfterBytes: MIB + 2000 });
  const reasons = () => world.controlPlane.all("piecesFailed").map(({ reason }) => reason);
  // The other client's turn comes when the first one's credentials have failed.
  world.onRequest((request) => {
    if (reasons().includes("origin_changed")) world.grantOrigin(request);
    else world.controlPlane.assign({ $case: "pending", value: pendingFor(request) });
  });
  const other = world.client(url, BOB);
  await waitFor("the origin is asked", () => world.origin.requests.length >= 2);
  // From now on the first client's credentials bring something else.
  world.origin.beforeAnswer = (request) => {
    const isBob = request.headers.some(([, value]) => value === BOB[0][1]);
    world.origin.add(path, isBob ? content : PAGE, { hasRanges: isBob });
  };
  go();

  await waitFor("the break", () => reasons().includes("short"));
  const [first] = world.controlPlane.all("taskRequested");
  if (first === undefined) throw new Error("nothing was asked");
  world.grantOrigin(first);
  expect((await other.done).bytes.equals(content)).toBe(true);
  expect((await client.done).bytes.equals(content)).toBe(true);
  expect(reasons()).toContain("origin_changed");
});

test("what ends late gives up its own copy, not what was made of the task since", async () => {
  const taskId = parseTaskId(`07${"ab".repeat(31)}`);
  if (taskId === undefined) throw new Error("no task id");
  const description = {
    taskId,
    url,
    sharingDomain: "origin.test",
    anchor: undefined,
    lengthBytes: PAGE.length,
    pieceLengthBytes: MIB,
    etag: "",
    lastModified: "",
    contentType: "",
    createdAtMs: 1,
  };
  const { store, link, log, poisoned } = world;
  const services = { link, log, poisoned, clock: systemClock };
  const recentDigests = new RecentDigests(store, services);
  const drops = new TaskDrops({ store, services, apart: new WeakSet(), recentDigests });
  const old = await store.create(description, "make");
  await store.remove(taskId);
  const made = await store.create(description, "make");
  if (typeof old === "string" || typeof made === "string") throw new Error("no room");

  drops.forget(old);
  expect(store.get(taskId)).toBe(made);
  drops.forget(made);
  await waitFor("it is gone", () => store.get(taskId) === undefined);
});
