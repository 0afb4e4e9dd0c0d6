import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startTestPostgres, type TestPostgres } from "../support/postgres.ts";
import { startProjectionWorld } from "../support/projection-world.ts";

let postgres: TestPostgres;
beforeAll(async () => {
  postgres = await startTestPostgres();
});
afterAll(async () => {
  await postgres[Symbol.asyncDispose]();
});

describe("the ownership of slices", () => {
  test("is taken by one, renewed with the same epoch, and refused to another while the lease lives", async () => {
    await using world = await startProjectionWorld(postgres);
    const first = await world.ownership.acquire("first", 60_000);
    expect(first.size).toBe(64);
    expect(new Set(first.values())).toEqual(new Set([1]));
    expect(await world.ownership.acquire("first", 60_000)).toEqual(first);
    expect((await world.ownership.acquire("second", 60_000)).size).toBe(0);
  });

  test("goes to a successor with a higher epoch when it was released or has run out", async () => {
    await using world = await startProjectionWorld(postgres);
    await world.ownership.acquire("first", 60_000);
    await world.ownership.release("first");
    const second = await world.ownership.acquire("second", 0);
    expect(second.get(0)).toBe(2);
    const third = await world.ownership.acquire("third", 60_000);
    expect([third.size, third.get(63)]).toEqual([64, 3]);
  });

  test("is never split into one epoch for two schedulers that start at once", async () => {
    await using world = await startProjectionWorld(postgres);
    const owners = ["a", "b", "c", "d"];
    const taken = await Promise.all(owners.map(async (id) => world.ownership.acquire(id, 60_000)));
    expect(taken.map((slices) => slices.size).toSorted((a, b) => a - b)).toEqual([0, 0, 0, 64]);
  });

  test("is raised by its owner alone, above what the log has seen, and renewed with that epoch", async () => {
    await using world = await startProjectionWorld(postgres);
    await world.ownership.acquire("first", 60_000);
    await world.ownership.raise(
      "first",
      new Map([
        [3, 7],
        [4, 0],
      ]),
    );
    await world.ownership.raise("second", new Map([[5, 7]]));
    const renewed = await world.ownership.acquire("first", 60_000);
    expect([3, 4, 5].map((slice) => renewed.get(slice))).toEqual([8, 1, 1]);
  });
});
