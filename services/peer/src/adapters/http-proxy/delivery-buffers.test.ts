import { expect, test } from "vitest";
import { DeliveryBuffers } from "./delivery-buffers.ts";

const KIB = 1024;

test("beyond so many buffers of full length everybody else gets a short one, until one is free", () => {
  const pool = new DeliveryBuffers();
  const full = Array.from({ length: 512 }, () => pool.take());
  expect(new Set(full.map(({ length }) => length))).toEqual(new Set([256 * KIB]));
  const short = pool.take();
  expect(short.length).toBe(16 * KIB);
  // A short one that comes back makes no room for a long one.
  pool.give(short);
  expect(pool.take().length).toBe(16 * KIB);
  pool.give(full[0] ?? short);
  expect(pool.take()).toBe(full[0]);
  pool.forget(full[1] ?? short);
  const fresh = pool.take();
  expect(fresh.length).toBe(256 * KIB);
  expect(fresh).not.toBe(full[1]);
  expect(pool.take().length).toBe(16 * KIB);
});
