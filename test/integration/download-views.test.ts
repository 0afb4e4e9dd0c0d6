import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { z } from "zod";
import { startTestPostgres, type TestPostgres } from "../support/postgres.ts";
import {
  download,
  lease,
  startProjectionWorld,
  STARTED_AT_MS,
  wholeBatch,
} from "../support/projection-world.ts";

/** What no sum of 64 bits holds, of the largest figures that a row takes. */
const LYING_ROW_COUNT = 1_100;
const BIGINT_MAX = "9223372036854775807";

let postgres: TestPostgres;
beforeAll(async () => {
  postgres = await startTestPostgres();
});
afterAll(async () => {
  await postgres[Symbol.asyncDispose]();
});

describe("a download", () => {
  test("shows in the views with its bytes by traffic", async () => {
    await using world = await startProjectionWorld(postgres);
    const local = download("d-3", {
      delivered: { localPeer: 50, remotePeer: 0, backToSource: 0 },
      fetched: undefined,
    });
    await world.store.flush({
      ...wholeBatch(),
      downloads: [...wholeBatch().downloads, { hostId: "host-1", download: local }],
    });
    const [hour] = await world.rows(
      z.object({
        request_count: z.coerce.number(),
        hit_request_count: z.coerce.number(),
        request_hit_rate: z.number(),
        back_to_source_bytes: z.coerce.number(),
        byte_hit_rate: z.number(),
      }),
      "SELECT * FROM cache_hit_rate_hourly",
    );
    expect(hour).toEqual({
      request_count: 2,
      hit_request_count: 1,
      request_hit_rate: 0.5,
      back_to_source_bytes: 400,
      byte_hit_rate: 0.619048,
    });
    for (const view of ["task_popularity", "traffic_matrix", "origin_savings", "slow_downloads"]) {
      const rows = await world.rows(z.looseObject({}), `SELECT * FROM ${view}`);
      expect({ view, isEmpty: rows.length === 0 }).toEqual({ view, isEmpty: false });
    }
  });

  test("that stands for many counts as many, to the request and to the byte", async () => {
    await using world = await startProjectionWorld(postgres);
    const held = { fetched: undefined, probeBytes: 0 };
    const local = (localPeer: number) => ({ localPeer, remotePeer: 0, backToSource: 0 });
    const downloads = [
      download("d-1", { ...held, delivered: local(3_000), requestCount: 3, costMs: 10 }),
      download("d-2", { ...held, delivered: local(1_000), requestCount: 1 }),
      download("d-3", { ...held, delivered: local(500), requestCount: 2, outcome: "client_gone" }),
      download("d-4"),
    ].map((fact) => ({ hostId: "host-1", download: fact }));
    await world.store.flush({ ...wholeBatch(), downloads });
    const count = z.coerce.number();
    const [hour] = await world.rows(
      z.object({
        request_count: count,
        failed_request_count: count,
        hit_request_count: count,
        local_peer_request_count: count,
        back_to_source_request_count: count,
        delivered_bytes: count,
      }),
      "SELECT * FROM cache_hit_rate_hourly",
    );
    expect(hour).toEqual({
      request_count: 7,
      failed_request_count: 2,
      hit_request_count: 6,
      local_peer_request_count: 6,
      back_to_source_request_count: 1,
      delivered_bytes: 5_500,
    });
    expect(
      await world.rows(
        z.object({ request_count: count, delivered_bytes: count }),
        "SELECT * FROM task_popularity",
      ),
    ).toEqual([{ request_count: 7, delivered_bytes: 5_500 }]);
    expect(
      await world.rows(
        z.object({ delivered_bytes: count, bytes_per_second: count }),
        "SELECT * FROM slow_downloads WHERE download_id = 'd-1'",
      ),
    ).toEqual([{ delivered_bytes: 1_000, bytes_per_second: 100_000 }]);
  });

  test("with figures that cannot be true takes no view away from the others", async () => {
    await using world = await startProjectionWorld(postgres);
    const most = { localPeer: Number.MAX_SAFE_INTEGER, remotePeer: 0, backToSource: 0 };
    const lies = Array.from({ length: LYING_ROW_COUNT }, (_, index) => ({
      hostId: "liar",
      // Within one minute of one host, where sums are kept, they would be refused.
      download: download(`lie-${index}`, {
        delivered: most,
        startedAtMs: STARTED_AT_MS - (index % 2) * 60_000,
        costMs: 1,
      }),
    }));
    const edges = Array.from({ length: LYING_ROW_COUNT }, (_, index) => ({
      ...lease,
      leaseId: `lie-${index}`,
      outcome: "finished",
      endedAtMs: STARTED_AT_MS,
      bytes: Number.MAX_SAFE_INTEGER,
      transferMs: 1,
    }));
    await world.store.flush({
      ...wholeBatch(),
      leases: edges,
      downloads: [...wholeBatch().downloads, ...lies],
    });
    const text = z.object({ figure: z.string() });
    const figuresOf = async (view: string, column: string) =>
      (await world.rows(text, `SELECT ${column}::text AS figure FROM ${view}`)).map(
        ({ figure }) => figure,
      );
    const delivered = "max(delivered_bytes)";
    expect(await figuresOf("cache_hit_rate_hourly", delivered)).toEqual([BIGINT_MAX]);
    expect(await figuresOf("task_popularity", delivered)).toEqual([BIGINT_MAX]);
    expect(await figuresOf("origin_savings", "max(saved_bytes)")).toEqual([BIGINT_MAX]);
    expect(await figuresOf("traffic_matrix", "bytes")).toEqual([BIGINT_MAX]);
    expect(await figuresOf("slow_downloads", "max(bytes_per_second)")).toEqual([
      "9007199254740991000",
    ]);
    expect(
      await world.rows(
        z.object({ delivered_bytes: z.coerce.number() }),
        "SELECT delivered_bytes FROM cache_hit_rate_hourly WHERE host_id = 'host-1'",
      ),
    ).toEqual([{ delivered_bytes: 1_000 }]);
  });

  test("that took no time has no rate, and one that begins in 2090 is not of the last day", async () => {
    await using world = await startProjectionWorld(postgres);
    const facts = [
      download("d-1", { costMs: 0 }),
      download("d-2", { startedAtMs: Date.UTC(2090, 0, 1) }),
      download("d-3", { startedAtMs: Date.now() + 60_000 }),
    ];
    await world.store.flush({
      ...wholeBatch(),
      downloads: facts.map((fact) => ({ hostId: "host-1", download: fact })),
    });
    expect(
      await world.rows(
        z.unknown(),
        "SELECT download_id, bytes_per_second::int FROM slow_downloads ORDER BY download_id",
      ),
    ).toEqual([
      { download_id: "d-1", bytes_per_second: null },
      { download_id: "d-3", bytes_per_second: 20_000 },
    ]);
  });
});
