import { expect, test } from "vitest";
import { ConnectionSlots } from "./connection-slots.ts";

const A = new URL("http://a.test/x");
const B = new URL("http://b.test/x");
const { signal } = new AbortController();
const LIMITS = { perOrigin: 2, perClient: 2, total: 3, waitMs: 5_000 };

/** All that can be had at once. */
function fill(slots: ConnectionSlots, url: URL, client?: string) {
  const taken = [];
  for (let slot = slots.takeNow(url, client); slot; slot = slots.takeNow(url, client)) {
    taken.push(slot);
  }
  return taken;
}

test("an origin has so many, and all together so many", () => {
  const slots = new ConnectionSlots(LIMITS);
  expect(fill(slots, A)).toHaveLength(2);
  expect(fill(slots, B)).toHaveLength(1);
});

test("one client leaves room for others", () => {
  const slots = new ConnectionSlots({ ...LIMITS, perClient: 1 });
  expect(fill(slots, A, "10.0.0.1")).toHaveLength(1);
  expect(fill(slots, A, "10.0.0.2")).toHaveLength(1);
});

test("a slot given back twice is one slot", () => {
  const slots = new ConnectionSlots({ ...LIMITS, perOrigin: 1 });
  const [free] = fill(slots, A);
  free?.();
  free?.();
  expect(fill(slots, A)).toHaveLength(1);
});

test("who waits gets the next that becomes free, in turn", async () => {
  const slots = new ConnectionSlots({ ...LIMITS, perOrigin: 1 });
  const [free] = fill(slots, A);
  const order: number[] = [];
  const waiting = [1, 2].map(async (number) => {
    const slot = await slots.wait(A, { signal });
    order.push(number);
    return slot;
  });
  free?.();
  (await waiting[0])?.();
  await waiting[1];
  expect(order).toEqual([1, 2]);
});

test("who waits for room among all connections gets that of another origin", async () => {
  const slots = new ConnectionSlots({ ...LIMITS, total: 2 });
  const [free] = fill(slots, A);
  const waiting = slots.wait(B, { signal });
  free?.();
  await expect(waiting).resolves.toBeTypeOf("function");
});

test("a client that has its share does not hold up who comes after it", async () => {
  const slots = new ConnectionSlots({ ...LIMITS, perClient: 1 });
  const free = [fill(slots, A, "first"), fill(slots, A, "second")].flat();
  void slots.wait(A, { client: "first", signal }).catch(() => undefined);
  const third = slots.wait(A, { client: "third", signal });
  free[1]?.();
  await expect(third).resolves.toBeTypeOf("function");
});

test.each([
  [{ ...LIMITS, perOrigin: 1 }, "all 1 connections to a.test are in use"],
  [{ ...LIMITS, total: 1 }, "all 1 connections to all origins are in use"],
  [{ ...LIMITS, perClient: 1 }, "all 1 connections to a.test for c are in use"],
])("waiting ends with the reason: %o", async (limits, reason) => {
  const slots = new ConnectionSlots({ ...limits, waitMs: 10 });
  const [free] = fill(slots, A, "c");
  await expect(slots.wait(A, { client: "c", signal })).rejects.toMatchObject({
    code: "origin_busy",
    message: `${reason}, and none became free within 10 ms`,
  });
  free?.();
  expect(slots.takeNow(A, "c")).toBeDefined();
});

test("a client that goes away waits no more", async () => {
  const slots = new ConnectionSlots({ ...LIMITS, perOrigin: 1 });
  const [free] = fill(slots, A);
  const client = new AbortController();
  const waiting = slots.wait(A, { signal: client.signal });
  client.abort(new Error("gone"));
  await expect(waiting).rejects.toThrow("gone");
  free?.();
  expect(slots.takeNow(A)).toBeDefined();
});
