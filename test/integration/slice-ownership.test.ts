import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { z } from "zod";
import { startTestPostgres, type TestPostgres } from "../support/postgres.ts";
import { startProjectionWorld } from "../support/projection-world.ts";

let postgres: TestPostgres;
beforeAll(async () => {
  postgres = await startTestPostgres();
});
afterAll(async () => {
  await postgres[Symbol.asyncDispose]();
});

/** The one epoch of all slices. */
function epochIn(slices: ReadonlyMap<number, number>): number {
  expect(slices.size).toBe(64);
  const epochs = new Set(slices.values());
  expect(epochs.size).toBe(1);
  return [...epochs][0] ?? 0;
}

describe("the ownership of slices", () => {
  test("is taken by one, renewed with the same epoch, and refused to another while the lease lives", async () => {
    await using world = await startProjectionWorld(postgres);
    const first = await world.ownership.acquire("first", 60_000);
    expect(epochIn(await world.ownership.acquire("first", 60_000))).toBe(epochIn(first));
    expect((await world.ownership.acquire("second", 60_000)).size).toBe(0);
    expect(await world.ownership.holder()).toBe("first");
  });

  test("goes to a successor with a higher epoch when it was released or has run out", async () => {
    await using world = await startProjectionWorld(postgres);
    const first = epochIn(await world.ownership.acquire("first", 60_000));
    await world.ownership.release("first");
    expect(await world.ownership.holder()).toBeUndefined();
    const second = epochIn(await world.ownership.acquire("second", 0));
    const third = epochIn(await world.ownership.acquire("third", 60_000));
    expect(second).toBeGreaterThan(first);
    expect(third).toBeGreaterThan(second);
    expect((await world.ownership.acquire("first", 60_000)).size).toBe(0);
  });

  test("keeps its epoch when it ran out and nobody took it", async () => {
    await using world = await startProjectionWorld(postgres);
    const before = await world.ownership.acquire("first", 0);
    expect(await world.ownership.holder()).toBeUndefined();
    expect(await world.ownership.acquire("first", 60_000)).toEqual(before);
  });

  test("has epochs that a database made anew does not give again", async () => {
    const startedAtSeconds = Math.floor(Date.now() / 1000);
    await using old = await startProjectionWorld(postgres);
    await using renewed = await startProjectionWorld(postgres);
    const known = epochIn(await old.ownership.acquire("first", 60_000));
    expect(known).toBeGreaterThanOrEqual(startedAtSeconds);
    expect(epochIn(await renewed.ownership.acquire("second", 60_000))).toBeGreaterThanOrEqual(
      known,
    );
  });

  test("is taken whole or not at all", async () => {
    await using world = await startProjectionWorld(postgres);
    await world.ownership.acquire("first", 60_000);
    await world.rows(z.unknown(), "UPDATE slices SET owner_id = NULL WHERE slice < 10");
    expect((await world.ownership.acquire("second", 60_000)).size).toBe(0);
    expect((await world.ownership.acquire("first", 60_000)).size).toBe(64);
  });

  test("is never split into one epoch for two schedulers that start at once", async () => {
    await using world = await startProjectionWorld(postgres);
    const owners = ["a", "b", "c", "d"];
    const taken = await Promise.all(owners.map(async (id) => world.ownership.acquire(id, 60_000)));
    expect(taken.map((slices) => slices.size).toSorted((a, b) => a - b)).toEqual([0, 0, 0, 64]);
  });

  test("is seized from a living owner by whoever says so", async () => {
    await using world = await startProjectionWorld(postgres);
    const first = epochIn(await world.ownership.acquire("first", 60_000));
    expect(epochIn(await world.ownership.seize("second", 60_000))).toBeGreaterThan(first);
    expect((await world.ownership.acquire("first", 60_000)).size).toBe(0);
  });

  test("is raised by its owner alone, above what the log has seen, and renewed with that epoch", async () => {
    await using world = await startProjectionWorld(postgres);
    const epoch = epochIn(await world.ownership.acquire("first", 60_000));
    const above = new Map([
      [3, epoch + 7],
      [4, epoch - 1],
    ]);
    await world.ownership.raise("first", above);
    await world.ownership.raise("second", new Map([[5, epoch + 7]]));
    const renewed = await world.ownership.acquire("first", 60_000);
    expect([3, 4, 5].map((slice) => renewed.get(slice))).toEqual([epoch + 8, epoch, epoch]);
  });
});
