import { expect, test } from "vitest";
import { FactResends } from "./fact-resends.ts";

const SECOND_MS = 1000;

function resendsAt(time: { nowMs: number }): FactResends {
  return new FactResends({
    now: () => 0,
    monotonic: () => time.nowMs,
    sleep: () => Promise.reject(new Error("nobody sleeps here")),
  });
}

test("a fact of an earlier process is due at once, one that was just sent after ten seconds", () => {
  const time = { nowMs: 5 };
  const resends = resendsAt(time);
  expect(resends.isDue("old")).toBe(true);
  resends.sent("old");
  expect(resends.isDue("old")).toBe(false);
  time.nowMs += 10 * SECOND_MS;
  expect(resends.isDue("old")).toBe(true);
});

test("a fact that stays without a receipt is sent less and less often, and every five minutes at least", () => {
  const time = { nowMs: 0 };
  const resends = resendsAt(time);
  let sentCount = 0;
  for (; time.nowMs < 3600 * SECOND_MS; time.nowMs += SECOND_MS) {
    if (!resends.isDue("a")) continue;
    resends.sent("a");
    sentCount++;
  }
  // At 0, 10, 30, 70, 150 and 310 s, then every 300 s.
  expect(sentCount).toBe(6 + 10);
});

test("after a gap in the log everything is due again", () => {
  const resends = resendsAt({ nowMs: 0 });
  resends.sent("a");
  resends.startOver();
  expect(resends.isDue("a")).toBe(true);
});

test("a receipt ends it", () => {
  const resends = resendsAt({ nowMs: 0 });
  resends.sent("a");
  resends.receipted(["a"]);
  expect(resends.isDue("a")).toBe(true);
});
