import type { Sha256Hex } from "@lacewing/contracts/ids.ts";
import { contextFromTraceparent } from "@lacewing/observability/trace.ts";
import type { Clock } from "@lacewing/runtime/clock.ts";
import { strongValidatorOf } from "../core/identity.ts";
import type { AccessCache } from "./access-cache.ts";
import { describe, type DownloadTarget } from "./download-target.ts";
import type { ExpectedClient } from "./expected-client.ts";
import type { OpeningRequests } from "./opening-request.ts";
import type { PieceStore } from "./ports.ts";
import type { TaskRegistry } from "./task-registry.ts";

/** So many contents of one batch are read from the origin before their client asks for them: twice what git-lfs asks for at once. */
const AHEAD_COUNT_MAX = 16;
/**
 * And only from an origin that takes longer than this to begin an answer: less is not worth the work of a second request for
 * the same content on this host.
 */
const AHEAD_DISTANCE_MS_MIN = 10;

/** Content that the origin may be read for, before its client comes. */
export interface AheadContent {
  readonly client: ExpectedClient;
  readonly target: DownloadTarget;
  readonly batch: AheadBatch;
  /** Its place in the batch: clients ask in this order. */
  readonly index: number;
}

/** Contents that one answer of an origin named. */
export class AheadBatch {
  /** May be read. */
  readonly waiting = new Set<AheadContent>();
  /** Being read, or read, and not asked for yet. */
  readonly reading = new Map<AheadContent, Reading>();
  /** What the origin does not give to one of them is not asked for again and again. */
  isRefused = false;

  /** The one that its client asks for first. */
  next(): AheadContent | undefined {
    let first: AheadContent | undefined;
    for (const content of this.waiting)
      if (first === undefined || content.index < first.index) first = content;
    return first;
  }
}

/** A read of the origin ahead of its client. */
export interface Reading {
  /** Ends when the content arrives, or the origin was asked in vain. Never fails. */
  readonly opened: Promise<void>;
  readonly abort: AbortController;
}

export interface OriginAheadOptions {
  readonly store: PieceStore;
  readonly registry: TaskRegistry;
  readonly access: AccessCache;
  readonly openings: OpeningRequests;
  /** Whether this host has no time left: then it is not the origin that its clients wait for. */
  readonly isBusy: () => boolean;
  readonly clock: Clock;
  readonly sha256: Sha256Hex;
}

/**
 * Reads small contents from the origin before their client asks for them, a few at a time: otherwise each costs its client
 * a round trip to the origin. The client may have what was opened in its name and with its credentials.
 */
export class OriginAhead {
  readonly #options: OriginAheadOptions;

  constructor(options: OriginAheadOptions) {
    this.#options = options;
  }

  /** The scheduler lets this host read the content from the origin. */
  granted(content: AheadContent): void {
    const { access, accessTtlMs } = content.target.rule;
    // The origin wants to be asked for each client.
    if (access !== "public" && accessTtlMs <= 0) return;
    // Another lease for what was read in vain: its client may try.
    if (content.batch.reading.has(content)) return;
    content.batch.waiting.add(content);
    this.#readOn(content.batch);
  }

  /** The client came, or will not: its place ahead is free. @returns the read that was begun for it. */
  release(content: AheadContent): Reading | undefined {
    const { batch } = content;
    batch.waiting.delete(content);
    const reading = batch.reading.get(content);
    batch.reading.delete(content);
    this.#readOn(batch);
    return reading;
  }

  #readOn(batch: AheadBatch): void {
    while (!batch.isRefused && batch.reading.size < AHEAD_COUNT_MAX) {
      const content = batch.next();
      if (content === undefined) return;
      const distanceMs = this.#options.openings.distance.of(content.target.url) ?? 0;
      if (distanceMs < AHEAD_DISTANCE_MS_MIN || this.#options.isBusy()) return;
      batch.waiting.delete(content);
      const abort = new AbortController();
      const opened = this.#read(content, abort.signal).catch(() => {
        // The client asks for itself, and is told what is wrong.
        batch.isRefused = true;
      });
      batch.reading.set(content, { opened, abort });
    }
  }

  async #read(content: AheadContent, signal: AbortSignal): Promise<void> {
    const { store, registry, access, openings, clock, sha256 } = this.#options;
    const { client, target, batch } = content;
    const parent = contextFromTraceparent(client.traceparent);
    const opening = { access: client.access, target, parent };
    const response = await openings.send(opening, false, signal);
    const described =
      response.status === 200 ? describe(target, response, clock.now(), sha256) : undefined;
    if (described?.kind !== "task" || described.description.taskId !== client.taskId) {
      batch.isRefused = true;
      response.discard();
      return;
    }
    client.access.noteValidator(strongValidatorOf(response.headers));
    client.access.keepOpen({ response, start: 0 });
    const stored = await store.create(described.description);
    if (typeof stored === "string") {
      client.access.dropOpen();
      return;
    }
    access.grant(target.accessKey, target.rule.accessTtlMs);
    registry.readAhead(client, stored);
  }
}
