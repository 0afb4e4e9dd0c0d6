import { randomUUID } from "node:crypto";
import { hostname } from "node:os";
import { createLog, type ServiceLog } from "@lacewing/observability/log.ts";
import { startTracing } from "@lacewing/observability/sdk/start-tracing.ts";
import { SERVICE } from "@lacewing/observability/semconv.ts";
import { inboxPrefix } from "@lacewing/contracts/subjects.ts";
import { systemClock } from "@lacewing/runtime/clock.ts";
import { readClusterSecret } from "@lacewing/runtime/cluster-secret.ts";
import { messageOf } from "@lacewing/runtime/errors.ts";
import { EXIT_CODE, type RunningService, runService } from "@lacewing/runtime/lifecycle.ts";
import { connectNats } from "@lacewing/runtime/nats.ts";
import { readSettings } from "@lacewing/runtime/settings.ts";
import { HmacLeaseSigner } from "./adapters/crypto/hmac-lease-signer.ts";
import { startHealthServer } from "./adapters/grpc/health-server.ts";
import { openNatsLogs } from "./adapters/nats/open-nats-logs.ts";
import { createPool } from "./adapters/postgres/pool.ts";
import { PostgresProjectionStore } from "./adapters/postgres/projection-store.ts";
import { PostgresSliceOwnership } from "./adapters/postgres/slice-ownership.ts";
import { Scheduler } from "./app/scheduler.ts";
import { type Settings, SETTINGS } from "./config.ts";

/** What JetStream calls a stream without a limit in bytes. */
const NO_LIMIT = -1;

await runService(start);

async function start(): Promise<RunningService> {
  const settings = readSettings(SETTINGS, process.env);
  const ownerId = `${hostname()}:${process.pid}:${randomUUID()}`;
  const log = createLog({ service: SERVICE.scheduler, level: settings.LACEWING_LOG_LEVEL });
  const tracing = startTracing({
    service: SERVICE.scheduler,
    instanceId: ownerId,
    endpoint: settings.OTEL_EXPORTER_OTLP_ENDPOINT,
    log,
  });
  const parts = await compose(settings, ownerId, log);
  const running = parts.scheduler.run();
  running.catch((error: unknown) => {
    log.error("scheduler failed", { error, message: messageOf(error) });
    process.exit(EXIT_CODE.crashed);
  });
  await parts.scheduler.isLive;
  parts.health.setServing(true);
  log.info("scheduler started", { grpc: parts.health.address, ownerId });
  return {
    addresses: { grpc: parts.health.address },
    stop: async () => {
      parts.health.setServing(false);
      parts.scheduler.stop();
      await running;
      await parts.close();
      await tracing.shutdown();
      log.info("scheduler stopped");
      log.close();
    },
  };
}

async function compose(settings: Settings, ownerId: string, log: ServiceLog) {
  const secret = readClusterSecret(settings.LACEWING_CLUSTER_SECRET_FILE);
  const health = await startHealthServer(settings.LACEWING_SCHEDULER_GRPC_ADDRESS);
  const connection = await connectNats({
    url: settings.LACEWING_NATS_URL,
    name: SERVICE.scheduler,
    inboxPrefix: inboxPrefix(SERVICE.scheduler),
  });
  const limits = {
    eventsBytesMax: settings.LACEWING_SCHEDULER_EVENTS_SIZE ?? NO_LIMIT,
    eventsAgeMs: settings.LACEWING_SCHEDULER_EVENTS_AGE_MS,
    decisionsAgeMs: settings.LACEWING_SCHEDULER_DECISIONS_AGE_MS,
    replicas: settings.LACEWING_SCHEDULER_STREAM_REPLICAS,
  };
  const nats = await openNatsLogs(connection, limits, log);
  const pool = createPool(settings.LACEWING_DATABASE_URL, {
    applicationName: SERVICE.scheduler,
    log,
  });
  const scheduler = new Scheduler(
    {
      ...nats,
      store: new PostgresProjectionStore({ pool, clock: systemClock, log }),
      ownership: new PostgresSliceOwnership(pool),
      signer: new HmacLeaseSigner(secret),
      clock: systemClock,
      log,
      random: Math.random,
    },
    {
      ownerId,
      ownershipLeaseMs: settings.LACEWING_SCHEDULER_OWNERSHIP_MS,
      flushIntervalMs: settings.LACEWING_SCHEDULER_FLUSH_MS,
    },
  );
  return {
    scheduler,
    health,
    close: async () => {
      await health.close();
      await connection.close();
      await pool.end();
    },
  };
}
