import type { Event } from "@lacewing/contracts/gen/lacewing/events/v1/events.ts";
import { parseBootId, parseHostId } from "@lacewing/contracts/ids.ts";
import { createMemoryLog } from "@lacewing/observability/memory-log.ts";
import { systemClock } from "@lacewing/runtime/clock.ts";
import { InvariantViolation, PortError } from "@lacewing/runtime/errors.ts";
import { afterEach, beforeEach, expect, test } from "vitest";
// @boundaries-ignore tests share builders that no service ships
import { MemoryControlPlane } from "../../../../test/support/peer-world.ts";
import { EventOutbox } from "./event-outbox.ts";

/** Slice 3. */
const TASK_ID = "03".repeat(32);
const SUBJECT = "lw.v1.ev.3.host-a";

let controlPlane: MemoryControlPlane;
let outbox: EventOutbox;
let lossCount: number;
beforeEach(() => {
  controlPlane = new MemoryControlPlane();
  lossCount = 0;
  const hostId = parseHostId("host-a");
  const bootId = parseBootId("boot-1");
  if (hostId === undefined || bootId === undefined) throw new InvariantViolation("test ids");
  outbox = new EventOutbox({
    controlPlane,
    identity: { hostId, bootId },
    // Waits between two tries are not what is tested here.
    clock: { ...systemClock, sleep: async (_ms, signal) => systemClock.sleep(1, signal) },
    log: createMemoryLog(),
    random: () => 0,
    onLoss: () => lossCount++,
  });
});
afterEach(async () => outbox.close(0));

function ended(requestId: string): Event {
  return {
    traceparent: "",
    kind: { $case: "requestEnded", value: { taskId: TASK_ID, requestId } },
  };
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

test("a message that was not acknowledged is sent again under the same id", async () => {
  let tries = 0;
  controlPlane.beforeStore = () => (++tries < 4 ? refused() : undefined);
  outbox.add(3, ended("a"), true);
  await expect.poll(storedRequestIds).toEqual(["a"]);
  expect(new Set(controlPlane.tries.map(({ id }) => id))).toEqual(new Set(["host-a:boot-1:1"]));
  expect(lossCount).toBe(0);
});

test("a repeated message never comes after its successor of the same slice", async () => {
  let tries = 0;
  controlPlane.beforeStore = (_subject, id) =>
    id === "host-a:boot-1:1" && ++tries < 4 ? refused() : undefined;
  for (const id of ["a", "b", "c"]) outbox.add(3, ended(id), true);
  await expect.poll(storedRequestIds).toEqual(["a", "b", "c"]);
});

test("a slice whose message hangs does not hold up another", async () => {
  controlPlane.beforeStore = (subject) => (subject === SUBJECT ? new Promise(() => {}) : undefined);
  outbox.add(3, ended("a"), true);
  outbox.add("host", { traceparent: "", kind: { $case: "hostLeft", value: {} } }, true);
  await expect.poll(() => controlPlane.all("hostLeft").length).toBe(1);
});

test("what was tried while the connection was away is stored under its id when it is back", async () => {
  controlPlane.beforeStore = () => {
    controlPlane.isConnected = false;
  };
  outbox.add(3, ended("a"), true);
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
  outbox.add(3, ended("new"), true);
  await expect.poll(() => lossCount).toBe(1);
  expect(storedRequestIds()).toEqual(["old", "new"]);
});

test("messages that the broker refuses for good cause one full announce, not one each", async () => {
  controlPlane.beforeStore = (subject) => (subject === SUBJECT ? refused() : undefined);
  for (const id of ["a", "b", "c"]) {
    outbox.add(3, ended(id), true);
    const triesBefore = controlPlane.tries.length;
    await expect.poll(() => controlPlane.tries.length - triesBefore).toBeGreaterThan(4);
  }
  await expect.poll(() => controlPlane.tries.length).toBeGreaterThanOrEqual(16);
  expect(lossCount).toBe(0);
  controlPlane.beforeStore = () => {};
  outbox.add("host", { traceparent: "", kind: { $case: "hostLeft", value: {} } }, true);
  await expect.poll(() => lossCount).toBe(1);
});

test("a closed outbox gives up quietly", async () => {
  controlPlane.beforeStore = refused;
  outbox.add(3, ended("a"), true);
  await outbox.close(5);
  const { length } = controlPlane.tries;
  outbox.add(3, ended("b"), true);
  await new Promise(setImmediate);
  expect(controlPlane.tries.length).toBe(length);
  expect(lossCount).toBe(0);
});
