import { z } from "zod";
import { LOG_LEVELS } from "@lacewing/observability/log.ts";
import { byteSize, count, socketAddress } from "@lacewing/runtime/settings.ts";

/** Far above what an SDK sends at once (a batch of 2048 spans is about 200 KB), far below what a process can hold. */
const BODY_BYTES_MAX = 16 * 2 ** 20;

/** The trace store's settings, from the environment. */
export const SETTINGS = z.object({
  LACEWING_DATABASE_URL: z
    .string({
      error: "LACEWING_DATABASE_URL is missing: postgres://user:password@host:port/database",
    })
    .describe("Postgres that holds the spans; the table is made by migrations. Secret."),
  LACEWING_TRACES_OTLP_ADDRESS: socketAddress("127.0.0.1:4318").describe(
    "Where OTLP/HTTP comes in; port 0 takes a free one.",
  ),
  LACEWING_TRACES_QUERY_ADDRESS: socketAddress("127.0.0.1:16686").describe(
    "Where Jaeger's query API and the pages are; port 0 takes a free one.",
  ),
  LACEWING_TRACES_RETENTION_DAYS: z.coerce
    .number()
    .min(0.01)
    .max(3650)
    .default(7)
    .describe("Days that a span is kept."),
  LACEWING_TRACES_SPAN_COUNT_MAX: count(2_000_000, 1000).describe(
    "Spans that are kept; the oldest go first. A span takes about 1 kB on disk.",
  ),
  LACEWING_TRACES_BODY_BYTES_MAX: byteSize(BODY_BYTES_MAX)
    .transform((bytes) => bytes ?? BODY_BYTES_MAX)
    .describe("Bytes of one OTLP request, before and after decompression."),
  LACEWING_TRACES_BUFFER_SPAN_COUNT_MAX: count(50_000, 1000).describe(
    "Spans in memory that wait for Postgres; beyond that senders are told to come back.",
  ),
  LACEWING_LOG_LEVEL: z
    .enum(LOG_LEVELS)
    .default("info")
    .describe("The least level that is logged."),
});

export type Settings = z.infer<typeof SETTINGS>;
