import { Explanation } from "@lacewing/contracts/gen/lacewing/scheduler/v1/scheduler.ts";
import { expect, test } from "vitest";
import { whyJson, whyLines } from "./why-lines.ts";

const MIB = 2 ** 20;
const AT_MS = Date.UTC(2026, 0, 2, 3, 4, 5);

function pageOf(traceId: string): string {
  return `http://traces/trace/${traceId}`;
}

test("a lease shows who, what, why, who was passed over, what came of it and what it rested on", () => {
  const told = Explanation.fromPartial({
    verdict: "child was given pieces 0–3 from parent.",
    notes: ["the decision log no longer keeps the grant"],
    isLive: true,
    subject: {
      $case: "lease",
      value: {
        lease: {
          leaseId: "7-3-1",
          slice: 7,
          epoch: 3,
          taskId: "07ab",
          childHostId: "child",
          parentHostId: "parent",
          pieces: [
            { start: 0, count: 4 },
            { start: 9, count: 1 },
          ],
          reason: "parent least-loaded load=0 of 3 candidates",
          candidateCount: 3,
          grantedAtMs: AT_MS,
          endedAtMs: AT_MS + 1_500,
          outcome: "stalled",
          bytes: 3 * MIB,
          transferMs: 100,
          bytesPerSecond: 30 * MIB,
          traceId: "ab12",
        },
        parent: {
          kind: "seed",
          state: "left",
          transferAddress: "10.0.0.1:7000",
          idc: "east",
          location: "eu|r1",
        },
        passedOver: [{ reason: "busy", count: 2 }],
        position: { eventsSequence: 12, decisionsSequence: 5 },
      },
    },
  });
  expect(whyLines(told, pageOf).split("\n")).toEqual([
    "child was given pieces 0–3 from parent.",
    "",
    "lease        7-3-1 (slice 7, epoch 3)",
    "task         07ab",
    "to           child",
    "from         parent (seed, left now, 10.0.0.1:7000, east eu|r1)",
    "pieces       0–3, 9",
    "reason       parent least-loaded load=0 of 3 candidates",
    "candidates   3; passed over: 2 busy",
    "granted      2026-01-02T03:04:05.000Z",
    "ended        2026-01-02T03:04:06.500Z, after 1.5 s: stalled",
    "brought      3 MiB in 100 ms (30 MiB/s)",
    "request      none: a seed host keeps the content",
    "rested on    event 12 of LACEWING_EVENTS (decision 5 of LACEWING_DECISIONS)",
    "trace        http://traces/trace/ab12",
    "",
    "Note: the decision log no longer keeps the grant.",
  ]);
});

test("a task shows a map of what each host holds, who waits and why, and its story by the time that passed", () => {
  const told = Explanation.fromPartial({
    verdict: "…",
    subject: {
      $case: "task",
      value: {
        task: { taskId: "07ab", lengthBytes: 4 * MIB, pieceLengthBytes: MIB, pieceCount: 4 },
        peers: [
          { hostId: "a", heldPieceCount: 4, bitmap: Buffer.from([0b1111]) },
          { hostId: "bb", heldPieceCount: 1, bitmap: Buffer.from([0b0010]) },
          { hostId: "c", heldPieceCount: 4, bitmap: Buffer.from([0b1111]), isGone: true },
        ],
        peerCount: 7,
        gonePeerCount: 2,
        completePeerCount: 2,
        goneCompletePeerCount: 1,
        waits: [
          {
            hostId: "bb",
            wantedPieceCount: 3,
            reason: "the one parent with a wanted piece is busy",
            passedOver: [{ reason: "all its upload slots are taken", count: 1, hostIds: ["a"] }],
          },
        ],
        story: [
          { atMs: AT_MS, kind: "created", text: "first asked for" },
          { atMs: AT_MS + 62_000, kind: "ended", text: "finished", leaseId: "7-3-1" },
        ],
      },
    },
  });
  const lines = whyLines(told, pageOf).split("\n");
  expect(lines).toEqual(
    expect.arrayContaining([
      "hosts        5, of which 1 hold all of it, and 2 that left or went silent",
      "  a  100 % ████",
      "  bb  25 % ·█··",
      "  c  100 % ████ gone",
      "  … and 4 more",
      "  bb (3 pieces): the one parent with a wanted piece is busy; passed over: 1 all its upload slots are taken (a)",
      "What happened since 2026-01-02T03:04:05.000Z:",
    ]),
  );
  expect(lines.at(-1)).toMatch(/^ +\+1 min 2 s {2}ended +finished \[7-3-1\]$/);
});

test("who was given other content by the name of a task is marked", () => {
  const value = {
    task: { pieceCount: 4 },
    peers: [{ hostId: "a", bitmap: Buffer.alloc(0), isGone: true, isApart: true }],
  };
  const told = Explanation.fromPartial({ subject: { $case: "task", value } });
  expect(whyLines(told, pageOf).split("\n")).toContain("  a   0 % ···· gone apart");
});

test("a download shows its bytes by where they came from, and the leases that fed it", () => {
  const told = Explanation.fromPartial({
    verdict: "…",
    subject: {
      $case: "download",
      value: {
        download: {
          downloadId: "d-1",
          outcome: "failed",
          httpStatus: 200,
          error: "the origin went away",
          isDegraded: true,
          startedAtMs: AT_MS,
          delivered: { localPeerBytes: MIB, remotePeerBytes: 3 * MIB, backToSourceBytes: 0 },
          fetched: {},
        },
        leases: [{ leaseId: "7-3-1", parentHostId: "", outcome: "live", reason: "origin open" }],
      },
    },
  });
  const text = whyLines(told, pageOf);
  expect(text).toContain("delivered    4 MiB: local 25 %, peers 75 %");
  expect(text).toContain(
    "outcome      failed (HTTP 200), without the scheduler's help: the origin went away",
  );
  expect(text).toMatch(/7-3-1 +│ origin +│ +│ nothing yet +│ live +│ origin open/);
  expect(text).not.toContain("trace ");
});

test.each([
  [1, "none: passed through"],
  [2, "several"],
])("a row of %i requests without a task says: %s", (requestCount, what) => {
  const download = { downloadId: "d-1", outcome: "finished", requestCount };
  const told = Explanation.fromPartial({
    subject: { $case: "download", value: { download } },
  });
  const line = whyLines(told, pageOf)
    .split("\n")
    .find((text) => text.startsWith("task"));
  expect(line?.replace(/^task +/, "")).toBe(what);
});

test("a download that a killed host had only begun has no task and no figures that are known", () => {
  const download = { downloadId: "d-1", outcome: "interrupted", requestCount: 1, delivered: {} };
  const told = Explanation.fromPartial({ subject: { $case: "download", value: { download } } });
  const text = whyLines(told, pageOf);
  expect(text).toContain("task         not known: the host stopped");
  expect(text).toContain("figures      not known: the host stopped");
  expect(text).not.toMatch(/passed through|delivered|fetched|first byte|cost/);
});

test("a download that a stopping host could still account for has its figures", () => {
  const delivered = { localPeerBytes: 0, remotePeerBytes: MIB, backToSourceBytes: 0 };
  const download = { outcome: "interrupted", taskId: "07ab", ttfbMs: 3, costMs: 90, delivered };
  const told = Explanation.fromPartial({ subject: { $case: "download", value: { download } } });
  const text = whyLines(told, pageOf);
  expect(text).toContain("delivered    1 MiB: peers 100 %");
  expect(text).toContain("task         07ab");
});

test("for programs, piece maps are base64 and all else is as it was told", () => {
  const told = Explanation.fromPartial({
    verdict: "v",
    subject: { $case: "task", value: { peers: [{ hostId: "a", bitmap: Buffer.from([1, 2]) }] } },
  });
  expect(JSON.parse(whyJson(told))).toMatchObject({
    verdict: "v",
    subject: { $case: "task", value: { peers: [{ hostId: "a", bitmap: "AQI=" }] } },
  });
});
