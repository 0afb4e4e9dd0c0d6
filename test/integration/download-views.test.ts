import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { z } from "zod";
import { startTestPostgres, type TestPostgres } from "../support/postgres.ts";
import { download, startProjectionWorld, wholeBatch } from "../support/projection-world.ts";

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
});
