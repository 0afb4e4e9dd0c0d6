import {
  Download,
  Lease,
  Task,
  TaskStory,
} from "@lacewing/contracts/gen/lacewing/scheduler/v1/scheduler.ts";
import { describe, expect, test } from "vitest";
import { downloadVerdict, leaseVerdict, taskVerdict } from "./verdicts.ts";

const MIB = 2 ** 20;

function lease(value: Partial<Lease>): Lease {
  return Lease.fromPartial({
    childHostId: "child",
    parentHostId: "parent",
    pieces: [{ start: 0, count: 4 }],
    reason: "parent least-loaded load=1 of 3 candidates",
    outcome: "finished",
    bytes: 4 * MIB,
    transferMs: 100,
    bytesPerSecond: 40 * MIB,
    ...value,
  });
}

function download(value: Partial<Download>): Download {
  return Download.fromPartial({
    hostId: "child",
    taskId: "ab",
    outcome: "finished",
    delivered: { localPeerBytes: 0, remotePeerBytes: 0, backToSourceBytes: 0 },
    ...value,
  });
}

describe("a download", () => {
  const mixed = { localPeerBytes: 0, remotePeerBytes: 62 * MIB, backToSourceBytes: 38 * MIB };

  test("partly from the origin names the pieces that no host held", () => {
    const leases = [
      lease({ parentHostId: "seed-1" }),
      lease({
        parentHostId: "",
        pieces: [{ start: 12, count: 20 }],
        reason: "origin rep=0: no copy held or in flight",
      }),
    ];
    expect(downloadVerdict(download({ delivered: mixed }), leases)).toBe(
      "38 % came from the origin because no copy of pieces 12–31 was held or on its way when it asked; 62 % came from seed-1.",
    );
  });

  test("of several causes tells the one that brought most first", () => {
    const leases = [
      lease({ parentHostId: "", isOpen: true, bytes: MIB }),
      lease({
        parentHostId: "",
        pieces: [{ start: 9, count: 1 }],
        bytes: 8 * MIB,
        reason: "origin rep=1: no piece arrived for 12.0s",
      }),
    ];
    const all = { localPeerBytes: 0, remotePeerBytes: 0, backToSourceBytes: 9 * MIB };
    expect(downloadVerdict(download({ delivered: all }), leases)).toBe(
      "100 % came from the origin because the only copy of piece 9 did not arrive and because nobody had described the content yet when it asked for pieces 0–3.",
    );
  });

  test("that the scheduler did not answer for says so", () => {
    const told = downloadVerdict(download({ delivered: mixed, isDegraded: true }), []);
    expect(told).toContain(
      "38 % came from the origin because the scheduler did not answer in time",
    );
  });

  test("that a stop of the host cut off before its task was known does not say that nothing came", () => {
    const cutOff = { outcome: "interrupted" };
    expect(downloadVerdict(download({ ...cutOff, taskId: "" }), [])).toBe(
      "The download did not finish: the host stopped; before, the content was not known yet, and what was delivered was not noted.",
    );
    expect(downloadVerdict(download(cutOff), [])).toContain("before, nothing was delivered.");
  });

  test("that never became a task says what a task needs", () => {
    const told = downloadVerdict(download({ taskId: "", delivered: mixed }), []);
    expect(told).toContain("because it was passed through");
  });

  test("from the host's own cache, and from peers and cache, needs no cause", () => {
    const local = { localPeerBytes: 5, remotePeerBytes: 0, backToSourceBytes: 0 };
    expect(downloadVerdict(download({ delivered: local }), [])).toBe(
      "All of it was held by child already.",
    );
    const both = { localPeerBytes: 1, remotePeerBytes: 3, backToSourceBytes: 0 };
    expect(downloadVerdict(download({ delivered: both }), [lease({})])).toBe(
      "75 % came from parent and 25 % was held by child already, nothing from the origin.",
    );
  });

  test("that failed says how before it says where its bytes came from", () => {
    expect(
      downloadVerdict(download({ outcome: "anchor_mismatch", error: "sha256 differs" }), []),
    ).toBe(
      "The download did not finish: the content does not agree with its digest (sha256 differs); before, nothing was delivered.",
    );
  });
});

describe("a lease", () => {
  test("that ended says what it brought", () => {
    expect(leaseVerdict(lease({}), 0)).toBe(
      "child was given pieces 0–3 from parent (the least loaded of 3 candidates, serving 1 other); 4 MiB arrived in 100 ms (40 MiB/s).",
    );
  });

  test("that failed says how, and that is under way what is to come", () => {
    expect(leaseVerdict(lease({ outcome: "parent_dropped", bytes: 0 }), 0)).toContain(
      "it ended early (parent dropped), nothing arrived",
    );
    expect(leaseVerdict(lease({ outcome: "live" }), 3)).toContain(
      "it is under way, 3 pieces to come",
    );
  });
});

describe("a task", () => {
  const story = TaskStory.fromPartial({
    peerCount: 3,
    completePeerCount: 1,
    originCopies: 1.25,
    totals: { leaseCount: 4 },
    waits: [{ hostId: "c", reason: "all 2 parents with a wanted piece are busy" }],
  });

  test("says who holds it, what was read from the origin, and why somebody waits", () => {
    const task = Task.fromPartial({ state: "active", lengthBytes: MIB });
    expect(taskVerdict(story, task, true)).toBe(
      "1 host of 3 holds all of it; 1.25 copies were read from the origin under leases; 1 host waits, c because all 2 parents with a wanted piece are busy.",
    );
    expect(taskVerdict(story, task, false)).not.toContain("waits");
  });

  test("is told by its living hosts, and by those that are gone where somebody waits for what they held", () => {
    const task = Task.fromPartial({ state: "active", lengthBytes: MIB });
    const gone = {
      ...story,
      completePeerCount: 2,
      holderCount: 2,
      gonePeerCount: 1,
      goneCompletePeerCount: 1,
      goneHolderCount: 1,
    };
    expect(taskVerdict(gone, task, true)).toContain("1 host of 2 holds all of it");
    expect(taskVerdict(gone, task, true)).not.toContain("gone");
    const nobody = { ...gone, completePeerCount: 1, waits: story.waits.slice(0, 1) };
    expect(taskVerdict(nobody, task, true)).toBe(
      "No living host holds all of it; 1.25 copies were read from the origin under leases; 1 host waits, c because all 2 parents with a wanted piece are busy; of 2 hosts that held pieces 1 is gone.",
    );
    expect(taskVerdict({ ...nobody, goneHolderCount: 2 }, task, true)).toMatch(
      /; all 2 hosts that held pieces are gone\.$/,
    );
    expect(taskVerdict({ ...nobody, waits: [] }, task, true)).not.toContain("gone");
  });

  test("that nobody holds or wants any more says since when", () => {
    const forgotten = Task.fromPartial({ state: "verified", lengthBytes: 1, forgottenAtMs: 1 });
    expect(taskVerdict(story, forgotten, true)).toContain(
      "any more, since 1970-01-01T00:00:00.001Z",
    );
  });

  test("that was retired says why, and that nobody described that it is not", () => {
    const retired = Task.fromPartial({ state: "retired", retiredReason: "digest_conflict" });
    expect(taskVerdict(story, retired, true)).toContain("because of digest conflict");
    expect(taskVerdict(story, Task.fromPartial({ state: "active" }), false)).toBe(
      "Nobody has described the content yet.",
    );
  });
});
