import { systemClock } from "@lacewing/runtime/clock.ts";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { PaceWatch } from "./pace-watch.ts";

const KIB = 1024;

let watch: PaceWatch;
let givenUp: string[];
beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
  watch = new PaceWatch(systemClock);
  givenUp = [];
});
afterEach(() => {
  vi.useRealTimers();
});

/** A read of `source` that brings `bytesPerSecond` as long as it is not given up. */
function read(source: string, bytesPerSecond: number, isOurFault = false, silenceMs?: number) {
  let isOver = false;
  const watched = watch.begin(
    source,
    () => isOurFault,
    ({ reason, message }) => {
      isOver = true;
      watched.stop();
      givenUp.push(`${source || "origin"} ${reason}: ${message}`);
    },
    silenceMs,
  );
  return () => {
    if (!isOver) watched.received(bytesPerSecond);
  };
}

function run(seconds: number, ...reads: readonly (() => void)[]): void {
  for (let second = 0; second < seconds; second++) {
    for (const receive of reads) receive();
    vi.advanceTimersByTime(1000);
  }
}

test("a parent that trickles a byte per second is given up after one window", () => {
  run(10, read("b", 1));
  expect(givenUp).toEqual(["b stalled: the parent sent 1 B/s, less than 32768 B/s"]);
});

test("a parent that gets slow later is given up too", () => {
  const fast = read("b", 300 * KIB);
  run(25, fast);
  expect(givenUp).toEqual([]);
  vi.advanceTimersByTime(20_000);
  expect(givenUp).toHaveLength(1);
});

test("a slow parent is used as long as no other one is much faster", () => {
  const slow = read("b", 50 * KIB);
  run(30, slow, read("c", 700 * KIB));
  expect(givenUp).toEqual([]);
  run(11, slow, read("d", 5000 * KIB));
  expect(givenUp).toContain("b stalled: the parent sent 51200 B/s, another one 5120000 B/s");
});

test("two reads of one parent are not measured against each other", () => {
  run(30, read("b", 50 * KIB), read("b", 5000 * KIB));
  expect(givenUp).toEqual([]);
});

test("no parent is blamed for a slow disk", () => {
  run(30, read("b", 1, true));
  expect(givenUp).toEqual([]);
});

test("an origin may be slow, also beside fast parents, but not trickle", () => {
  const slow = read("", 2 * KIB);
  run(30, slow, read("b", 5000 * KIB));
  expect(givenUp).toEqual([]);
  run(10, slow, read("", 100));
  expect(givenUp).toContain("origin stalled: the origin sent 100 B/s, less than 1024 B/s");
});

test("a read that was stopped is not judged", () => {
  const watched = watch.begin(
    "b",
    () => false,
    () => givenUp.push("b"),
  );
  watched.received(1);
  watched.stop();
  vi.advanceTimersByTime(60_000);
  expect(givenUp).toEqual([]);
});

test("a parent that says nothing is given up when its lease is about to end, before the scheduler ends it", () => {
  const parent = read("b", 300 * KIB, false, 5_500);
  run(4, parent);
  vi.advanceTimersByTime(4_499);
  expect(givenUp).toEqual([]);
  vi.advanceTimersByTime(1);
  expect(givenUp).toEqual(["b stalled: the parent said nothing for 5500 ms"]);
});

test("silence while our own disk is behind is not the parent's", () => {
  const parent = read("b", 300 * KIB, true, 5_500);
  run(30, parent);
  vi.advanceTimersByTime(60_000);
  expect(givenUp).toEqual([]);
});
