import { expect, test } from "vitest";
import { ConnectionSlots, DOWNLOAD_SLOT_LIMITS, SLOT_LIMITS } from "./connection-slots.ts";

const A = new URL("http://a.test/x");
const B = new URL("http://b.test/x");
const { signal } = new AbortController();
/** What a client is told that has as many as one may have. */
const OWN = "; end some of them, or ask again when one has ended";
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
  [{ ...LIMITS, perOrigin: 1 }, "all 1 connections to a.test are in use", ""],
  [{ ...LIMITS, total: 1 }, "all 1 connections to all origins are in use", ""],
  [{ ...LIMITS, perClient: 1 }, "all 1 connections to a.test for c are in use", OWN],
  [{ ...LIMITS, perClientInAll: 1 }, "all 1 connections for c are in use", OWN],
])("waiting ends with the reason: %o", async (limits, reason, advice) => {
  const slots = new ConnectionSlots({ ...limits, waitMs: 10 });
  const [free] = fill(slots, A, "c");
  await expect(slots.wait(A, { client: "c", signal })).rejects.toMatchObject({
    code: "origin_busy",
    message: `${reason}, and none became free within 10 ms${advice}`,
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

test("what becomes free goes to the client that has least, whoever came first", async () => {
  const slots = new ConnectionSlots({ perOrigin: 3, perClient: 3, total: 9, waitMs: 5_000 });
  const [free] = fill(slots, A, "greedy");
  const order: string[] = [];
  const waiting = ["greedy", "greedy", "modest"].map(async (client) => {
    const slot = await slots.wait(A, { client, signal });
    order.push(client);
    return slot;
  });
  free?.();
  (await waiting[2])?.();
  (await waiting[0])?.();
  await waiting[1];
  expect(order).toEqual(["modest", "greedy", "greedy"]);
});

test("one client leaves connections to all origins for others, and goes on when it ends some", async () => {
  const slots = new ConnectionSlots({ ...LIMITS, perClientInAll: 2 });
  const [free] = fill(slots, A, "c");
  expect(slots.takeNow(B, "c")).toBeUndefined();
  const waiting = slots.wait(B, { client: "c", signal });
  expect(slots.takeNow(B, "d")).toBeDefined();
  free?.();
  await expect(waiting).resolves.toBeTypeOf("function");
});

test("who ends one goes on at another origin, also when what became free is another's", async () => {
  const limits = { perOrigin: 1, perClient: 1, perClientInAll: 1, total: 9, waitMs: 5_000 };
  const slots = new ConnectionSlots(limits);
  const [free] = fill(slots, A, "c");
  const others = slots.wait(A, { client: "d", signal });
  const own = slots.wait(B, { client: "c", signal });
  free?.();
  await expect(others).resolves.toBeTypeOf("function");
  await expect(own).resolves.toBeTypeOf("function");
});

test.each([
  ["downloads", DOWNLOAD_SLOT_LIMITS, 256],
  ["what is passed through", SLOT_LIMITS, 192],
])(
  "of %s one address may have what many programs want at once, and others the rest",
  (_what, limits, count) => {
    const slots = new ConnectionSlots(limits);
    expect(fill(slots, A, "10.0.0.1")).toHaveLength(count);
    expect(fill(slots, A, "10.0.0.2")).toHaveLength(64);
  },
);
