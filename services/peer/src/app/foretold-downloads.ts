import type { TaskId } from "@lacewing/contracts/ids.ts";
import { ATTRIBUTE, SPAN } from "@lacewing/observability/semconv.ts";
import {
  contextFromTraceparent,
  endSpan,
  type Span,
  startSpan,
  traceparentOf,
} from "@lacewing/observability/trace.ts";
import { meansOf, type NamedContent, targetOf } from "./download-target.ts";
import type { ExpectedClient } from "./expected-client.ts";
import {
  AheadBatch,
  type AheadContent,
  OriginAhead,
  type OriginAheadOptions,
} from "./origin-ahead.ts";
import { OriginAccess } from "./origin-access.ts";
import type { ClientRequest, ForetoldContent, OriginClient } from "./ports.ts";
import { newRequestId } from "./request-id.ts";
import type { PoisonedTasks } from "./poisoned-tasks.ts";
import type { Rule } from "../core/rules.ts";
import { pathOf } from "@lacewing/contracts/url-parts.ts";

/**
 * Only content up to this length is asked for ahead of its client: one piece, for which a round trip to the scheduler
 * costs more than the bytes.
 */
const FORETOLD_BYTES_MAX = 2 ** 20;
/**
 * So many of a batch are asked for at once and the rest a little later: the scheduler answers for these first, and the client has
 * something to do while the rest is scheduled and fetched. git-lfs asks for 8 at a time.
 */
const FORETOLD_FIRST_COUNT = 16;
/** And the rest so long after, or when a client comes: by then a scheduler that is near has answered. */
const FORETOLD_REST_MS = 10;
/** Clients waited for at once: some batches of some clients. More is left to be asked for in its turn. */
const FORETOLD_COUNT_MAX = 2000;
/**
 * When nothing of a batch was asked for in so long, the rest of it is given up, and comes like any other later: what was given of
 * the origin keeps other hosts waiting. git-lfs asks for a hundred small objects within a second.
 */
const FORETOLD_MS = 2_000;
/** And at the latest so long after the batch: a client that goes on with it slowly needs no head start. */
const FORETOLD_MS_MAX = 20_000;

export interface ForetoldOptions extends OriginAheadOptions {
  readonly origin: OriginClient;
  readonly poisoned: PoisonedTasks;
  readonly newId: () => string;
}

type AskedUrl = Pick<ClientRequest, "url" | "path">;

interface Foretold extends AheadContent {
  readonly span: Span;
  readonly batch: Batch;
}

/** Contents that one answer named. */
class Batch extends AheadBatch {
  readonly beganAtMs: number;
  /** When its client came for one of them the last time. */
  cameAtMs: number;

  constructor(nowMs: number) {
    super();
    this.beganAtMs = nowMs;
    this.cameAtMs = nowMs;
  }
}

/** What was prepared for a client that came. */
export interface Prepared {
  readonly client: ExpectedClient;
  /** The origin was asked ahead of it: whether the content arrives. Rejects when the origin could not be asked. */
  readonly arrives: Promise<boolean> | undefined;
}

/**
 * Content that clients are about to ask for, because an answer of the origin has just named it to them: the scheduler is
 * asked for all of it at once, what other hosts hold is fetched before the client comes for it, and what nobody holds is read
 * from the origin a few contents ahead of the client.
 */
export class ForetoldDownloads {
  readonly #options: ForetoldOptions;
  /** In the order of the batches. */
  readonly #foretold = new Map<TaskId, Foretold>();
  /** The same, by URL. */
  readonly #byUrl = new Map<string, Foretold>();
  readonly #ahead: OriginAhead;
  /** Of batches whose first contents have been asked for: asks for the others now. */
  readonly #rests = new Set<() => void>();
  #timer: NodeJS.Timeout | undefined;

  constructor(options: ForetoldOptions) {
    this.#options = options;
    this.#ahead = new OriginAhead(options);
  }

  foretell(contents: readonly ForetoldContent[], traceparent: string): void {
    const { registry, clock } = this.#options;
    const batch = new Batch(clock.monotonic());
    const clients = contents.flatMap((content, index) => {
      const client = this.#expected(content, traceparent, { batch, index });
      return client === undefined ? [] : [client];
    });
    registry.expect(clients.slice(0, FORETOLD_FIRST_COUNT));
    if (clients.length > FORETOLD_FIRST_COUNT) {
      const expectRest = (): void => {
        clearTimeout(timer);
        this.#rests.delete(expectRest);
        registry.expect(clients.slice(FORETOLD_FIRST_COUNT));
      };
      const timer = setTimeout(expectRest, FORETOLD_REST_MS).unref();
      this.#rests.add(expectRest);
    }
    this.#watch();
  }

  /** What is foretold for a URL under a rule: what its name says need not be read from it again. */
  targetAt({ url, path }: AskedUrl, rule: Rule): NamedContent | undefined {
    // Written in another way it may name something else.
    if (path !== undefined && path !== pathOf(url)) return undefined;
    const target = this.#byUrl.get(url.href)?.target;
    return target?.rule === rule ? target : undefined;
  }

  /** The client came: its request goes on under the id by which it was asked for. What is under way for it ends with `signal`. */
  claim(taskId: TaskId, signal: AbortSignal): Prepared | undefined {
    for (const expectRest of this.#rests) expectRest();
    const foretold = this.#foretold.get(taskId);
    if (foretold === undefined) return undefined;
    this.#forget(foretold);
    foretold.batch.cameAtMs = this.#options.clock.monotonic();
    endSpan(foretold.span);
    const reading = this.#ahead.release(foretold);
    if (reading !== undefined) {
      const onGone = (): void => reading.abort.abort(signal.reason);
      const settled = (): void => signal.removeEventListener("abort", onGone);
      signal.addEventListener("abort", onGone, { once: true });
      reading.arrives.then(settled, settled);
    }
    return { client: foretold.client, arrives: reading?.arrives };
  }

  #expected(
    content: ForetoldContent,
    traceparent: string,
    place: Pick<Foretold, "batch" | "index">,
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
      access: new OriginAccess({ requestId, origin, client: content.client, ...meansOf(target) }),
      traceparent: traceparentOf(span) ?? "",
      originGranted: () => {
        if (this.#foretold.get(taskId) === foretold) this.#ahead.granted(foretold);
      },
    };
    const foretold: Foretold = { client, target, lengthBytes, span, ...place };
    this.#foretold.set(taskId, foretold);
    this.#byUrl.set(target.url.href, foretold);
    return client;
  }

  #forget({ client, target }: Foretold): void {
    this.#foretold.delete(client.taskId);
    this.#byUrl.delete(target.url.href);
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
    for (const [taskId, foretold] of this.#foretold) {
      const { client, span, batch } = foretold;
      if (lapseOf(batch) > nowMs) continue;
      this.#forget(foretold);
      batch.isRefused = true;
      this.#ahead.release(foretold)?.abort.abort("the client did not come");
      endSpan(span, { attributes: { [ATTRIBUTE.outcome]: "lapsed" } });
      this.#options.registry.abandon(taskId, client.requestId, "the client did not come");
    }
  }
}

function lapseOf({ beganAtMs, cameAtMs }: Batch): number {
  return Math.min(cameAtMs + FORETOLD_MS, beganAtMs + FORETOLD_MS_MAX);
}
