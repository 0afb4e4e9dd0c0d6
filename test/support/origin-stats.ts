import { z } from "zod";

/** What a request was for. A probe is `Range: bytes=0-0`: it asks for access and validators, not for content. */
const requestKind = z.enum(["content", "probe", "head", "batch", "refused"]);
export type RequestKind = z.infer<typeof requestKind>;

const trafficSchema = z.object({
  requestCount: z.number(),
  /** Body bytes that were handed to the kernel without an error; headers are not counted. */
  bytes: z.number(),
});
export type Traffic = z.infer<typeof trafficSchema>;

const accessLogEntrySchema = z.object({
  /** Milliseconds since 1970, when the request came in. */
  at: z.number(),
  method: z.string(),
  host: z.string(),
  /** Without the query: signatures change with each request. */
  path: z.string(),
  /** The oid, or `files/<name>`, that the path names; empty for everything else. */
  key: z.string(),
  range: z.string().optional(),
  userAgent: z.string().optional(),
  kind: requestKind,
  status: z.number(),
  bodyBytes: z.number(),
  /** False while the answer is still going out, and for ever when the connection broke. */
  isComplete: z.boolean(),
});
export type AccessLogEntry = z.infer<typeof accessLogEntrySchema>;

export const originStatsSchema = z.object({
  requestCount: z.number(),
  /** Requests whose answer has not ended. */
  activeRequestCount: z.number(),
  /** Ordinary content requests of all objects and files. */
  content: trafficSchema,
  probe: trafficSchema,
  batchRequestCount: z.number(),
  /** Content and probes by oid or `files/<name>`. */
  byKey: z.record(z.string(), z.object({ content: trafficSchema, probe: trafficSchema })),
  accessLog: z.array(accessLogEntrySchema),
});
export type OriginStats = z.infer<typeof originStatsSchema>;

/** Oldest entries go first: a long benchmark must not grow the origin without end. */
export const ACCESS_LOG_COUNT_MAX = 10_000;

/** Counts one request while it is answered. */
export interface RequestRecord {
  readonly entry: AccessLogEntry;
  /** Called when the kernel has taken body bytes. */
  sent(bytes: number): void;
  ended(isComplete: boolean): void;
}

export class OriginCounters {
  #stats: OriginStats = emptyStats();

  /** Counts from zero; requests that are being answered go on counting into the discarded figures. */
  reset(): void {
    const { activeRequestCount } = this.#stats;
    this.#stats = { ...emptyStats(), activeRequestCount };
  }

  /** A copy of the figures of this moment. */
  snapshot(): OriginStats {
    return structuredClone(this.#stats);
  }

  begin(entry: AccessLogEntry): RequestRecord {
    const stats = this.#stats;
    stats.requestCount += 1;
    stats.activeRequestCount += 1;
    stats.accessLog.push(entry);
    if (stats.accessLog.length > ACCESS_LOG_COUNT_MAX) stats.accessLog.shift();
    if (entry.kind === "batch") stats.batchRequestCount += 1;
    const tallies = talliesOf(stats, entry);
    for (const tally of tallies) tally.requestCount += 1;
    let hasEnded = false;
    return {
      entry,
      sent: (bytes) => {
        entry.bodyBytes += bytes;
        for (const tally of tallies) tally.bytes += bytes;
      },
      ended: (isComplete) => {
        if (hasEnded) return;
        hasEnded = true;
        entry.isComplete = isComplete;
        // Requests outlive a reset: the number of open ones is always that of the present figures.
        this.#stats.activeRequestCount -= 1;
      },
    };
  }
}

function talliesOf(stats: OriginStats, entry: AccessLogEntry): readonly Traffic[] {
  if (entry.kind !== "content" && entry.kind !== "probe") return [];
  const ofKey = (stats.byKey[entry.key] ??= { content: noTraffic(), probe: noTraffic() });
  return [stats[entry.kind], ofKey[entry.kind]];
}

function emptyStats(): OriginStats {
  return {
    requestCount: 0,
    activeRequestCount: 0,
    content: noTraffic(),
    probe: noTraffic(),
    batchRequestCount: 0,
    byKey: {},
    accessLog: [],
  };
}

function noTraffic(): Traffic {
  return { requestCount: 0, bytes: 0 };
}
