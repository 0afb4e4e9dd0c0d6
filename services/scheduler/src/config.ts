import { LOG_LEVELS } from "@lacewing/observability/log.ts";
import { byteSize, count, durationMs, socketAddress } from "@lacewing/runtime/settings.ts";
import { z } from "zod";

const HOUR_MS = 3_600_000;
/** Renewals in one lease: one may fail and one may be late before a standby takes over. */
const RENEWALS_PER_LEASE_MIN = 3;

/** Settings of the scheduler, read from the environment. */
export const SETTINGS = z
  .object({
    LACEWING_NATS_URL: z
      .string()
      .default("nats://127.0.0.1:4222")
      .describe(
        "NATS servers with JetStream, `nats://user:password@host:port`, joined by commas. The scheduler waits until one answers.",
      ),
    LACEWING_DATABASE_URL: z
      .string()
      .describe(
        "PostgreSQL, `postgres://user:password@host:port/database`. Needed to start; matching goes on while it is away.",
      ),
    LACEWING_CLUSTER_SECRET_FILE: z
      .string()
      .describe(
        "File with the cluster's secret, the same as the hosts': lease tokens are signed with it.",
      ),
    LACEWING_SCHEDULER_GRPC_ADDRESS: socketAddress("127.0.0.1:8002").describe(
      "Where the gRPC services (API, health, reflection) listen, host:port. Port 0 takes a free one.",
    ),
    LACEWING_SCHEDULER_OWNERSHIP_MS: durationMs(3_000).describe(
      "Milliseconds after which a scheduler that does not renew its slices is replaced by a standby, by the database's clock.",
    ),
    LACEWING_SCHEDULER_RENEWAL_MS: durationMs(600).describe(
      "Milliseconds between two renewals. At most a third of the ownership, so that one may fail and one may be late.",
    ),
    LACEWING_SCHEDULER_FLUSH_MS: durationMs(500).describe(
      "Milliseconds without new events after which they are written to PostgreSQL; while events keep coming, at the latest four times as long. So far SQL lags behind.",
    ),
    LACEWING_SCHEDULER_EVENTS_AGE_MS: durationMs(24 * HOUR_MS).describe(
      "Milliseconds that the event stream keeps messages, when the scheduler creates it. Longer than PostgreSQL may be away.",
    ),
    LACEWING_SCHEDULER_EVENTS_SIZE: byteSize(4 * 2 ** 30).describe(
      "Bytes that the event stream keeps at most, when the scheduler creates it.",
    ),
    LACEWING_SCHEDULER_DECISIONS_AGE_MS: durationMs(7 * 24 * HOUR_MS).describe(
      "Milliseconds that the decision stream keeps messages, when the scheduler creates it.",
    ),
    LACEWING_SCHEDULER_STREAM_REPLICAS: count(1, 1).describe(
      "Copies of each stream in a NATS cluster, when the scheduler creates it: 1, 3 or 5.",
    ),
    LACEWING_LOG_LEVEL: z
      .enum(LOG_LEVELS)
      .default("info")
      .describe("The least level that is written."),
    OTEL_EXPORTER_OTLP_ENDPOINT: z
      .string()
      .optional()
      .describe("Base URL of an OTLP/HTTP receiver for traces. Unset: no traces are sent."),
  })
  .check(({ value, issues }) => {
    const { LACEWING_SCHEDULER_OWNERSHIP_MS: leaseMs, LACEWING_SCHEDULER_RENEWAL_MS: renewalMs } =
      value;
    if (renewalMs > 0 && renewalMs * RENEWALS_PER_LEASE_MIN <= leaseMs) return;
    issues.push({
      code: "custom",
      path: ["LACEWING_SCHEDULER_RENEWAL_MS"],
      message: `${renewalMs} ms is not between 1 ms and a third of LACEWING_SCHEDULER_OWNERSHIP_MS, ${leaseMs} ms`,
      input: renewalMs,
    });
  });

export type Settings = z.infer<typeof SETTINGS>;
