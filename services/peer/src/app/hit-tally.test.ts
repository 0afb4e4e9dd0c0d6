import type { DownloadFinished } from "@lacewing/contracts/gen/lacewing/events/v1/events.ts";
import { parseTaskId, type TaskId } from "@lacewing/contracts/ids.ts";
import { createMemoryLog } from "@lacewing/observability/memory-log.ts";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import {
  type Hit,
  type HitSubject,
  HitTally,
  HIT_RECORD_COUNT_MAX,
  TALLIED_CONTENT_COUNT_MAX,
  TALLY_MS,
} from "./hit-tally.ts";

let facts: DownloadFinished[];
let tally: HitTally;
let log: ReturnType<typeof createMemoryLog>;
beforeEach(() => {
  vi.useFakeTimers();
  facts = [];
  log = createMemoryLog();
  let idCount = 0;
  tally = new HitTally({
    link: { downloadEnded: (fact) => facts.push(fact) },
    hostId: "host-a",
    clock: { now: () => 0, monotonic: () => performance.now(), sleep: async () => {} },
    log,
    newId: () => `tally-${++idCount}`,
  });
});
afterEach(() => void vi.useRealTimers());

function taskIdOf(index: number): TaskId {
  const taskId = parseTaskId(index.toString(16).padStart(64, "0"));
  if (taskId === undefined) throw new TypeError(`no task id: ${index}`);
  return taskId;
}

function subject(index: number, change: Partial<HitSubject> = {}): HitSubject {
  const taskId = taskIdOf(index);
  const labels = { tag: "t", application: "a", priority: 1 };
  return { taskId, url: `http://o/${index}`, contentLengthBytes: 10, ...labels, ...change };
}

const HIT: Hit = {
  outcome: "finished",
  deliveredBytes: 10,
  startedAtMs: 1000,
  ttfbMs: 1,
  costMs: 2,
};

const requestsOf = (told: readonly DownloadFinished[]) =>
  told.reduce((sum, { requestCount }) => sum + requestCount, 0);

test("so many hits are recorded by themselves in a second, and no more", () => {
  let count = 0;
  while (tally.hasRecord && tally.takeRecord()) count++;
  expect(count).toBe(HIT_RECORD_COUNT_MAX);
  expect(tally.takeRecord()).toBe(false);
  vi.advanceTimersByTime(1000);
  expect(tally.hasRecord).toBe(true);
});

test("hits are told within a second as one fact and one line: bytes summed, first start, slowest times", () => {
  tally.add(subject(1), { ...HIT, startedAtMs: 2000 });
  tally.add(subject(1), { ...HIT, ttfbMs: 7, costMs: 30 });
  tally.add(subject(1), { ...HIT, startedAtMs: 3000 });
  expect(facts).toEqual([]);
  vi.advanceTimersByTime(TALLY_MS);
  expect(facts).toMatchObject([
    {
      downloadId: "tally-1",
      taskId: taskIdOf(1),
      url: "http://o/1",
      tag: "t",
      application: "a",
      priority: 1,
      method: "GET",
      outcome: "finished",
      httpStatus: 200,
      requestCount: 3,
      startedAtMs: 1000,
      ttfbMs: 7,
      costMs: 30,
      delivered: { localPeer: 30, remotePeer: 0, backToSource: 0 },
      fetched: { localPeer: 0, remotePeer: 0, backToSource: 0 },
      contentLengthBytes: 10,
    },
  ]);
  const lines = log.entries.filter(({ event }) => event === "peer task done");
  expect(lines).toMatchObject([{ fields: { requests: 3, outcome: "finished" } }]);
  vi.advanceTimersByTime(10 * TALLY_MS);
  expect(facts.length).toBe(1);
});

test.each<[string, Partial<HitSubject>, Partial<Hit>]>([
  ["task", { taskId: taskIdOf(2) }, {}],
  ["url", { url: "http://o/other" }, {}],
  ["tag", { tag: "other" }, {}],
  ["application", { application: "other" }, {}],
  ["priority", { priority: 2 }, {}],
  ["outcome", {}, { outcome: "client_gone" }],
  ["whether there were bytes", {}, { deliveredBytes: 0 }],
  ["the minute in which they began", {}, { startedAtMs: HIT.startedAtMs - 60_000 }],
])("hits that differ by %s are told apart", (_what, otherSubject, otherHit) => {
  tally.add(subject(1), HIT);
  tally.add(subject(1, otherSubject), { ...HIT, ...otherHit });
  tally.tell();
  expect(facts.map(({ requestCount }) => requestCount)).toEqual([1, 1]);
});

test("URLs beyond the limit are summed up by content, and contents beyond it by rule: no hit and no byte is lost", () => {
  for (let index = 0; index < TALLIED_CONTENT_COUNT_MAX; index++) {
    tally.add(subject(0, { url: `http://o/${index}` }), HIT);
  }
  const beyond = 50;
  for (let index = 1; index <= TALLIED_CONTENT_COUNT_MAX + beyond; index++) {
    tally.add(subject(index), HIT);
    tally.add(subject(index, { url: "http://o/other" }), HIT);
  }
  tally.add(subject(0), HIT);
  tally.tell();
  expect(facts.length).toBe(2 * TALLIED_CONTENT_COUNT_MAX + 1);
  expect(facts[0]).toMatchObject({ taskId: taskIdOf(0), url: "http://o/0", requestCount: 2 });
  const byContent = facts.slice(TALLIED_CONTENT_COUNT_MAX, -1);
  expect(byContent.map(({ taskId, url, requestCount }) => [taskId, url, requestCount])).toEqual(
    byContent.map((_, index) => [taskIdOf(index + 1), "", 2]),
  );
  expect(facts.at(-1)).toMatchObject({
    taskId: "",
    url: "",
    tag: "t",
    requestCount: 2 * beyond,
    delivered: { localPeer: 2 * beyond * 10 },
  });
  expect(requestsOf(facts)).toBe(TALLIED_CONTENT_COUNT_MAX * 3 + 2 * beyond + 1);
});

test("a host that stops tells what it has, and then each at once", () => {
  tally.add(subject(1), HIT);
  tally.close();
  expect(requestsOf(facts)).toBe(1);
  tally.add(subject(1), HIT);
  expect(requestsOf(facts)).toBe(2);
  expect(vi.getTimerCount()).toBe(0);
});

const HELD: DownloadFinished = {
  ...HIT,
  ...subject(1),
  downloadId: "d-1",
  method: "GET",
  httpStatus: 200,
  fetched: { localPeer: 0, remotePeer: 0, backToSource: 0 },
  delivered: { localPeer: 10, remotePeer: 0, backToSource: 0 },
  probeBytes: 0,
  range: "",
  degraded: false,
  traceId: "",
  error: "",
  requestCount: 1,
};

test.each(["finished", "client_gone"])(
  "a download of what was held that is %s is summed up",
  (outcome) => {
    expect(tally.addFact({ ...HELD, outcome })).toBe(true);
    tally.tell();
    expect(facts).toMatchObject([{ outcome, requestCount: 1, delivered: { localPeer: 10 } }]);
  },
);

test.each<[string, Partial<DownloadFinished>]>([
  ["failed", { outcome: "failed" }],
  ["interrupted", { outcome: "interrupted" }],
  ["another status", { httpStatus: 206 }],
  ["a range", { range: "bytes=0-" }],
  ["bytes of others", { delivered: { localPeer: 1, remotePeer: 1, backToSource: 0 } }],
  ["bytes of the origin", { fetched: { localPeer: 0, remotePeer: 0, backToSource: 1 } }],
  ["a probe", { probeBytes: 1 }],
  ["help that it lacked", { degraded: true }],
  ["no task", { taskId: "" }],
])("a download with %s is told by itself", (_what, change) => {
  expect(tally.addFact({ ...HELD, ...change })).toBe(false);
  tally.tell();
  expect(facts).toEqual([]);
});
