import { z } from "zod";
import type { World } from "./e2e-world.ts";
import { waitFor } from "./wait-for.ts";

/** A row of `downloads`. */
const downloadRow = z.object({
  downloadId: z.string(),
  hostId: z.string(),
  taskId: z.string().nullable(),
  traffic: z.string(),
  outcome: z.string(),
  httpStatus: z.coerce.number(),
  fetchedRemotePeerBytes: z.coerce.number(),
  fetchedBackToSourceBytes: z.coerce.number(),
  deliveredLocalPeerBytes: z.coerce.number(),
  deliveredRemotePeerBytes: z.coerce.number(),
  deliveredBackToSourceBytes: z.coerce.number(),
  deliveredBytes: z.coerce.number(),
  traceId: z.string(),
  error: z.string(),
});
export type DownloadRow = z.infer<typeof downloadRow>;

/** Facts are sent again every 10 s until they are confirmed; a database that was killed needs some seconds more. */
const ROWS_TIMEOUT_MS = 60_000;

/** GET requests for one content, by how its URL ends, in the order they began. */
export async function downloadsOf(world: World, urlEnd: string): Promise<readonly DownloadRow[]> {
  return world.rows(
    downloadRow,
    `select download_id as "downloadId", host_id as "hostId", task_id as "taskId", traffic, outcome,
            http_status as "httpStatus",
            fetched_remote_peer_bytes as "fetchedRemotePeerBytes",
            fetched_back_to_source_bytes as "fetchedBackToSourceBytes",
            delivered_local_peer_bytes as "deliveredLocalPeerBytes",
            delivered_remote_peer_bytes as "deliveredRemotePeerBytes",
            delivered_back_to_source_bytes as "deliveredBackToSourceBytes",
            delivered_local_peer_bytes + delivered_remote_peer_bytes + delivered_back_to_source_bytes as "deliveredBytes",
            trace_id as "traceId", error
       from downloads where right(url, length($1)) = $1 and method = 'GET' order by started_at, download_id`,
    [urlEnd],
  );
}

/** Waits until at least `count` requests for a content are facts in SQL. */
export async function waitForDownloads(
  world: World,
  urlEnd: string,
  count: number,
): Promise<readonly DownloadRow[]> {
  return waitFor(
    `${count} downloads of ${urlEnd} in SQL`,
    async () => {
      const rows = await downloadsOf(world, urlEnd);
      if (rows.length < count) throw new Error(`there are ${rows.length}`);
      return rows;
    },
    { timeoutMs: ROWS_TIMEOUT_MS, intervalMs: 100 },
  );
}
