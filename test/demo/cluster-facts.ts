import { z } from "zod";
import type { Sql } from "../support/sql.ts";
import { ConditionTimeout, waitFor } from "../support/wait-for.ts";
import type { ExperimentCluster, ExperimentPeer } from "./experiment.ts";

/** A finished download reaches SQL through journal, broker and projection; it takes well under a second when all is well. */
const PROJECTION_TIMEOUT_MS = 20_000;

/** The view as it is: its columns are printed, whatever they are. */
const anyRow = z.record(z.string(), z.unknown());
export type HitRateRow = z.infer<typeof anyRow>;

/** The experiment's questions, answered by the cluster's own database. */
export function clusterFacts(
  sql: Sql,
  peers: { readonly first: ExperimentPeer; readonly second: ExperimentPeer },
  signal: AbortSignal,
): ExperimentCluster {
  return {
    ...peers,
    downloadCount: async (hostId) => (await downloadsOf(sql, hostId)).count,
    traceOfNext: async (hostId, count) => {
      try {
        return await waitFor(
          `download ${count + 1} of ${hostId} in the table of downloads`,
          async () => {
            const found = await downloadsOf(sql, hostId);
            return found.count > count ? (found.newestTraceId ?? undefined) : undefined;
          },
          { timeoutMs: PROJECTION_TIMEOUT_MS, signal },
        );
      } catch (error) {
        if (error instanceof ConditionTimeout) return undefined;
        throw error;
      }
    },
  };
}

/**
 * `select * from cache_hit_rate_hourly` and the content that it says was read from the origin. Facts reach SQL a moment
 * after they happened, so it asks again until the sum is `expectedBytes`, for at most {@link PROJECTION_TIMEOUT_MS}.
 */
export async function readHitRates(
  sql: Sql,
  expectedBytes: number,
  signal: AbortSignal,
): Promise<{ readonly rows: readonly HitRateRow[]; readonly backToSourceBytes: number }> {
  let backToSourceBytes = 0;
  try {
    await waitFor(
      `${expectedBytes} bytes from the origin in cache_hit_rate_hourly`,
      async () => {
        const [total] = await sql.rows(
          z.object({ bytes: z.coerce.number() }),
          "select coalesce(sum(back_to_source_bytes), 0) as bytes from cache_hit_rate_hourly",
        );
        backToSourceBytes = total?.bytes ?? 0;
        return backToSourceBytes === expectedBytes;
      },
      { timeoutMs: PROJECTION_TIMEOUT_MS, signal },
    );
  } catch (error) {
    if (!(error instanceof ConditionTimeout)) throw error;
  }
  const rows = await sql.rows(anyRow, "select * from cache_hit_rate_hourly order by hour, host_id");
  return { rows, backToSourceBytes };
}

/** The client's batch requests are POSTs; every GET of its is one object. */
async function downloadsOf(sql: Sql, hostId: string) {
  const [row] = await sql.rows(
    z.object({ count: z.coerce.number(), newestTraceId: z.string().nullable() }),
    `select coalesce(sum(request_count), 0) as count,
            nullif((array_agg(trace_id order by started_at desc))[1], '') as "newestTraceId"
       from downloads where host_id = $1 and method = 'GET'`,
    [hostId],
  );
  return row ?? { count: 0, newestTraceId: null };
}
