import { createMemoryLog } from "@lacewing/observability/memory-log.ts";
import { systemClock } from "@lacewing/runtime/clock.ts";
import { PortError } from "@lacewing/runtime/errors.ts";
import { createPool } from "@lacewing/scheduler/adapters/postgres/pool.ts";
import { PostgresProjectionStore } from "@lacewing/scheduler/adapters/postgres/projection-store.ts";
import { PostgresSliceOwnership } from "@lacewing/scheduler/adapters/postgres/slice-ownership.ts";
import type { LeaseRow, ProjectionBatch } from "@lacewing/scheduler/app/ports.ts";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { z } from "zod";
import { startTestPostgres, type TestPostgres } from "../support/postgres.ts";
import {
  checkpointAt,
  download,
  emptyBatch,
  emptyCheckpoint,
  host,
  lease,
  peer,
  SLICE,
  STARTED_AT_MS,
  startProjectionWorld,
  task,
  TASK_ID,
  wholeBatch,
} from "../support/projection-world.ts";
import { waitFor } from "../support/wait-for.ts";

/** Upkeep, which begins with the first flush, takes away nothing that a wrong clock dated. */
const CENTURIES = { keepDays: 100_000, keepTrafficDays: 100_000 };

let postgres: TestPostgres;
beforeAll(async () => {
  postgres = await startTestPostgres();
});
afterAll(async () => {
  await postgres[Symbol.asyncDispose]();
});

describe("a flush", () => {
  test("is what a restarted scheduler loads", async () => {
    await using world = await startProjectionWorld(postgres);
    expect(await world.store.flush(wholeBatch())).toBe("committed");
    const snapshot = await world.another().load();
    expect(snapshot.hosts).toEqual([host]);
    expect(snapshot.tasks).toEqual([task]);
    expect(snapshot.peers).toEqual([peer]);
    expect(snapshot.liveLeases).toEqual([lease]);
    expect(snapshot.checkpoints).toHaveLength(64);
    expect(snapshot.checkpoints[SLICE]).toEqual(checkpointAt(10));
  });

  test("says of a peer whether it stands apart, as it was written last", async () => {
    await using world = await startProjectionWorld(postgres);
    const loaded = async () => (await world.another().load()).peers.map((row) => row.isApart);
    await world.store.flush({ ...wholeBatch(), peers: [{ ...peer, isApart: true }] });
    expect(await loaded()).toEqual([true]);
    const checkpoints = [{ before: checkpointAt(10), after: checkpointAt(11) }];
    await world.store.flush({ ...emptyBatch(), peers: [peer], checkpoints });
    expect(await loaded()).toEqual([false]);
  });

  test("of an empty database loads as a checkpoint of zeros for each slice", async () => {
    await using world = await startProjectionWorld(postgres);
    const snapshot = await world.store.load();
    expect(snapshot.checkpoints.map((row) => row.slice)).toEqual(
      Array.from({ length: 64 }, (_, slice) => slice),
    );
    expect(snapshot.checkpoints[63]).toEqual(emptyCheckpoint(63));
    expect(snapshot.tasks).toEqual([]);
  });

  test("writes whole states over older ones, ends leases, removes peers and keeps retired tasks without their digests", async () => {
    await using world = await startProjectionWorld(postgres);
    await world.store.flush(wholeBatch());
    const ended: LeaseRow = {
      ...lease,
      outcome: "finished",
      endedAtMs: 1_700_000_009_000,
      bytes: 7,
    };
    const outcome = await world.store.flush({
      ...emptyBatch(),
      hosts: [{ ...host, state: "left" }],
      removedPeers: [{ taskId: TASK_ID, hostId: host.hostId }],
      leases: [ended],
      checkpoints: [{ before: checkpointAt(10), after: checkpointAt(11) }],
    });
    expect(outcome).toBe("committed");
    const snapshot = await world.store.load();
    expect(snapshot.hosts[0]?.state).toBe("left");
    expect(snapshot.peers).toEqual([]);
    expect(snapshot.liveLeases).toEqual([]);
    await world.store.flush({
      ...emptyBatch(),
      tasks: [{ ...task, state: "retired", retiredReason: "poisoned" }],
      checkpoints: [{ before: checkpointAt(11), after: checkpointAt(12) }],
    });
    expect((await world.store.load()).tasks).toEqual([
      { ...task, state: "retired", retiredReason: "poisoned", pieceDigests: new Uint8Array() },
    ]);
  });

  test("of what is forgotten keeps the rows for SQL and loads them no more, until they are written again", async () => {
    await using world = await startProjectionWorld(postgres);
    await world.store.flush(wholeBatch());
    await world.store.flush({
      ...emptyBatch(),
      removedPeers: [{ taskId: TASK_ID, hostId: host.hostId }],
      forgottenTaskIds: [TASK_ID],
      forgottenHostIds: [host.hostId],
      checkpoints: [{ before: checkpointAt(10), after: checkpointAt(11) }],
    });
    const snapshot = await world.store.load();
    expect([snapshot.hosts, snapshot.tasks, snapshot.peers]).toEqual([[], [], []]);
    const url = z.object({ url: z.string() });
    expect(await world.rows(url, "SELECT url FROM tasks")).toEqual([{ url: task.url }]);
    await world.store.flush({
      ...emptyBatch(),
      hosts: [host],
      tasks: [task],
      checkpoints: [{ before: checkpointAt(11), after: checkpointAt(12) }],
    });
    const again = await world.store.load();
    expect([again.hosts, again.tasks]).toEqual([[host], [task]]);
  });

  test("of more rows than fit one page loads all of them, in order", async () => {
    await using world = await startProjectionWorld(postgres);
    const ids = Array.from(
      { length: 600 },
      (_, index) => `05${index.toString(16).padStart(62, "0")}`,
    );
    const hostIds = Array.from({ length: 10 }, (_, index) => `host-${index}`);
    await world.store.flush({
      ...wholeBatch(),
      tasks: ids.map((taskId) => ({ ...task, taskId })),
      peers: ids.flatMap((taskId) => hostIds.map((hostId) => ({ ...peer, taskId, hostId }))),
      leases: [],
    });
    const snapshot = await world.store.load();
    expect(snapshot.tasks.map((row) => row.taskId)).toEqual(ids);
    expect(snapshot.peers.map((row) => [row.taskId, row.hostId])).toEqual(
      ids.flatMap((taskId) => hostIds.map((hostId) => [taskId, hostId])),
    );
  });

  test("moves the checkpoints of many idle slices at once", async () => {
    await using world = await startProjectionWorld(postgres);
    const moves = Array.from({ length: 64 }, (_, slice) => ({
      before: emptyCheckpoint(slice),
      after: { ...emptyCheckpoint(slice), eventsSequence: 1_000 + slice },
    }));
    expect(await world.store.flush({ ...emptyBatch(), checkpoints: moves })).toBe("committed");
    const { checkpoints } = await world.store.load();
    expect(checkpoints).toEqual(moves.map((move) => move.after));
  });
});

describe("the fence", () => {
  test("refuses a batch whose checkpoint was moved by somebody else, and writes nothing of it", async () => {
    await using world = await startProjectionWorld(postgres);
    await world.store.flush({
      ...emptyBatch(),
      checkpoints: [{ before: emptyCheckpoint(SLICE), after: { ...checkpointAt(4), epoch: 2 } }],
    });
    expect(await world.store.flush(wholeBatch())).toBe("fenced");
    const snapshot = await world.store.load();
    expect(snapshot.hosts).toEqual([]);
    expect(snapshot.checkpoints[SLICE]).toEqual({ ...checkpointAt(4), epoch: 2 });
  });

  test("refuses the whole batch when one slice of several is lost", async () => {
    await using world = await startProjectionWorld(postgres);
    const lost = { ...emptyCheckpoint(9), eventsSequence: 77 };
    const outcome = await world.store.flush({
      ...wholeBatch(),
      checkpoints: [
        ...wholeBatch().checkpoints,
        { before: lost, after: { ...lost, eventsSequence: 78 } },
      ],
    });
    expect(outcome).toBe("fenced");
    expect((await world.store.load()).checkpoints[SLICE]).toEqual(emptyCheckpoint(SLICE));
  });

  test("refuses an owner whose slice has a higher epoch by now", async () => {
    await using world = await startProjectionWorld(postgres);
    await world.ownership.acquire("first", 1_000);
    await world.ownership.release("first");
    await world.ownership.acquire("second", 1_000);
    expect(await world.store.flush(wholeBatch())).toBe("fenced");
  });

  test("refuses an owner that was replaced in the middle of its transaction, and lets its successor's batch in", async () => {
    await using world = await startProjectionWorld(postgres);
    await world.rows(z.unknown(), "BEGIN");
    await world.rows(z.unknown(), "LOCK TABLE lacewing.hosts IN SHARE MODE");
    const late = world.store.flush(wholeBatch());
    await waitFor("the checkpoint is moved, and the hosts are waited for", () => isWaiting(world));
    const epochs = await world.ownership.seize("successor", 60_000);
    const { checkpoints } = await world.another().load();
    await world.rows(z.unknown(), "COMMIT");

    expect(await late).toBe("fenced");
    const after = { ...checkpointAt(11), epoch: epochs.get(SLICE) ?? 0 };
    const before = checkpoints[SLICE] ?? emptyCheckpoint(SLICE);
    const batch = { ...wholeBatch(), checkpoints: [{ before, after }] };
    expect(await world.another().flush(batch)).toBe("committed");
  });

  test("lets one of two schedulers that flush at once win", async () => {
    await using world = await startProjectionWorld(postgres);
    const other = world.another();
    const batchOf = (messageId: string): ProjectionBatch => ({
      ...emptyBatch(),
      checkpoints: [
        {
          before: emptyCheckpoint(SLICE),
          after: { ...checkpointAt(10), lastMessageId: messageId },
        },
      ],
    });
    const outcomes = await Promise.all([
      world.store.flush(batchOf("a:b:1")),
      other.flush(batchOf("a:b:2")),
    ]);
    expect(outcomes.toSorted()).toEqual(["committed", "fenced"]);
  });
});

describe("a download", () => {
  test("that is sent twice, in one batch, the same batch again or a later one, is counted once", async () => {
    await using world = await startProjectionWorld(postgres);
    const batch = wholeBatch();
    const doubled = { ...batch, downloads: [...batch.downloads, ...batch.downloads] };
    expect(await world.store.flush(doubled)).toBe("committed");
    // The commit's answer was lost: the same batch is given again.
    expect(await world.store.flush(doubled)).toBe("committed");
    const outcome = await world.store.flush({
      ...emptyBatch(),
      downloads: [...batch.downloads, { hostId: "host-1", download: download("d-2") }],
      checkpoints: [{ before: checkpointAt(10), after: checkpointAt(20) }],
    });
    expect(outcome).toBe("committed");
    expect(await world.totals()).toEqual({ rows: 2, requests: 2, delivered: 2_000, origin: 800 });
  });

  test("that was passed through has no task", async () => {
    await using world = await startProjectionWorld(postgres);
    const passed = download("d-4", { taskId: "" });
    await world.store.flush({
      ...wholeBatch(),
      downloads: [{ hostId: "host-1", download: passed }],
    });
    expect(await world.rows(z.unknown(), "SELECT task_id FROM downloads")).toEqual([
      { task_id: null },
    ]);
  });

  test("lies in the partition of its day", async () => {
    await using world = await startProjectionWorld(postgres);
    await world.store.flush(wholeBatch());
    const day = new Date(STARTED_AT_MS).toISOString().slice(0, 10).replaceAll("-", "");
    expect(
      await world.rows(z.unknown(), "SELECT tableoid::regclass::text AS part FROM downloads"),
    ).toEqual([{ part: `downloads_${day}` }]);
  });
});

describe("a row that Postgres refuses", () => {
  test("is parked with its reason and the rest of the batch is written", async () => {
    await using world = await startProjectionWorld(postgres);
    const good = Array.from({ length: 20 }, (_, index) => ({
      hostId: "host-1",
      download: download(`good-${index}`),
    }));
    const bad = { hostId: "host-1", download: download("bad-1", { outcome: "exploded" }) };
    const worse = { hostId: "not a host", download: download("bad-2") };
    const batch = {
      ...wholeBatch(),
      downloads: [...good.slice(0, 7), bad, ...good.slice(7), worse],
    };
    expect(await world.store.flush(batch)).toBe("committed");
    expect((await world.totals()).requests).toBe(20);
    const parked = await world.rows(
      z.object({
        stream: z.string(),
        subject: z.string(),
        reason: z.string(),
        payload: z.instanceof(Buffer),
      }),
      "SELECT stream, subject, reason, payload FROM dead_letter ORDER BY reason",
    );
    expect(
      parked.map(({ stream, subject, reason }) => [stream, subject, reason.slice(0, 5)]),
    ).toEqual([
      ["projection", "downloads", "23514"],
      ["projection", "downloads", "23514"],
    ]);
    const ids = parked.map((row) => parkedDownload.parse(JSON.parse(row.payload.toString())));
    expect(ids.map((row) => row.download_id).toSorted()).toEqual(["bad-1", "bad-2"]);
    expect(world.log.entries.filter((entry) => entry.level === "error")).toHaveLength(2);
    expect((await world.store.load()).checkpoints[SLICE]).toEqual(checkpointAt(10));
  });

  test("is not what text with NUL, a clock of another century or a nonsense trace id makes", async () => {
    await using world = await startProjectionWorld(postgres, CENTURIES);
    const strange = download("d-5", {
      url: "http://origin/a\0b",
      application: "x".repeat(9_000),
      startedAtMs: 8_000_000_000_000_000,
      httpStatus: 4_000_000_000,
      traceId: "zzz",
      error: "half \ud800 pair",
    });
    await world.store.flush({
      ...wholeBatch(),
      downloads: [{ hostId: "host-1", download: strange }],
    });
    expect(
      await world.rows(
        z.unknown(),
        `SELECT url, length(application) AS length, extract(year FROM started_at AT TIME ZONE 'UTC')::int AS year, trace_id,
           (SELECT count(*)::int FROM dead_letter) AS parked FROM downloads`,
      ),
    ).toEqual([
      { url: "http://origin/a\u{fffd}b", length: 256, year: 2100, trace_id: "", parked: 0 },
    ]);
  });

  test("a message that could not be folded is kept once, with the batch", async () => {
    await using world = await startProjectionWorld(postgres);
    const letter = {
      stream: "LACEWING_EVENTS",
      streamSequence: 9,
      subject: "lw.v1.ev.5.host-1",
      reason: "not an event message",
      payload: new Uint8Array([0, 1, 255]),
    };
    await world.store.flush({ ...wholeBatch(), deadLetters: [letter, letter] });
    expect(await world.rows(z.unknown(), "SELECT stream, payload FROM dead_letter")).toEqual([
      { stream: "LACEWING_EVENTS", payload: Buffer.from([0, 1, 255]) },
    ]);
  });
});

test("a database that does not answer is a retryable error", async () => {
  const pool = createPool("postgres://nobody:secret@127.0.0.1:1/none", {
    applicationName: "test",
    log: createMemoryLog(),
  });
  const store = new PostgresProjectionStore({ pool, clock: systemClock, log: createMemoryLog() });
  const expected = { name: "PortError", code: "database_unavailable", retryable: true };
  await expect(store.load()).rejects.toMatchObject(expected);
  await expect(store.flush(wholeBatch())).rejects.toMatchObject(expected);
  await expect(new PostgresSliceOwnership(pool).acquire("a", 1)).rejects.toMatchObject(expected);
  await pool.end();
});

test("a connection that is ended in the middle is replaced at the next flush", async () => {
  await using world = await startProjectionWorld(postgres);
  await world.store.load();
  await world.rows(
    z.unknown(),
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'projection-test'",
  );
  const first = await world.store.flush(wholeBatch()).catch((error: unknown) => error);
  // Whether the pool has heard of it by then is chance; if not, the failure says to try again, and that works.
  const isRetryable = first instanceof PortError && first.retryable;
  expect(first === "committed" || isRetryable).toBe(true);
  expect(await world.store.flush(wholeBatch())).toBe("committed");
});

type World = Awaited<ReturnType<typeof startProjectionWorld>>;
const parkedDownload = z.object({ download_id: z.string() });

async function isWaiting(world: World): Promise<boolean> {
  return (await world.rows(z.unknown(), "SELECT 1 FROM pg_locks WHERE NOT granted")).length > 0;
}
