import { inboxPrefix } from "@lacewing/contracts/subjects.ts";
import type { ServiceLog } from "@lacewing/observability/log.ts";
import { SERVICE } from "@lacewing/observability/semconv.ts";
import { systemClock } from "@lacewing/runtime/clock.ts";
import { readClusterSecret } from "@lacewing/runtime/cluster-secret.ts";
import { connectNats } from "@lacewing/runtime/nats.ts";
import { HmacLeaseSigner } from "./adapters/crypto/hmac-lease-signer.ts";
import { type GrpcServer, startGrpcServer } from "./adapters/grpc/grpc-server.ts";
import { SchedulerApi } from "./adapters/grpc/scheduler-api.ts";
import { listenForHints } from "./adapters/nats/hint-listener.ts";
import { openNatsLogs } from "./adapters/nats/open-nats-logs.ts";
import type { StreamLimits } from "./adapters/nats/streams.ts";
import { createPool } from "./adapters/postgres/pool.ts";
import { PostgresProjectionStore } from "./adapters/postgres/projection-store.ts";
import { PostgresSliceOwnership } from "./adapters/postgres/slice-ownership.ts";
import { PostgresStoredFacts } from "./adapters/postgres/stored-facts.ts";
import { Explainer } from "./app/explain/explainer.ts";
import { QUESTION_TIMEOUT_MS } from "./app/explain/limits.ts";
import { Scheduler } from "./app/scheduler.ts";
import type { Settings } from "./config.ts";

/** What JetStream calls a stream without a limit in bytes. */
const NO_LIMIT = -1;

/** What the process itself brings. */
export interface ProcessParts {
  /** Unique for each process start. */
  readonly ownerId: string;
  readonly log: ServiceLog;
  readonly random: () => number;
}

/** A scheduler on its adapters, not running yet. */
export interface SchedulerParts {
  readonly scheduler: Scheduler;
  readonly grpc: GrpcServer;
  close(): Promise<void>;
}

/** Resolves when the broker has answered. */
export async function compose(
  settings: Settings,
  { ownerId, log, random }: ProcessParts,
): Promise<SchedulerParts> {
  const secret = readClusterSecret(settings.LACEWING_CLUSTER_SECRET_FILE);
  const api = new SchedulerApi(log);
  const grpc = await startGrpcServer(settings.LACEWING_SCHEDULER_GRPC_ADDRESS, api.service);
  const connection = await connectNats({
    url: settings.LACEWING_NATS_URL,
    name: SERVICE.scheduler,
    inboxPrefix: inboxPrefix(SERVICE.scheduler),
  });
  const nats = await openNatsLogs(connection, streamLimits(settings), log);
  const pool = createPool(settings.LACEWING_DATABASE_URL, {
    applicationName: SERVICE.scheduler,
    log,
  });
  const store = new PostgresProjectionStore({ pool, clock: systemClock, log });
  const scheduler = new Scheduler(
    {
      ...nats,
      store,
      ownership: new PostgresSliceOwnership(pool),
      signer: new HmacLeaseSigner(secret),
      clock: systemClock,
      log,
      random,
    },
    {
      ownerId,
      ownershipLeaseMs: settings.LACEWING_SCHEDULER_OWNERSHIP_MS,
      renewalMs: settings.LACEWING_SCHEDULER_RENEWAL_MS,
      flushIntervalMs: settings.LACEWING_SCHEDULER_FLUSH_MS,
    },
  );
  listenForHints(connection, log, (hint) => scheduler.noteBlockedReader(hint));
  const questions = createPool(settings.LACEWING_DATABASE_URL, {
    applicationName: `${SERVICE.scheduler}-questions`,
    log,
    statementTimeoutMs: QUESTION_TIMEOUT_MS,
  });
  const facts = new PostgresStoredFacts(questions);
  const live = () => scheduler.liveView;
  const explainer = new Explainer({ facts, history: nats.history, live, clock: systemClock });
  api.open({ facts, live, explainer });
  return {
    scheduler,
    grpc,
    close: async () => {
      await Promise.all([store.close(), grpc.close()]);
      await connection.close();
      await Promise.all([questions.close(), pool.close()]);
    },
  };
}

/** Of streams that the scheduler has to make. */
export function streamLimits(settings: Settings): StreamLimits {
  return {
    eventsBytesMax: settings.LACEWING_SCHEDULER_EVENTS_SIZE ?? NO_LIMIT,
    eventsAgeMs: settings.LACEWING_SCHEDULER_EVENTS_AGE_MS,
    decisionsAgeMs: settings.LACEWING_SCHEDULER_DECISIONS_AGE_MS,
    replicas: settings.LACEWING_SCHEDULER_STREAM_REPLICAS,
  };
}
