import { type Sha256Hex, type TaskId } from "@lacewing/contracts/ids.ts";
import { ATTRIBUTE, SPAN } from "@lacewing/observability/semconv.ts";
import {
  contextFromTraceparent,
  endSpan,
  type Span,
  startSpan,
  traceparentOf,
} from "@lacewing/observability/trace.ts";
import type { Clock } from "@lacewing/runtime/clock.ts";
import type { AccessCache } from "./access-cache.ts";
import { targetOf } from "./download-target.ts";
import type { ExpectedClient } from "./expected-client.ts";
import { OriginAccess } from "./origin-access.ts";
import type { ForetoldContent, OriginClient, PieceStore } from "./ports.ts";
import { newRequestId } from "./request-id.ts";
import type { PoisonedTasks } from "./poisoned-tasks.ts";
import type { TaskRegistry } from "./task-registry.ts";

/**
 * Only content up to this length is asked for ahead of its client: one piece, for which a round trip to the scheduler
 * costs more than the bytes.
 */
const FORETOLD_BYTES_MAX = 2 ** 20;
/** Clients waited for at once: some batches of some clients. More is left to be asked for in its turn. */
const FORETOLD_COUNT_MAX = 2000;
/**
 * When nothing of a batch was asked for in so long, the rest of it is given up, and comes like any other later: what was given of
 * the origin keeps other hosts waiting. git-lfs asks for a hundred small objects within a second.
 */
const FORETOLD_MS = 2_000;
/** And at the latest so long after the batch: a client that goes on with it slowly needs no head start. */
const FORETOLD_MS_MAX = 20_000;

export interface ForetoldOptions {
  readonly store: PieceStore;
  readonly registry: TaskRegistry;
  readonly origin: OriginClient;
  readonly access: AccessCache;
  readonly poisoned: PoisonedTasks;
  readonly clock: Clock;
  readonly sha256: Sha256Hex;
  readonly newId: () => string;
}

interface Foretold {
  readonly client: ExpectedClient;
  readonly span: Span;
  readonly batch: Batch;
}

/** Contents that one answer named. */
interface Batch {
  readonly beganAtMs: number;
  /** When its client came for one of them the last time. */
  cameAtMs: number;
}

/**
 * Content that clients are about to ask for, because an answer of the origin has just named it to them: the scheduler is
 * asked for all of it at once, and what other hosts hold is fetched before the client comes for it.
 */
export class ForetoldDownloads {
  readonly #options: ForetoldOptions;
  /** In the order of the batches. */
  readonly #foretold = new Map<TaskId, Foretold>();
  #timer: NodeJS.Timeout | undefined;

  constructor(options: ForetoldOptions) {
    this.#options = options;
  }

  foretell(contents: readonly ForetoldContent[], traceparent: string): void {
    const nowMs = this.#options.clock.monotonic();
    const batch: Batch = { beganAtMs: nowMs, cameAtMs: nowMs };
    const clients = contents.flatMap((content) => {
      const client = this.#expected(content, traceparent, batch);
      return client === undefined ? [] : [client];
    });
    this.#options.registry.expect(clients);
    this.#watch();
  }

  /** The client came: its request goes on under the id by which it was asked for. */
  claim(taskId: TaskId): ExpectedClient | undefined {
    const foretold = this.#foretold.get(taskId);
    if (foretold === undefined) return undefined;
    this.#foretold.delete(taskId);
    foretold.batch.cameAtMs = this.#options.clock.monotonic();
    endSpan(foretold.span);
    return foretold.client;
  }

  #expected(
    content: ForetoldContent,
    traceparent: string,
    batch: Batch,
  ): ExpectedClient | undefined {
    const { store, registry, origin, access, poisoned, sha256 } = this.#options;
    const { rule, lengthBytes, digest, isGranted } = content;
    const target = targetOf(content, rule, sha256);
    if (isGranted) access.grant(target.accessKey, rule.accessTtlMs);
    const taskId = target.anchoredTaskId;
    if (taskId === undefined || target.anchor !== digest) return undefined;
    if (lengthBytes === 0 || lengthBytes > FORETOLD_BYTES_MAX) return undefined;
    if (this.#foretold.size >= FORETOLD_COUNT_MAX || this.#foretold.has(taskId)) return undefined;
    if (store.get(taskId)?.held.isFull === true || registry.isDownloading(taskId)) return undefined;
    if (poisoned.has(taskId)) return undefined;
    const requestId = newRequestId(this.#options.newId);
    const span = startSpan(SPAN.taskRequest, {
      parent: contextFromTraceparent(traceparent),
      side: "client",
      attributes: {
        [ATTRIBUTE.taskId]: taskId,
        [ATTRIBUTE.requestId]: requestId,
        "lacewing.foretold": true,
      },
    });
    const client: ExpectedClient = {
      asked: {
        taskId,
        requestId,
        url: target.shownUrl,
        sharingDomain: target.sharingDomain,
        anchor: digest,
        tag: rule.tag,
        application: rule.application,
        priority: rule.priority,
        wantedStart: 0,
        wantedEnd: 0,
        canReadOrigin: true,
        originOpen: false,
      },
      requestId,
      taskId,
      access: new OriginAccess({
        requestId,
        origin,
        url: target.url,
        headers: target.openingHeaders,
        useTls: rule.useTls,
      }),
      traceparent: traceparentOf(span) ?? "",
    };
    this.#foretold.set(taskId, { client, span, batch });
    return client;
  }

  /** Gives up the clients that did not come. */
  #watch(): void {
    if (this.#timer !== undefined || this.#foretold.size === 0) return;
    let lapsesAtMs = Number.POSITIVE_INFINITY;
    for (const { batch } of this.#foretold.values()) {
      lapsesAtMs = Math.min(lapsesAtMs, lapseOf(batch));
    }
    const waitMs = Math.max(0, lapsesAtMs - this.#options.clock.monotonic());
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#lapse();
      this.#watch();
    }, waitMs);
    // Nobody is kept waiting by it.
    this.#timer.unref();
  }

  #lapse(): void {
    const nowMs = this.#options.clock.monotonic();
    for (const [taskId, { client, span, batch }] of this.#foretold) {
      if (lapseOf(batch) > nowMs) continue;
      this.#foretold.delete(taskId);
      endSpan(span, { attributes: { [ATTRIBUTE.outcome]: "lapsed" } });
      this.#options.registry.abandon(taskId, client.requestId, "the client did not come");
    }
  }
}

function lapseOf({ beganAtMs, cameAtMs }: Batch): number {
  return Math.min(cameAtMs + FORETOLD_MS, beganAtMs + FORETOLD_MS_MAX);
}
