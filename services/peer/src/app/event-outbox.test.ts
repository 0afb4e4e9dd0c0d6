import type { Event } from "@lacewing/contracts/gen/lacewing/events/v1/events.ts";
import { parseBootId, parseHostId } from "@lacewing/contracts/ids.ts";
import { createMemoryLog } from "@lacewing/observability/memory-log.ts";
import { type Clock, systemClock } from "@lacewing/runtime/clock.ts";
import { InvariantViolation, PortError } from "@lacewing/runtime/errors.ts";
import { afterEach, beforeEach, expect, test } from "vitest";
// @boundaries-ignore tests share builders that no service ships
import { MemoryControlPlane } from "../../../../test/support/peer-world.ts";
import { EventOutbox } from "./event-outbox.ts";

const SUBJECT = "lw.v1.ev.3.host-a";
const MIXED_SUBJECT = "lw.v1.ev.mixed.host-a";

let controlPlane: MemoryControlPlane;
let outbox: EventOutbox;
let lossCount: number;
beforeEach(() => {
  controlPlane = new MemoryControlPlane();
  lossCount = 0;
  // Waits between two tries are not what is tested here.
  outbox = outboxOn({
    ...systemClock,
    sleep: async (_ms, signal) => systemClock.sleep(1, signal),
  });
});
afterEach(async () => outbox.close(0));

function outboxOn(clock: Clock): EventOutbox {
  const hostId = parseHostId("host-a");
  const bootId = parseBootId("boot-1");
  if (hostId === undefined || bootId === undefined) throw new InvariantViolation("test ids");
  return new EventOutbox({
    controlPlane,
    identity: { hostId, bootId },
    clock,
    log: createMemoryLog(),
    random: () => 0,
    onLoss: () => lossCount++,
  });
}

function ended(requestId: string, slice = 3): Event {
  const taskId = `0${slice}`.repeat(32);
  return { traceparent: "", kind: { $case: "requestEnded", value: { taskId, requestId } } };
}

function storedRequestIds(): string[] {
  return controlPlane.all("requestEnded").map(({ requestId }) => requestId);
}

const refused = (): never => {
  throw new PortError("nats_publish_failed", "no", { retryable: true });
};

test("events of one slice that come together travel in one message", async () => {
  for (const id of ["a", "b", "c"]) outbox.add(3, ended(id));
  await expect.poll(storedRequestIds).toEqual(["a", "b", "c"]);
  expect(controlPlane.messages.map(({ subject, id }) => [subject, id])).toEqual([
    [SUBJECT, "host-a:boot-1:1"],
  ]);
});

test("what may come later is published soon at first, and then seldom while there is more of it", async () => {
  let nowMs = 1_000;
  const clock = { ...systemClock, monotonic: () => nowMs };
  const timed = outboxOn(clock);
  timed.add(3, ended("a"), "later");
  nowMs += 25;
  timed.flush();
  timed.add(3, ended("b"), "later");
  nowMs += 100;
  timed.add(4, ended("c", 4), "later");
  timed.flush();
  await expect.poll(storedRequestIds).toEqual(["a"]);
  expect(controlPlane.tries).toHaveLength(1);
  nowMs += 150;
  timed.flush();
  await expect.poll(storedRequestIds).toEqual(["a", "b", "c"]);
  await timed.close(0);
});

test("what comes after a quiet time leaves at once, what comes soon after that waits to be packed", async () => {
  let nowMs = 1_000;
  const timed = outboxOn({ ...systemClock, monotonic: () => nowMs });
  timed.add(3, ended("a"));
  timed.flush();
  await expect.poll(storedRequestIds).toEqual(["a"]);
  nowMs += 10;
  timed.add(3, ended("b"));
  timed.flush();
  nowMs += 14;
  timed.add(3, ended("c"));
  timed.flush();
  expect(controlPlane.tries).toHaveLength(1);
  nowMs += 1;
  timed.flush();
  await expect.poll(storedRequestIds).toEqual(["a", "b", "c"]);
  expect(controlPlane.tries).toHaveLength(2);
  await timed.close(0);
});

test("an urgent event takes along what waits for the same slice, and leaves the others in peace", async () => {
  const timed = outboxOn({ ...systemClock, monotonic: () => 1_000 });
  timed.addTogether([[4, ended("first", 4)]]);
  await expect.poll(storedRequestIds).toEqual(["first"]);
  timed.add(3, ended("a"));
  timed.add(4, ended("b", 4));
  timed.addTogether([[3, ended("c")]]);
  await expect.poll(storedRequestIds).toEqual(["first", "a", "c"]);
  expect(controlPlane.tries).toHaveLength(2);
  await timed.close(0);
});

test("what is due of several slices travels in one message", async () => {
  outbox.add("host", { traceparent: "", kind: { $case: "hostLeft", value: {} } });
  for (const slice of [3, 4, 5]) outbox.add(slice, ended(`of-${slice}`, slice));
  await expect.poll(storedRequestIds).toEqual(["of-3", "of-4", "of-5"]);
  expect(controlPlane.messages.map(({ subject }) => subject).toSorted()).toEqual([
    MIXED_SUBJECT,
    "lw.v1.host.host-a",
  ]);
});

test("what is due of several slices is divided when it is too much for one message", async () => {
  const eventsOf = (count: number, slice: number, prefix: string) =>
    Array.from({ length: count }, (_, at) => [slice, ended(`${prefix}-${at}`, slice)] as const);
  outbox.addTogether([...eventsOf(300, 3, "a"), ...eventsOf(300, 4, "b"), ...eventsOf(2, 5, "c")]);
  await expect.poll(() => storedRequestIds().length).toBe(602);
  expect(controlPlane.tries.map(({ subject }) => subject)).toEqual([SUBJECT, MIXED_SUBJECT]);
});

test("what is due of several slices is divided when it is too large for one message", async () => {
  const long = "x".repeat(2_000);
  const failed = (slice: number): Event => {
    const none = { leaseId: "", parentHostId: "", pieceIndexes: [], bytes: 0, durationMs: 0 };
    const taskId = `0${slice}`.repeat(32);
    const reason = "origin_refused";
    const value = { ...none, taskId, reason, detail: long, retryAfterMs: 0 };
    return { traceparent: "", kind: { $case: "piecesFailed", value } };
  };
  const slices = [3, 4, 5].flatMap((slice) => Array.from({ length: 120 }, () => slice));
  outbox.addTogether(slices.map((slice) => [slice, failed(slice)] as const));
  await expect.poll(() => controlPlane.all("piecesFailed").length).toBe(360);
  expect(controlPlane.tries.map(({ subject }) => subject)).toEqual([SUBJECT, MIXED_SUBJECT]);
});

test("a repeated message of several slices never comes after the successor of one of them", async () => {
  let tries = 0;
  controlPlane.beforeStore = (_subject, id) =>
    id === "host-a:boot-1:1" && ++tries < 4 ? refused() : undefined;
  outbox.addTogether([3, 4].map((slice) => [slice, ended(`first-${slice}`, slice)] as const));
  outbox.add(4, ended("second-4", 4), "now");
  outbox.add(5, ended("other", 5), "now");
  await expect.poll(storedRequestIds).toEqual(["other", "first-3", "first-4", "second-4"]);
});

test("what cannot be encoded stops nothing else, and is made good by a full announce", async () => {
  const none = { leaseId: "", parentHostId: "", pieceIndexes: [], bytes: 0, detail: "" };
  const value = { ...none, taskId: "03".repeat(32), reason: "stalled", retryAfterMs: 0 };
  const bad: Event = {
    traceparent: "",
    kind: { $case: "piecesFailed", value: { ...value, durationMs: 1.5 } },
  };
  outbox.addTogether([
    [3, bad],
    [4, ended("a", 4)],
    [5, ended("b", 5)],
  ]);
  await expect.poll(storedRequestIds).toEqual(["a", "b"]);
  outbox.add(3, ended("c"), "now");
  await expect.poll(storedRequestIds).toEqual(["a", "b", "c"]);
  expect(lossCount).toBe(1);
});

test("what a host says before it leaves comes before that", async () => {
  outbox.add(3, ended("a"), "later");
  outbox.add(4, ended("b", 4), "later");
  outbox.add("host", { traceparent: "", kind: { $case: "hostLeft", value: {} } });
  await outbox.close(1_000);
  expect(controlPlane.tries.map(({ subject }) => subject)).toEqual([
    MIXED_SUBJECT,
    "lw.v1.host.host-a",
  ]);
});

test("what is kept as state is collected when it is due, and asked for again when there was no room", async () => {
  const states = ["a", "b"];
  outbox.beforePublish = (target) => {
    if (target !== 3) return true;
    outbox.add(3, ended(states.shift() ?? "none"));
    return states.length === 0;
  };
  outbox.expect(3, "soon");
  await expect.poll(storedRequestIds).toEqual(["a", "b"]);
});

test("a message that was not acknowledged is sent again under the same id", async () => {
  let tries = 0;
  controlPlane.beforeStore = () => (++tries < 4 ? refused() : undefined);
  outbox.add(3, ended("a"), "now");
  await expect.poll(storedRequestIds).toEqual(["a"]);
  expect(new Set(controlPlane.tries.map(({ id }) => id))).toEqual(new Set(["host-a:boot-1:1"]));
  expect(lossCount).toBe(0);
});

test("a repeated message never comes after its successor of the same slice", async () => {
  let tries = 0;
  controlPlane.beforeStore = (_subject, id) =>
    id === "host-a:boot-1:1" && ++tries < 4 ? refused() : undefined;
  for (const id of ["a", "b", "c"]) outbox.add(3, ended(id), "now");
  await expect.poll(storedRequestIds).toEqual(["a", "b", "c"]);
});

test("a slice whose message hangs does not hold up another", async () => {
  controlPlane.beforeStore = (subject) => (subject === SUBJECT ? new Promise(() => {}) : undefined);
  outbox.add(3, ended("a"), "now");
  outbox.add("host", { traceparent: "", kind: { $case: "hostLeft", value: {} } }, "now");
  await expect.poll(() => controlPlane.all("hostLeft").length).toBe(1);
});

test("what was tried while the connection was away is stored under its id when it is back", async () => {
  controlPlane.beforeStore = () => {
    controlPlane.isConnected = false;
  };
  outbox.add(3, ended("a"), "now");
  await expect.poll(() => controlPlane.tries.length).toBeGreaterThan(20);
  controlPlane.beforeStore = () => {};
  controlPlane.isConnected = true;
  outbox.resume();
  await expect.poll(storedRequestIds).toEqual(["a"]);
  expect(lossCount).toBe(0);
});

test("an overflow is followed by one full announce, once the broker takes messages again", async () => {
  controlPlane.isConnected = false;
  for (let count = 0; count < 20_001; count++) outbox.add(3, ended("old"));
  expect(lossCount).toBe(0);
  controlPlane.isConnected = true;
  outbox.add(3, ended("new"), "now");
  await expect.poll(() => lossCount).toBe(1);
  expect(storedRequestIds()).toEqual(["old", "new"]);
});

test("messages that the broker refuses for good cause one full announce, not one each", async () => {
  controlPlane.beforeStore = (subject) => (subject === SUBJECT ? refused() : undefined);
  for (const id of ["a", "b", "c"]) {
    outbox.add(3, ended(id), "now");
    const triesBefore = controlPlane.tries.length;
    await expect.poll(() => controlPlane.tries.length - triesBefore).toBeGreaterThan(4);
  }
  await expect.poll(() => controlPlane.tries.length).toBeGreaterThanOrEqual(16);
  expect(lossCount).toBe(0);
  controlPlane.beforeStore = () => {};
  outbox.add("host", { traceparent: "", kind: { $case: "hostLeft", value: {} } }, "now");
  await expect.poll(() => lossCount).toBe(1);
});

test("a closed outbox gives up quietly", async () => {
  controlPlane.beforeStore = refused;
  outbox.add(3, ended("a"), "now");
  await outbox.close(5);
  const { length } = controlPlane.tries;
  outbox.add(3, ended("b"), "now");
  await new Promise(setImmediate);
  expect(controlPlane.tries.length).toBe(length);
  expect(lossCount).toBe(0);
});
