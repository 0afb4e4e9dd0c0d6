import { jetstream, jetstreamManager } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/transport-node";
import { EventMessage } from "@lacewing/contracts/gen/lacewing/events/v1/events.ts";
import {
  DECISIONS_STREAM,
  EVENTS_STREAM,
  eventsSubject,
  MIXED,
} from "@lacewing/contracts/subjects.ts";
import { createMemoryLog } from "@lacewing/observability/memory-log.ts";
import { systemClock } from "@lacewing/runtime/clock.ts";
import { createPool } from "@lacewing/scheduler/adapters/postgres/pool.ts";
import { PostgresProjectionStore } from "@lacewing/scheduler/adapters/postgres/projection-store.ts";
import { PostgresSliceOwnership } from "@lacewing/scheduler/adapters/postgres/slice-ownership.ts";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { z } from "zod";
import { type NatsProgram, natsPrograms, startTestNats, type TestNats } from "../support/nats.ts";
import { startTestPostgres, type TestPostgres } from "../support/postgres.ts";
import { download } from "../support/projection-world.ts";
import { FakeHost, startTestScheduler, type TestScheduler } from "../support/scheduler-cluster.ts";
import {
  ALL_PIECES,
  announcement,
  bitmapOf,
  description,
  digestsOf,
  requestBy,
  taskIdOfSlice,
} from "../support/scheduler-world.ts";
import { connectSql, type Sql } from "../support/sql.ts";
import { waitFor } from "../support/wait-for.ts";

let postgres: TestPostgres;
beforeAll(async () => {
  postgres = await startTestPostgres();
});
afterAll(async () => {
  await postgres[Symbol.asyncDispose]();
});

/** A broker and a database of its own, on which schedulers follow each other. */
class Lab {
  readonly #stack = new AsyncDisposableStack();
  readonly nats: TestNats;
  readonly hosts: NatsConnection;
  readonly sql: Sql;
  readonly #databaseUrl: string;

  constructor(parts: Pick<Lab, "nats" | "hosts" | "sql">, databaseUrl: string) {
    this.nats = this.#stack.use(parts.nats);
    this.sql = this.#stack.use(parts.sql);
    this.hosts = parts.hosts;
    this.#databaseUrl = databaseUrl;
  }

  /** The next scheduler, which decides. Ends with the lab when it is not stopped before. */
  async schedule(): Promise<TestScheduler> {
    const log = createMemoryLog();
    const pool = createPool(this.#databaseUrl, { applicationName: "logs-test", log });
    const store = new PostgresProjectionStore({ pool, clock: systemClock, log });
    const scheduler = await startTestScheduler(await this.nats.connect(), {
      store,
      ownership: new PostgresSliceOwnership(pool),
    });
    this.#stack.defer(async () => {
      await scheduler.stop();
      await store.close();
      await pool.end();
    });
    await scheduler.isLive;
    return scheduler;
  }

  async host(name: string): Promise<FakeHost> {
    const host = new FakeHost(name, this.hosts);
    await announce(host);
    return host;
  }

  async number(query: string): Promise<number> {
    const [row] = await this.sql.rows(
      z.object({ n: z.coerce.number() }),
      `SELECT (SELECT ${query}) AS n`,
    );
    return row?.n ?? Number.NaN;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}

async function startLab(program: NatsProgram): Promise<Lab> {
  const nats = await startTestNats(program);
  const url = await postgres.createMigratedDatabase();
  return new Lab({ nats, hosts: await nats.connect(), sql: await connectSql(url) }, url);
}

/** @param full whether it tells everything it holds, which answers the question for it. */
async function announce(host: FakeHost, full = true): Promise<void> {
  const value = announcement(host.hostId, { full });
  await host.publish("host", [{ $case: "hostAnnounced", value }]);
}

async function request(host: FakeHost, slice: number): Promise<void> {
  await host.publish(slice, [requestOf(host, slice)]);
}

function requestOf(host: FakeHost, slice: number) {
  const value = requestBy(host.hostId, {
    taskId: taskIdOfSlice(slice),
    requestId: `request-${slice}-of-${host.hostId}`,
  });
  return { $case: "taskRequested", value } as const;
}

function holding(slice: number, pieces: readonly number[]) {
  const held = { incarnation: 1, bitmap: bitmapOf(pieces), digests: digestsOf(pieces) };
  const value = { taskId: taskIdOfSlice(slice), ...held, leasesEnded: [] };
  return { $case: "piecesAvailable", value } as const;
}

function describing(slice: number) {
  return { $case: "taskDescribed", value: description({ taskId: taskIdOfSlice(slice) }) } as const;
}

/** Deletes a stream and makes it again as it was, so that its sequences begin at 1 again. */
async function makeAnew(lab: Lab, stream: string): Promise<void> {
  const manager = await jetstreamManager(lab.hosts);
  const { config } = await manager.streams.info(stream);
  await manager.streams.delete(stream);
  await manager.streams.add(config);
}

async function isAskedForAll(host: FakeHost): Promise<void> {
  await waitFor("the host is asked for everything", async () => {
    await announce(host, false);
    return host.kindsHeard().includes("announceFull");
  });
}

function eventsOf(scheduler: TestScheduler): readonly string[] {
  return scheduler.log.entries.map((entry) => entry.event);
}

function errorsOf(scheduler: TestScheduler) {
  return scheduler.log.entries.filter((entry) => entry.level === "error");
}

describe.each(natsPrograms())("on nats-server $version", (program) => {
  test("a log that was cut off before the checkpoint has hosts tell everything, and the slice goes on", async () => {
    await using lab = await startLab(program);
    const first = await lab.schedule();
    const host = await lab.host("host");
    await request(host, 5);
    await waitFor(
      "its lease is in SQL",
      async () => (await lab.number("count(*) FROM leases")) === 1,
    );
    await first.stop();
    await request(host, 6);
    await lab.nats.purge(EVENTS_STREAM);
    await announce(host);

    const second = await lab.schedule();
    await isAskedForAll(host);
    await request(host, 6);
    await waitFor("the lost request's lease", () =>
      host.leases.some((lease) => lease.taskId === taskIdOfSlice(6)),
    );
    expect(eventsOf(second)).toContain("event log gap");
    expect(errorsOf(second)).toEqual([]);
  });

  test("a log that was made anew and grew beyond the checkpoint is not taken for the old one", async () => {
    await using lab = await startLab(program);
    const first = await lab.schedule();
    const host = await lab.host("host");
    await request(host, 5);
    await waitFor(
      "its lease is in SQL",
      async () => (await lab.number("count(*) FROM leases")) === 1,
    );
    await first.stop();
    await makeAnew(lab, EVENTS_STREAM);
    for (let count = 0; count < 10; count++) await announce(host);

    const second = await lab.schedule();
    await isAskedForAll(host);
    expect(eventsOf(second)).toContain("event log gap");
    expect(errorsOf(second)).toEqual([]);
  });

  test("a log that is made anew and grows while it is read is noticed", async () => {
    await using lab = await startLab(program);
    const scheduler = await lab.schedule();
    const host = await lab.host("host");
    await request(host, 5);
    await waitFor(
      "its lease is in SQL",
      async () => (await lab.number("count(*) FROM leases")) === 1,
    );
    await makeAnew(lab, EVENTS_STREAM);
    for (let count = 0; count < 10; count++) await announce(host);

    await isAskedForAll(host);
    await request(host, 6);
    await waitFor("a lease after that", () =>
      host.leases.some((lease) => lease.taskId === taskIdOfSlice(6)),
    );
    expect(errorsOf(scheduler)).toEqual([]);
  });

  test("a decision log that was lost is begun again under epochs that hosts take", async () => {
    await using lab = await startLab(program);
    const first = await lab.schedule();
    const host = await lab.host("host");
    await request(host, 5);
    await waitFor(
      "its lease is in SQL",
      async () => (await lab.number("count(*) FROM leases")) === 1,
    );
    await first.stop();
    await makeAnew(lab, DECISIONS_STREAM);

    const second = await lab.schedule();
    await isAskedForAll(host);
    await request(host, 6);
    await waitFor("a lease after that", () =>
      host.leases.some((lease) => lease.taskId === taskIdOfSlice(6)),
    );
    expect(eventsOf(second)).toContain("decision log gap");
    expect(host.refusedEpochs).toEqual([]);
  });

  test("a message that comes again, or in another order, changes nothing", async () => {
    await using lab = await startLab(program);
    const scheduler = await lab.schedule();
    const host = await lab.host("host");
    const finished = download("download-1", { taskId: "" });
    await host.publish(5, [describing(5), holding(5, ALL_PIECES)]);
    // What the host said before, stored after it; and the same facts under ids that the broker does not know.
    await host.publish(5, [holding(5, [0, 1])]);
    await host.publish(5, [describing(5), holding(5, [2])]);
    await host.publish("host", [{ $case: "downloadFinished", value: finished }]);
    await host.publish("host", [{ $case: "downloadFinished", value: finished }]);
    await request(host, 6);
    await waitFor(
      "the end is in SQL",
      async () => (await lab.number("count(*) FROM leases")) === 1,
    );

    expect(await lab.number("held_piece_count FROM peers WHERE slice = 5")).toBe(4);
    expect(await lab.number("sum(request_count) FROM traffic_minute")).toBe(1);
    expect(errorsOf(scheduler)).toEqual([]);
  });

  test("what cannot be read is parked once, over a restart too: garbage, another version, a kind of tomorrow", async () => {
    await using lab = await startLab(program);
    const first = await lab.schedule();
    const host = await lab.host("host");
    const broker = jetstream(lab.hosts);
    const subject = eventsSubject(5, host.hostId);
    const empty = { hostId: host.hostId, bootId: "boot", sequence: 1, sentAtMs: 0, events: [] };
    const of = (version: number) => EventMessage.encode({ ...empty, version }).finish();
    const unknownKind = EventMessage.encode({
      ...empty,
      version: 1,
      events: [{ traceparent: "", kind: undefined }],
    }).finish();
    for (const data of [new Uint8Array([0xff, 0xff, 0xff]), of(0), of(2), unknownKind]) {
      await broker.publish(subject, data);
    }
    await request(host, 5);
    await waitFor("the slice goes on", () => host.leases[0]);
    await waitFor(
      "they are parked",
      async () => (await lab.number("count(*) FROM dead_letter")) === 4,
    );
    await first.kill();

    const second = await lab.schedule();
    await request(host, 6);
    await waitFor(
      "the next lease is in SQL",
      async () => (await lab.number("count(*) FROM leases")) === 2,
    );
    const reasons = await lab.sql.rows(
      z.object({ reason: z.string() }),
      "SELECT reason FROM dead_letter ORDER BY stream_sequence",
    );
    expect(reasons.map(({ reason }) => reason)).toEqual([
      expect.stringContaining("not an event message"),
      "version 0, known is 1",
      "version 2, known is 1",
      expect.stringContaining("no kind"),
    ]);
    expect(errorsOf(second)).toEqual([]);
  });

  test("a message about tasks of several slices is folded for each, and for those beside an event that cannot be read", async () => {
    await using lab = await startLab(program);
    const scheduler = await lab.schedule();
    const host = await lab.host("host");
    const bad = { taskId: "none", incarnation: 1, digest: "" };
    await host.publish(MIXED, [
      requestOf(host, 5),
      { $case: "taskVerified", value: bad },
      requestOf(host, 6),
    ]);
    await waitFor("both are answered", () => host.leases.length === 2);
    expect(host.leases.map(({ taskId }) => taskId).toSorted()).toEqual(
      [5, 6].map(taskIdOfSlice).toSorted(),
    );
    const parked = async () => (await lab.number("count(*) FROM dead_letter")) === 1;
    await waitFor("the message is parked", parked);
    expect(errorsOf(scheduler)).toEqual([]);
  });

  test("a projection that is behind catches up from where it stands, whatever happened meanwhile", async () => {
    await using lab = await startLab(program);
    const first = await lab.schedule();
    const host = await lab.host("host");
    await host.publish(5, [describing(5), holding(5, [0])]);
    await waitFor("the first piece", async () => (await lab.number("count(*) FROM peers")) === 1);
    await first.stop();
    for (const piece of ALL_PIECES) await host.publish(5, [holding(5, [piece])]);
    for (let slice = 10; slice < 30; slice++) await host.publish(slice, [describing(slice)]);

    const second = await lab.schedule();
    await waitFor("all is in SQL", async () => (await lab.number("count(*) FROM tasks")) === 21);
    expect(await lab.number("held_piece_count FROM peers WHERE slice = 5")).toBe(4);
    expect(eventsOf(second)).not.toContain("event log gap");
  });
});
