import pg from "pg";
import { pollUntil } from "./poll.ts";

/** An announce takes milliseconds; one that came before the scheduler is repeated within a few seconds. */
const KNOWN_TIMEOUT_MS = 10_000;
const QUERY_TIMEOUT_MS = 2_000;

/** The last announce of each host that the database knows, by host id. */
export type Announces = ReadonlyMap<string, string>;

/** @throws when the database does not answer. */
export async function readAnnounces(databaseUrl: string): Promise<Announces> {
  const client = new pg.Client({
    connectionString: databaseUrl,
    connectionTimeoutMillis: QUERY_TIMEOUT_MS,
    query_timeout: QUERY_TIMEOUT_MS,
  });
  // A server that goes away fails the query itself.
  client.on("error", () => {});
  try {
    await client.connect();
    const { rows } = await client.query<{ host_id: string; announced_at: string }>(
      "select host_id, announced_at::text from lacewing.hosts where state = 'alive'",
    );
    return new Map(rows.map((row) => [row.host_id, row.announced_at]));
  } finally {
    await client.end();
  }
}

/**
 * Waits until the scheduler has heard of every host since `before` was read: until then it takes their copies for unreachable,
 * and the first downloads would read the origin once each.
 *
 * @returns the hosts that it has not heard of in time; downloads through them work all the same.
 */
export async function hostsNotHeardOf(
  databaseUrl: string,
  hostIds: readonly string[],
  before: Announces,
  signal: AbortSignal,
): Promise<readonly string[]> {
  let missing = hostIds;
  try {
    await pollUntil(
      async () => {
        const now = await readAnnounces(databaseUrl);
        missing = hostIds.filter((hostId) => {
          return now.get(hostId) === undefined || now.get(hostId) === before.get(hostId);
        });
        return missing.length === 0;
      },
      AbortSignal.any([signal, AbortSignal.timeout(KNOWN_TIMEOUT_MS)]),
    );
  } catch {
    signal.throwIfAborted();
  }
  return missing;
}
