import type { DownloadFinished } from "@lacewing/contracts/gen/lacewing/events/v1/events.ts";
import { parseRequestId, parseTaskId } from "@lacewing/contracts/ids.ts";
import { createMemoryLog } from "@lacewing/observability/memory-log.ts";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { DownloadRecord, PROGRESS_JOURNALED_MS } from "./download-record.ts";

let begun: DownloadFinished[];
let ended: DownloadFinished[];
beforeEach(() => {
  vi.useFakeTimers();
  begun = [];
  ended = [];
});
afterEach(() => void vi.useRealTimers());

function aRecord(): DownloadRecord {
  const requestId = parseRequestId("request-1");
  if (requestId === undefined) throw new TypeError("no request id");
  return new DownloadRecord(
    {
      requestId,
      url: "http://origin.test/file",
      method: "GET",
      tag: "",
      application: "",
      priority: 0,
      range: "",
      receivedAtMs: performance.now(),
      traceparent: "",
      hostId: "host-a",
      tally: undefined,
    },
    {
      link: {
        downloadBegan: (fact) => begun.push(fact),
        downloadEnded: (fact) => ended.push(fact),
      },
      clock: { now: () => Date.now(), monotonic: () => performance.now(), sleep: async () => {} },
      log: createMemoryLog(),
    },
  );
}

test("what a download has brought is journaled while it lasts, as that of one that was interrupted", () => {
  const record = aRecord();
  record.taskId = parseTaskId("a".repeat(64));
  record.fetched.remotePeer = 70;
  record.delivered.remotePeer = 60;
  vi.advanceTimersByTime(PROGRESS_JOURNALED_MS);

  expect(begun).toHaveLength(2);
  expect(begun[1]).toMatchObject({
    downloadId: "request-1",
    taskId: "a".repeat(64),
    outcome: "interrupted",
    costMs: PROGRESS_JOURNALED_MS,
    fetched: { remotePeer: 70 },
    delivered: { remotePeer: 60 },
  });
  record.end("finished");
});

test("while nothing comes, and after the end, nothing more is journaled", () => {
  const record = aRecord();
  vi.advanceTimersByTime(3 * PROGRESS_JOURNALED_MS);
  const whileNothingCame = begun.length;
  record.delivered.localPeer = 10;
  record.end("finished");
  vi.advanceTimersByTime(3 * PROGRESS_JOURNALED_MS);

  expect([whileNothingCame, begun.length]).toEqual([1, 1]);
  expect(ended).toMatchObject([{ outcome: "finished", delivered: { localPeer: 10 } }]);
});

test("a client that has everything keeps its outcome while its host goes on fetching", () => {
  const record = aRecord();
  record.delivered.backToSource = 10;
  vi.advanceTimersByTime(PROGRESS_JOURNALED_MS);
  record.close("finished");
  vi.advanceTimersByTime(PROGRESS_JOURNALED_MS);
  const whileNothingCame = begun.at(-1)?.outcome;
  record.fetched.backToSource = 50;
  vi.advanceTimersByTime(PROGRESS_JOURNALED_MS);

  expect(whileNothingCame).toBe("finished");
  expect(begun.at(-1)).toMatchObject({ outcome: "finished", fetched: { backToSource: 50 } });
  record.settle();
});
