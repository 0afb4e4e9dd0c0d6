import type { Clock } from "@lacewing/runtime/clock.ts";
import { expect, test } from "vitest";
import { ClientPaces } from "./client-paces.ts";

/** A clock of the test; what is slept for is noted and not waited for. */
function pacesAt(bytesPerSecond: number) {
  const time = { ms: 0, slept: [] as number[] };
  const clock: Clock = {
    now: () => time.ms,
    monotonic: () => time.ms,
    sleep: async (ms) => {
      time.slept.push(ms);
    },
  };
  return { paces: new ClientPaces(bytesPerSecond, clock), time };
}

test("without a limit there is nothing to ask", () => {
  expect(pacesAt(0).paces.of("10.0.0.1")).toBeUndefined();
});

test("connections from one address share its limit; another address has its own", async () => {
  const { paces, time } = pacesAt(1000);
  const pace = (address: string, bytes: number) => paces.of(address)?.(bytes);
  expect(pace("10.0.0.1", 100)).toBeUndefined();
  await pace("10.0.0.1", 1000);
  await pace("10.0.0.1", 1000);
  expect(pace("10.0.0.2", 100)).toBeUndefined();
  expect(time.slept).toEqual([1000, 2000]);
});

test("an address is remembered while it waits, whoever comes meanwhile, and as many as there may be", async () => {
  const { paces, time } = pacesAt(1000);
  for (let index = 0; index < 9_999; index++) paces.of(`a${index}`);
  await paces.of("busy")?.(1100);
  for (let index = 0; index < 9_999; index++) paces.of(`b${index}`);
  await paces.of("busy")?.(1000);
  expect(time.slept).toEqual([1000, 2000]);
});
