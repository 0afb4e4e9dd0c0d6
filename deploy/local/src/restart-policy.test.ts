import { expect, test } from "vitest";
import {
  decideRestart,
  FIRST_START_TRIES_MAX,
  RESTART_BACKOFF,
  WELL_AFTER_MS,
} from "./restart-policy.ts";

const killed = { exitCode: null, ranMs: 0, wasEverReady: true, failureCount: 0 };

test("a killed child is started again at once", () => {
  const decision = decideRestart(killed, 0.5);
  expect(decision).toEqual({ kind: "restart", inMs: 75, failureCount: 1 });
});

test("failures in a row make the pause grow to its maximum", () => {
  const pauses = [0, 1, 2, 10, 1_000].map((failureCount) => {
    const decision = decideRestart({ ...killed, failureCount }, 0.999_999);
    return decision.kind === "restart" ? decision.inMs : undefined;
  });
  expect(pauses).toEqual([100, 200, 400, RESTART_BACKOFF.maxMs, RESTART_BACKOFF.maxMs]);
});

test("a child that was well for a while starts again without a long pause", () => {
  expect(decideRestart({ ...killed, ranMs: WELL_AFTER_MS, failureCount: 9 }, 0)).toMatchObject({
    failureCount: 1,
  });
});

test("wrong settings are not mended by starting again", () => {
  expect(decideRestart({ ...killed, exitCode: 64 }, 0)).toEqual({
    kind: "give_up",
    because: "wrong_settings",
  });
});

test("a child that never became ready is given up after a few tries, one that was ready never", () => {
  const failureCount = FIRST_START_TRIES_MAX - 1;
  expect(decideRestart({ ...killed, wasEverReady: false, failureCount }, 0)).toEqual({
    kind: "give_up",
    because: "never_ready",
  });
  expect(decideRestart({ ...killed, failureCount }, 0).kind).toBe("restart");
});
