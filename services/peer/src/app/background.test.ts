import { systemClock } from "@lacewing/runtime/clock.ts";
import { expect, test } from "vitest";
import { Background } from "./background.ts";

test("the background gives way only while a client waits", async () => {
  const slept: number[] = [];
  const background = new Background({ ...systemClock, sleep: async (ms) => void slept.push(ms) });
  expect(background.giveWay()).toBeUndefined();
  const bytes = Promise.withResolvers<void>();
  const waiting = background.clientWaits(bytes.promise);
  await background.giveWay();
  expect(slept).toHaveLength(1);
  bytes.reject(new Error("gone"));
  await expect(waiting).rejects.toThrow("gone");
  expect(background.giveWay()).toBeUndefined();
});
