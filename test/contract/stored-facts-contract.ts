// oxlint-disable max-lines-per-function, vitest/valid-title -- a suite, named by who runs it
import type { StoredFacts } from "@lacewing/scheduler/app/explain/ports.ts";
import type { ProjectionStore } from "@lacewing/scheduler/app/ports.ts";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import {
  checkpointAt,
  download,
  emptyBatch,
  host,
  lease,
  peer,
  STARTED_AT_MS,
  task,
  TASK_ID,
  wholeBatch,
} from "../support/projection-world.ts";

const OTHER_TASK = `05${"ab".repeat(31)}`;
const TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736";
/** Recent: the housekeeping of the first flush removes what ended long ago. */
const AT_MS = STARTED_AT_MS;
const FIRST = { after: "", limit: 10 };

/** An empty projection and what reads it. */
export type OpenFacts = () => Promise<{
  readonly store: ProjectionStore;
  readonly facts: StoredFacts;
  close(): Promise<void>;
}>;

/** What every {@link StoredFacts} must do. */
export function storedFactsContract(name: string, open: OpenFacts) {
  describe(name, () => {
    let facts: StoredFacts;
    let opened: Awaited<ReturnType<OpenFacts>>;

    beforeEach(async () => {
      opened = await open();
      facts = opened.facts;
      const ended = { outcome: "finished", transferMs: 20 };
      await opened.store.flush({
        ...wholeBatch(),
        hosts: ["host-1", "host-2", "host-3"].map((hostId) => ({ ...host, hostId })),
        tasks: [
          task,
          {
            ...task,
            taskId: OTHER_TASK,
            state: "verified",
            anchor: "",
            url: `${task.url}?part=1`,
            createdAtMs: task.createdAtMs + 1,
          },
        ],
        peers: [peer, { ...peer, hostId: "host-2", heldPieceCount: 1, requests: [] }],
        leases: [
          {
            ...lease,
            ...ended,
            leaseId: "5-1-1",
            bytes: 700,
            grantedAtMs: AT_MS,
            endedAtMs: AT_MS + 100,
          },
          {
            ...lease,
            ...ended,
            leaseId: "5-1-2",
            childHostId: "host-2",
            parentHostId: "host-1",
            requestId: "d-2",
            outcome: "stalled",
            bytes: 300,
            grantedAtMs: AT_MS + 1_000,
            endedAtMs: AT_MS + 1_500,
          },
          {
            ...lease,
            leaseId: "5-1-3",
            childHostId: "host-2",
            requestId: "",
            grantedAtMs: AT_MS + 2_000,
          },
        ],
        downloads: [
          { hostId: "host-1", download: download("d-1") },
          {
            hostId: "host-2",
            download: download("d-2", { traceId: "", startedAtMs: STARTED_AT_MS + 1 }),
          },
          { hostId: "host-2", download: download("d-3", { taskId: "", traceId: TRACE_ID }) },
        ],
      });
    });
    afterEach(async () => opened.close());

    test("gives a lease as it was projected, and nothing for an id that nobody used", async () => {
      expect(await facts.lease("5-1-2")).toMatchObject({
        childHostId: "host-2",
        parentHostId: "host-1",
        outcome: "stalled",
        bytes: 300,
        endedAtMs: AT_MS + 1_500,
      });
      expect(await facts.lease("5-1-9")).toBeUndefined();
    });

    test("gives the newest leases of a task in the order of their grants, and sums over all", async () => {
      const newest = await facts.leasesOfTask(TASK_ID, 2);
      expect(newest.map((row) => row.leaseId)).toEqual(["5-1-2", "5-1-3"]);
      expect(await facts.leaseSums(TASK_ID)).toEqual({
        leaseCount: 3,
        failedLeaseCount: 1,
        remotePeerBytes: 300,
        backToSourceBytes: 700,
      });
      expect(await facts.leaseSums(OTHER_TASK)).toEqual({
        leaseCount: 0,
        failedLeaseCount: 0,
        remotePeerBytes: 0,
        backToSourceBytes: 0,
      });
    });

    test.each([
      ["unwanted", 1],
      ["shared", 1],
      ["unreachable", 2],
      ["parent_dropped", 2],
    ])(
      "a lease that ended as %s leaves %i failed ones in the sums",
      async (outcome, failedLeaseCount) => {
        await opened.store.flush({
          ...emptyBatch(),
          leases: [{ ...lease, leaseId: "5-1-4", outcome, grantedAtMs: AT_MS, endedAtMs: AT_MS }],
          checkpoints: [{ before: checkpointAt(10), after: checkpointAt(11) }],
        });

        expect(await facts.leaseSums(TASK_ID)).toMatchObject({ leaseCount: 4, failedLeaseCount });
      },
    );

    test("what a child tells of a lease after its end is stored counts once, and only of a lease of its own that has ended", async () => {
      const late = { leaseId: "5-1-4", childHostId: "host-2", bytes: 400, transferMs: 30 };
      await opened.store.flush({
        ...emptyBatch(),
        leases: [
          {
            ...lease,
            leaseId: "5-1-4",
            childHostId: "host-2",
            outcome: "finished",
            grantedAtMs: AT_MS,
            endedAtMs: AT_MS,
          },
        ],
        checkpoints: [{ before: checkpointAt(10), after: checkpointAt(11) }],
      });
      await opened.store.flush({
        ...emptyBatch(),
        lateBytes: [
          late,
          { ...late, leaseId: "5-1-2", bytes: 1 },
          { ...late, leaseId: "5-1-3" },
          { ...late, leaseId: "5-1-9" },
        ],
        checkpoints: [{ before: checkpointAt(11), after: checkpointAt(12) }],
      });
      await opened.store.flush({
        ...emptyBatch(),
        lateBytes: [
          { ...late, bytes: 5 },
          { ...late, childHostId: "host-1" },
        ],
        checkpoints: [{ before: checkpointAt(12), after: checkpointAt(13) }],
      });

      expect(await facts.lease("5-1-4")).toMatchObject({ bytes: 400, transferMs: 30 });
      expect(await facts.lease("5-1-2")).toMatchObject({ bytes: 300 });
      expect(await facts.lease("5-1-3")).toMatchObject({ bytes: 0, outcome: "live" });
      expect(await facts.leaseSums(TASK_ID)).toMatchObject({ backToSourceBytes: 1_100 });
    });

    test("what another host than the child tells of a lease that has ended without bytes is not counted", async () => {
      const ended = { ...lease, leaseId: "5-1-4", childHostId: "host-2", outcome: "finished" };
      await opened.store.flush({
        ...emptyBatch(),
        leases: [{ ...ended, grantedAtMs: AT_MS, endedAtMs: AT_MS }],
        checkpoints: [{ before: checkpointAt(10), after: checkpointAt(11) }],
      });
      await opened.store.flush({
        ...emptyBatch(),
        lateBytes: [{ leaseId: "5-1-4", childHostId: "host-1", bytes: 400, transferMs: 30 }],
        checkpoints: [{ before: checkpointAt(11), after: checkpointAt(12) }],
      });

      expect(await facts.lease("5-1-4")).toMatchObject({ bytes: 0, transferMs: ended.transferMs });
    });

    test("finds the leases of a download by its request, and by host and time", async () => {
      const span = { downloadId: "d-2", taskId: TASK_ID, hostId: "host-2" };
      const at = async (fromMs: number, toMs: number) =>
        (await facts.leasesOfDownload({ ...span, fromMs, toMs }, 10)).map((row) => row.leaseId);
      expect(await at(0, 1)).toEqual(["5-1-2"]);
      // A lease that still lives overlaps whatever came after its grant.
      expect(await at(AT_MS + 3_000, AT_MS + 4_000)).toEqual(["5-1-2", "5-1-3"]);
    });

    test("finds tasks by id, by first digits and by the content's digest", async () => {
      expect(await facts.task(TASK_ID)).toMatchObject({ url: task.url, lengthBytes: 1_000 });
      const like = async (digits: string) =>
        (await facts.tasksLike(digits, 2)).map((row) => row.taskId);
      expect(await like("05ab")).toEqual([OTHER_TASK]);
      expect(await like("05")).toEqual([TASK_ID, OTHER_TASK]);
      expect(await like("aaaa")).toEqual([TASK_ID]);
      expect(await like("ffff")).toEqual([]);
    });

    test("finds the tasks of a URL whatever their query, the newest first", async () => {
      const ofUrl = async (url: string, limit: number) =>
        (await facts.tasksOfUrl(url, limit)).map((row) => row.taskId);
      expect(await ofUrl(task.url, 10)).toEqual([OTHER_TASK, TASK_ID]);
      expect(await ofUrl(task.url, 1)).toEqual([OTHER_TASK]);
      expect(await ofUrl(`${task.url}x`, 10)).toEqual([]);
    });

    test("finds downloads by id, by trace and by task, in the order of their start", async () => {
      expect((await facts.download("d-1"))?.download).toEqual(download("d-1"));
      expect((await facts.download("d-3"))?.download.taskId).toBe("");
      const idsOf = (rows: Awaited<ReturnType<StoredFacts["downloadsOfTask"]>>) =>
        rows.map((row) => row.download.downloadId);
      expect(idsOf(await facts.downloadsOfTrace(TRACE_ID, 10))).toEqual(["d-1", "d-3"]);
      expect(idsOf(await facts.downloadsOfTask(TASK_ID, 10))).toEqual(["d-1", "d-2"]);
      expect(idsOf(await facts.downloadsOfTask(TASK_ID, 1))).toEqual(["d-2"]);
    });

    test("pages through hosts, tasks and peers by their keys", async () => {
      const hosts = await facts.hosts({ after: "host-1", limit: 1 });
      expect(hosts.map((row) => row.hostId)).toEqual(["host-2"]);
      const verified = await facts.tasks(FIRST, "verified");
      expect(verified.map((row) => row.taskId)).toEqual([OTHER_TASK]);
      const after = await facts.tasks({ after: TASK_ID, limit: 10 }, undefined);
      expect(after.map((row) => row.taskId)).toEqual([OTHER_TASK]);
      expect(await facts.peers(TASK_ID, FIRST)).toMatchObject([
        { hostId: "host-1", heldPieceCount: 2, requests: peer.requests, isGone: false },
        { hostId: "host-2", heldPieceCount: 1, requests: [], isGone: false },
      ]);
      expect(await facts.peers(TASK_ID, { after: "host-2", limit: 10 })).toEqual([]);
    });

    test("counts hosts that left, are lost or are not known apart from those that hold content now", async () => {
      const sums = {
        peerCount: 2,
        completePeerCount: 1,
        holderCount: 2,
        gonePeerCount: 0,
        goneCompletePeerCount: 0,
        goneHolderCount: 0,
      };
      expect(await facts.peerSums(TASK_ID, 2)).toEqual(sums);
      expect(await facts.peerSums(OTHER_TASK, 2)).toEqual({
        peerCount: 0,
        completePeerCount: 0,
        holderCount: 0,
        gonePeerCount: 0,
        goneCompletePeerCount: 0,
        goneHolderCount: 0,
      });
      await opened.store.flush({
        ...emptyBatch(),
        hosts: [
          { ...host, hostId: "host-1", state: "lost" },
          { ...host, hostId: "host-2", state: "left" },
        ],
        peers: [
          { ...peer, hostId: "host-3", heldPieceCount: 0 },
          { ...peer, hostId: "nobody" },
        ],
        checkpoints: [{ before: checkpointAt(10), after: checkpointAt(11) }],
      });
      expect(await facts.peerSums(TASK_ID, 2)).toEqual({
        peerCount: 4,
        completePeerCount: 2,
        holderCount: 3,
        gonePeerCount: 3,
        goneCompletePeerCount: 2,
        goneHolderCount: 3,
      });
      const told = await facts.peers(TASK_ID, FIRST);
      expect(told.map(({ hostId, isGone }) => [hostId, isGone])).toEqual([
        ["host-1", true],
        ["host-2", true],
        ["host-3", false],
        ["nobody", true],
      ]);
    });

    test("gives the hosts that are named and known", async () => {
      const named = await facts.hostsNamed(["host-2", "nobody"]);
      expect(named).toEqual([{ ...host, hostId: "host-2" }]);
      expect(await facts.hostsNamed([])).toEqual([]);
    });
  });
}
