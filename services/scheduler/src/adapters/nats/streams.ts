import {
  type JetStreamManager,
  RetentionPolicy,
  type StreamConfig,
  type StreamInfo,
  StorageType,
} from "@nats-io/jetstream";
import {
  DECISIONS_STREAM,
  DECISIONS_STREAM_SUBJECTS,
  EVENTS_STREAM,
  EVENTS_STREAM_SUBJECTS,
} from "@lacewing/contracts/subjects.ts";
import type { Log } from "@lacewing/observability/log.ts";
import { PortError } from "@lacewing/runtime/errors.ts";
import { isApiError, natsError, STREAM_NOT_FOUND } from "./nats-errors.ts";

export interface StreamLimits {
  /** Bytes the event stream keeps at most; -1 for no limit but its age. */
  readonly eventsBytesMax: number;
  readonly eventsAgeMs: number;
  readonly decisionsAgeMs: number;
  readonly replicas: number;
}

/** `JSStreamNameExistErr`: somebody else made it between our look and our try. */
const STREAM_NAME_EXISTS = 10058;
/** A repeated publish within this is dropped by its message id. Hosts and schedulers repeat within seconds. */
const DUPLICATE_WINDOW_MS = 2 * 60_000;
const NANOS_PER_MS = 1e6;

/**
 * Makes the two streams when they are missing; a stream that an operator made stays as it is when it stores our subjects. Uses
 * nothing that nats-server 2.9.10 does not know.
 *
 * @throws {PortError} naming the subjects that a stream lacks.
 */
export async function ensureStreams(
  manager: JetStreamManager,
  limits: StreamLimits,
  log: Log,
): Promise<void> {
  await ensure(manager, log, {
    ...common(limits),
    name: EVENTS_STREAM,
    subjects: [...EVENTS_STREAM_SUBJECTS],
    max_age: limits.eventsAgeMs * NANOS_PER_MS,
    max_bytes: limits.eventsBytesMax,
  });
  await ensure(manager, log, {
    ...common(limits),
    name: DECISIONS_STREAM,
    subjects: [...DECISIONS_STREAM_SUBJECTS],
    max_age: limits.decisionsAgeMs * NANOS_PER_MS,
  });
}

function common(limits: StreamLimits) {
  return {
    storage: StorageType.File,
    retention: RetentionPolicy.Limits,
    num_replicas: limits.replicas,
    duplicate_window: DUPLICATE_WINDOW_MS * NANOS_PER_MS,
    no_ack: false,
  } satisfies Partial<StreamConfig>;
}

async function ensure(
  manager: JetStreamManager,
  log: Log,
  config: Partial<StreamConfig> & { readonly name: string; readonly subjects: string[] },
): Promise<void> {
  try {
    const found = (await infoOf(manager, config.name)) ?? (await add(manager, log, config));
    const missing = config.subjects.filter((subject) => !isStored(found.config.subjects, subject));
    if (missing.length === 0) return;
    const message = `stream ${config.name} stores ${found.config.subjects.join(", ")}, but not ${missing.join(", ")}`;
    throw new PortError("stream_unfit", message, { retryable: false });
  } catch (error) {
    throw natsError(`stream ${config.name}`, error);
  }
}

async function add(
  manager: JetStreamManager,
  log: Log,
  config: Partial<StreamConfig> & { readonly name: string },
): Promise<StreamInfo> {
  try {
    const made = await manager.streams.add(config);
    log.info("stream created", { stream: config.name, subjects: made.config.subjects });
    return made;
  } catch (error) {
    if (!isApiError(error, STREAM_NAME_EXISTS)) throw error;
    return manager.streams.info(config.name);
  }
}

async function infoOf(manager: JetStreamManager, name: string): Promise<StreamInfo | undefined> {
  try {
    return await manager.streams.info(name);
  } catch (error) {
    if (isApiError(error, STREAM_NOT_FOUND)) return undefined;
    throw error;
  }
}

/** Whether a stored subject covers the wanted one: equal, or a wildcard that is as wide or wider. */
function isStored(stored: readonly string[], wanted: string): boolean {
  return stored.some((pattern) => covers(pattern.split("."), wanted.split(".")));
}

function covers(pattern: readonly string[], wanted: readonly string[]): boolean {
  for (const [at, token] of pattern.entries()) {
    if (token === ">") return wanted.length > at;
    if (wanted[at] === undefined || (token !== "*" && token !== wanted[at])) return false;
  }
  return pattern.length === wanted.length;
}
