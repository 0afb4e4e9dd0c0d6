import { expect, test } from "vitest";
import { SteadyTime } from "./steady-time.ts";

/** A machine whose two clocks are set by hand. */
function machine() {
  let wallMs = 1_000_000;
  let monotonicMs = 50;
  return {
    time: new SteadyTime({ now: () => wallMs, monotonic: () => monotonicMs }),
    pass: (ms: number) => {
      wallMs += ms;
      monotonicMs += ms;
    },
    setWall: (byMs: number) => {
      wallMs += byMs;
    },
  };
}

test("steady time is the wall clock's while nobody sets it", () => {
  const { time, pass } = machine();
  pass(1234);
  expect(time.now()).toBe(1_001_234);
});

test("a wall clock that is set a day ahead moves steady time by a tenth of what passes", () => {
  const { time, pass, setWall } = machine();
  setWall(86_400_000);
  expect(time.now()).toBe(1_000_000);
  pass(1000);
  expect(time.now()).toBe(1_001_100);
});

test("a wall clock that is set back never turns steady time back, and is met again in the end", () => {
  const { time, pass, setWall } = machine();
  setWall(-100);
  pass(500);
  expect(time.now()).toBe(1_000_450);
  pass(500);
  expect(time.now()).toBe(1_000_900);
  pass(500);
  expect(time.now()).toBe(1_001_400);
});
