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
/** And so many of all batches: clients' own requests find connections to the origin left. */
const AHEAD_ALL_COUNT_MAX = 64;
/**
 * And only from an origin that takes at least so long to begin an answer: less is not worth the work of a second request for
 * the same content on this host.
 */
const AHEAD_DISTANCE_MS_MIN = 10;

/** Content that the origin may be read for, before its client comes. */
export interface AheadContent {
  readonly client: ExpectedClient;
  readonly target: DownloadTarget;
  /** As the batch says; an origin that gives another length is not read. */
  readonly lengthBytes: number;
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
  /** What the origin does not give to one of them, or this host cannot keep, is not asked for again and again. */
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
  /** Whether the content arrives; rejects when the origin could not be asked. */
  readonly arrives: Promise<boolean>;
  readonly abort: AbortController;
  /** It is over, and brought nothing. */
  isVain: boolean;
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
  /** With contents that wait. */
  readonly #batches = new Set<AheadBatch>();
  #readingCount = 0;

  constructor(options: OriginAheadOptions) {
    this.#options = options;
  }

  /** The scheduler lets this host read the content from the origin. */
  granted(content: AheadContent): void {
    const { batch, target } = content;
    const { access, accessTtlMs } = target.rule;
    // The origin wants to be asked for each client.
    if (access !== "public" && accessTtlMs <= 0) return;
    // Another lease for what was read in vain: its client may try.
    if (batch.reading.has(content)) return;
    batch.waiting.add(content);
    this.#batches.add(batch);
    this.#readOn(batch);
  }

  /** The client came, or will not: its place ahead is free. @returns the read that was begun for it, unless it was in vain. */
  release(content: AheadContent): Reading | undefined {
    const { batch } = content;
    batch.waiting.delete(content);
    const reading = batch.reading.get(content);
    if (batch.reading.delete(content)) this.#readingCount--;
    for (const other of this.#batches) this.#readOn(other);
    return reading?.isVain === true ? undefined : reading;
  }

  #readOn(batch: AheadBatch): void {
    while (!batch.isRefused && batch.reading.size < AHEAD_COUNT_MAX) {
      const content = batch.next();
      if (content === undefined) break;
      if (this.#readingCount >= AHEAD_ALL_COUNT_MAX || !this.#isWorthwhile(content)) return;
      batch.waiting.delete(content);
      const { taskId, requestId } = content.client;
      // It may have been taken back since.
      if (this.#options.registry.isParked(taskId, requestId)) this.#begin(content);
    }
    if (batch.isRefused || batch.waiting.size === 0) this.#batches.delete(batch);
  }

  #isWorthwhile({ target }: AheadContent): boolean {
    const { openings, isBusy } = this.#options;
    return (openings.distance.of(target.url) ?? 0) >= AHEAD_DISTANCE_MS_MIN && !isBusy();
  }

  #begin(content: AheadContent): void {
    const { batch } = content;
    const abort = new AbortController();
    const arrives = this.#read(content, abort.signal);
    const reading: Reading = { arrives, abort, isVain: false };
    batch.reading.set(content, reading);
    this.#readingCount++;
    const inVain = (): void => {
      reading.isVain = true;
      // A client that left says nothing about the others.
      if (!abort.signal.aborted) batch.isRefused = true;
    };
    arrives.then((isArriving) => {
      if (!isArriving) inVain();
    }, inVain);
  }

  /** @returns whether the content arrives. */
  async #read(content: AheadContent, signal: AbortSignal): Promise<boolean> {
    const { store, registry, access, openings, clock, sha256 } = this.#options;
    const { client, target, lengthBytes } = content;
    const parent = contextFromTraceparent(client.traceparent);
    const opening = { access: client.access, target, parent };
    const response = await openings.send(opening, false, signal);
    const described =
      response.status === 200 ? describe(target, response, clock.now(), sha256) : undefined;
    const description = described?.kind === "task" ? described.description : undefined;
    const isNamed = description?.taskId === client.taskId;
    if (description === undefined || !isNamed || description.lengthBytes !== lengthBytes) {
      response.discard();
      return false;
    }
    client.access.noteValidator(strongValidatorOf(response.headers));
    client.access.keepOpen({ response, start: 0 });
    const stored = await store.create(description);
    const isKept = typeof stored !== "string" && registry.readAhead(client, stored);
    if (isKept) access.grant(target.accessKey, target.rule.accessTtlMs);
    else {
      client.access.dropOpen();
      if (typeof stored !== "string") registry.giveBack(stored);
    }
    return isKept;
  }
}
