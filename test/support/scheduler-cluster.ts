import { randomUUID } from "node:crypto";
import { jetstream, jetstreamManager } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/transport-node";
import {
  type Assignment,
  AssignmentMessage,
} from "@lacewing/contracts/gen/lacewing/assignments/v1/assignments.ts";
import { DecisionMessage } from "@lacewing/contracts/gen/lacewing/decisions/v1/decisions.ts";
import type { LeaseGranted } from "@lacewing/contracts/gen/lacewing/decisions/v1/decisions.ts";
import { type Event, EventMessage } from "@lacewing/contracts/gen/lacewing/events/v1/events.ts";
import { type HostId, parseHostId } from "@lacewing/contracts/ids.ts";
import {
  assignmentsSubject,
  DECISIONS_STREAM,
  eventsSubject,
  hostSubject,
  type MIXED,
} from "@lacewing/contracts/subjects.ts";
import { createMemoryLog, type MemoryLog } from "@lacewing/observability/memory-log.ts";
import { Secret } from "@lacewing/observability/secret.ts";
import { systemClock } from "@lacewing/runtime/clock.ts";
import { HmacLeaseSigner } from "@lacewing/scheduler/adapters/crypto/hmac-lease-signer.ts";
import { openNatsLogs } from "@lacewing/scheduler/adapters/nats/open-nats-logs.ts";
import type { ProjectionStore } from "@lacewing/scheduler/app/ports.ts";
import { Scheduler, type SchedulerPorts } from "@lacewing/scheduler/app/scheduler.ts";

/** A scheduler in this process, on real NATS. */
export interface TestScheduler {
  readonly log: MemoryLog;
  readonly isLive: Promise<void>;
  stop(): Promise<void>;
  /** Cuts it off from the world, as a kill would: nothing is flushed, nothing released. */
  kill(): Promise<void>;
}

export async function startTestScheduler(
  connection: NatsConnection,
  projection: {
    readonly store: ProjectionStore;
    readonly ownership: SchedulerPorts["ownership"];
  },
): Promise<TestScheduler> {
  const log = createMemoryLog();
  const nats = await openNatsLogs(
    connection,
    {
      eventsBytesMax: 64 * 2 ** 20,
      eventsAgeMs: 3_600_000,
      decisionsAgeMs: 3_600_000,
      replicas: 1,
    },
    log,
  );
  let isKilled = false;
  const scheduler = new Scheduler(
    {
      ...nats,
      store: {
        load: () => projection.store.load(),
        flush: (batch) => (isKilled ? new Promise(() => {}) : projection.store.flush(batch)),
      },
      ownership: {
        acquire: (ownerId, leaseMs) => projection.ownership.acquire(ownerId, leaseMs),
        raise: (ownerId, above) => projection.ownership.raise(ownerId, above),
        release: (ownerId) =>
          isKilled ? Promise.resolve() : projection.ownership.release(ownerId),
      },
      signer: new HmacLeaseSigner(new Secret("0123456789abcdef0123456789abcdef")),
      clock: systemClock,
      log,
      random: Math.random,
    },
    { ownerId: randomUUID(), ownershipLeaseMs: 2_000, renewalMs: 500, flushIntervalMs: 50 },
  );
  const running = scheduler.run();
  running.catch(() => {});
  const end = async () => {
    scheduler.stop();
    await running;
  };
  return {
    log,
    isLive: scheduler.isLive,
    stop: end,
    kill: async () => {
      isKilled = true;
      await connection.close();
      await end().catch(() => {});
    },
  };
}

/** A host that speaks the protocol over real NATS, and does what the test says. */
export class FakeHost {
  readonly hostId: HostId;
  readonly assignments: Assignment[] = [];
  /** Epochs of messages that it refused: an old owner's. */
  readonly refusedEpochs: number[] = [];
  readonly #epochs = new Map<number, number>();
  readonly #connection: NatsConnection;
  readonly #bootId = randomUUID();
  #sequence = 0;

  constructor(hostId: string, connection: NatsConnection) {
    const parsed = parseHostId(hostId);
    if (parsed === undefined) throw new Error(`not a host id: ${hostId}`);
    this.hostId = parsed;
    this.#connection = connection;
    connection.subscribe(assignmentsSubject(parsed), {
      callback: (error, message) => {
        if (error !== null) throw error;
        this.#hear(AssignmentMessage.decode(message.data));
      },
    });
  }

  /** Publishes events about the tasks of one slice, of several, or about the host itself, and waits until the broker has them. */
  async publish(
    slice: number | typeof MIXED | "host",
    kinds: readonly NonNullable<Event["kind"]>[],
    traceparent = "",
  ): Promise<void> {
    const sequence = ++this.#sequence;
    const data = EventMessage.encode({
      version: 1,
      hostId: this.hostId,
      bootId: this.#bootId,
      sequence,
      sentAtMs: Date.now(),
      events: kinds.map((kind) => ({ traceparent, kind })),
    }).finish();
    const subject = slice === "host" ? hostSubject(this.hostId) : eventsSubject(slice, this.hostId);
    await jetstream(this.#connection).publish(subject, data, {
      msgID: `${this.hostId}:${this.#bootId}:${sequence}`,
    });
  }

  #hear({ slice, epoch, assignments }: AssignmentMessage): void {
    if (epoch < (this.#epochs.get(slice) ?? 0)) {
      this.refusedEpochs.push(epoch);
      return;
    }
    this.#epochs.set(slice, epoch);
    this.assignments.push(...assignments);
  }

  get leases() {
    return this.assignments.flatMap(({ kind }) => (kind?.$case === "lease" ? [kind.value] : []));
  }

  kindsHeard(): readonly string[] {
    return this.assignments.map(({ kind }) => kind?.$case ?? "");
  }
}

/** Every lease in the decision log, in order. */
export async function grantsInLog(connection: NatsConnection): Promise<readonly LeaseGranted[]> {
  const messages = await decisionsInLog(connection);
  return messages.flatMap(({ decisions }) =>
    decisions.flatMap(({ kind }) => (kind?.$case === "leaseGranted" ? [kind.value] : [])),
  );
}

/** The whole decision log, in order. */
export async function decisionsInLog(
  connection: NatsConnection,
): Promise<readonly DecisionMessage[]> {
  const manager = await jetstreamManager(connection);
  const { state } = await manager.streams.info(DECISIONS_STREAM);
  const messages: DecisionMessage[] = [];
  for (let sequence = state.first_seq; sequence <= state.last_seq; sequence++) {
    const stored = await manager.streams.getMessage(DECISIONS_STREAM, { seq: sequence });
    if (stored !== null) messages.push(DecisionMessage.decode(stored.data));
  }
  return messages;
}
