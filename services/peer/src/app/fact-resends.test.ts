import { DownloadFinished } from "@lacewing/contracts/gen/lacewing/events/v1/events.ts";
import { beforeEach, expect, test } from "vitest";
import { FACT_RESEND_COUNT_MAX, FactResends } from "./fact-resends.ts";

const SECOND_MS = 1000;
let nowMs = 0;
const clock = { monotonic: () => nowMs };
let resends: FactResends;
beforeEach(() => {
  nowMs = 0;
  resends = new FactResends(clock);
});

const factsOf = (count: number): DownloadFinished[] =>
  Array.from({ length: count }, (_, index) =>
    DownloadFinished.fromPartial({ downloadId: `d${index}` }),
  );

/** One round: what is due is sent. */
function round(facts: readonly DownloadFinished[]): string[] {
  const ids = resends.due(facts).map(({ downloadId }) => downloadId);
  for (const id of ids) resends.sent(id);
  return ids;
}

test("a fact without a receipt is sent again after 10 s, then half as often each time, at last every 5 min", () => {
  const facts = factsOf(1);
  resends.sent("d0");
  const sentAtSeconds: number[] = [];
  for (; nowMs <= 1300 * SECOND_MS; nowMs += SECOND_MS) {
    if (round(facts).length > 0) sentAtSeconds.push(nowMs / SECOND_MS);
  }
  expect(sentAtSeconds).toEqual([10, 30, 70, 150, 310, 610, 910, 1210]);
});

test("what an earlier process left behind is sent at once, whatever the wall clock said then", () => {
  const fact = DownloadFinished.fromPartial({ downloadId: "d0", startedAtMs: 2 ** 45 });
  expect(round([fact])).toEqual(["d0"]);
});

test("facts behind many that are stuck have their turn in the next rounds, before those come again", () => {
  const facts = factsOf(FACT_RESEND_COUNT_MAX * 2 + 1);
  const rounds: string[][] = [];
  for (let index = 0; index < 4; index++, nowMs += 10 * SECOND_MS) rounds.push(round(facts));
  const ids = facts.map(({ downloadId }) => downloadId);
  expect(rounds[0]).toEqual(ids.slice(0, 500));
  expect(rounds[1]).toEqual(ids.slice(500, 1000));
  expect(rounds[2]).toEqual([...ids.slice(1000), ...ids.slice(0, 499)]);
  expect(rounds[3]?.slice(0, 2)).toEqual(["d499", "d500"]);
});

test("a receipt forgets when the fact was sent", () => {
  for (const id of ["d0", "d1"]) resends.sent(id);
  resends.receipted(["d0", "unknown"]);
  expect(resends.trackedCount).toBe(1);
});

test("of too many facts the least recently sent is forgotten", () => {
  resends = new FactResends(clock, 2);
  for (const id of ["d0", "d1", "d0", "d2"]) resends.sent(id);
  expect(resends.trackedCount).toBe(2);
  expect(round(factsOf(3))).toEqual(["d1"]);
});
