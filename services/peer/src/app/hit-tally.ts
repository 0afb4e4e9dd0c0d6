import type { DownloadFinished } from "@lacewing/contracts/gen/lacewing/events/v1/events.ts";
import { parseTaskId, type TaskId } from "@lacewing/contracts/ids.ts";
import type { Log } from "@lacewing/observability/log.ts";
import { ATTRIBUTE, SPAN, TRAFFIC } from "@lacewing/observability/semconv.ts";
import {
  contextFromTraceparent,
  endSpan,
  runInSpan,
  startSpan,
  traceIdOf,
  traceparentOf,
} from "@lacewing/observability/trace.ts";
import type { Clock } from "@lacewing/runtime/clock.ts";
import { Allowance } from "../core/allowance.ts";
import { newRequestId } from "./request-id.ts";
import type { SchedulerLink } from "./scheduler-link.ts";

/**
 * Hits of this host that are recorded each by itself in a second, with as many saved up: more of them tell an analyst nothing new,
 * and every one is a span, a line, a message and a row in SQL, which all hosts of a cluster share.
 */
export const HIT_RECORD_COUNT_MAX = 100;
/** Sums are told so often. A host that is killed has not told those of its last second. */
export const TALLY_MS = 1000;
/** URLs with a sum of their own at once; hits of further ones are summed up by content, and of as many contents beyond that by rule. */
export const TALLIED_CONTENT_COUNT_MAX = 100;
/** A longer content takes its time: each of its downloads is told by itself. At 1 GB/s they are some 250 a second. */
export const TALLIED_BYTES_MAX = 4 * 2 ** 20;
/** SQL counts by the minute in which a download began: what is summed up began in the same one. */
const SUMMED_MINUTE_MS = 60_000;

/** What hits that are summed up together have in common. */
export interface HitSubject {
  readonly taskId: TaskId;
  readonly url: string;
  readonly contentLengthBytes: number;
  readonly tag: string;
  readonly application: string;
  readonly priority: number;
}

/** One request for all of a content that was held here, ended. */
export interface Hit {
  readonly outcome: "finished" | "client_gone";
  readonly deliveredBytes: number;
  /** By the wall clock. */
  readonly startedAtMs: number;
  readonly ttfbMs: number;
  readonly costMs: number;
}

/** Hits of one kind. */
interface Sum {
  readonly subject: Omit<HitSubject, "taskId"> & { readonly taskId: TaskId | "" };
  readonly outcome: Hit["outcome"];
  requestCount: number;
  deliveredBytes: number;
  startedAtMs: number;
  ttfbMs: number;
  costMs: number;
}

/**
 * Bounds what hits cost the cluster: up to {@link HIT_RECORD_COUNT_MAX} each is recorded by itself, beyond it they are summed up,
 * and once a second each sum becomes one fact, one log line and one span that say how many requests they stand for.
 */
export class HitTally {
  readonly #options: {
    readonly link: Pick<SchedulerLink, "downloadEnded">;
    readonly hostId: string;
    readonly clock: Clock;
    readonly log: Log;
    readonly newId: () => string;
  };
  readonly #recorded = new Allowance(HIT_RECORD_COUNT_MAX);
  /** By URL, by content where there are too many URLs, and by rule where there are too many contents, too. */
  readonly #sums: readonly [Map<string, Sum>, Map<string, Sum>, Map<string, Sum>] = [
    new Map(),
    new Map(),
    new Map(),
  ];
  #timer: NodeJS.Timeout | undefined;
  #isClosed = false;

  constructor(options: {
    readonly link: Pick<SchedulerLink, "downloadEnded">;
    readonly hostId: string;
    readonly clock: Clock;
    readonly log: Log;
    /** A new unique id, 1–64 letters, digits, `-`. */
    readonly newId: () => string;
  }) {
    this.#options = options;
  }

  /** Whether the next hit would be recorded by itself. */
  get hasRecord(): boolean {
    return this.#recorded.has(this.#options.clock.monotonic());
  }

  /** Whether this hit is recorded by itself; otherwise it is to be {@link add}ed. */
  takeRecord(): boolean {
    return this.#recorded.take(this.#options.clock.monotonic());
  }

  add(subject: HitSubject, hit: Hit): void {
    const sum = this.#sumOf(subject, hit);
    sum.requestCount++;
    sum.deliveredBytes += hit.deliveredBytes;
    sum.startedAtMs = Math.min(sum.startedAtMs, hit.startedAtMs);
    sum.ttfbMs = Math.max(sum.ttfbMs, hit.ttfbMs);
    sum.costMs = Math.max(sum.costMs, hit.costMs);
    if (this.#isClosed) this.tell();
    else this.#timer ??= setTimeout(() => this.tell(), TALLY_MS);
  }

  /** Sums a download up that had no record. @returns false when it was no hit after all, and is to be told by itself. */
  addFact(fact: DownloadFinished): boolean {
    const { outcome, delivered } = fact;
    const taskId = parseTaskId(fact.taskId);
    if (taskId === undefined || (outcome !== "finished" && outcome !== "client_gone")) return false;
    const isWhole = fact.httpStatus === HIT_STATUS && fact.range === "" && !fact.degraded;
    const othersBytes = (delivered?.remotePeer ?? 0) + (delivered?.backToSource ?? 0);
    const fetched = { ...NO_BYTES, ...fact.fetched };
    const fetchedBytes = fetched.remotePeer + fetched.backToSource + fact.probeBytes;
    if (!isWhole || othersBytes + fetchedBytes > 0) return false;
    const deliveredBytes = delivered?.localPeer ?? 0;
    this.add({ ...fact, taskId }, { ...fact, outcome, deliveredBytes });
    return true;
  }

  /** Tells what was summed up so far. */
  tell(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const sums = this.#sums.flatMap((level) => [...level.values()]);
    for (const level of this.#sums) level.clear();
    for (const sum of sums) this.#tellOf(sum);
  }

  /** The host stops: what ends from now on is told at once. */
  close(): void {
    this.#isClosed = true;
    this.tell();
  }

  #sumOf(subject: HitSubject, hit: Hit): Sum {
    const { tag, application, priority, url, taskId } = subject;
    // What is told of requests that got nothing must not be said of those that got something: SQL tells them apart by it.
    const minute = Math.floor(hit.startedAtMs / SUMMED_MINUTE_MS);
    const kind = `${minute} ${hit.outcome} ${hit.deliveredBytes > 0} ${priority}\n${tag}\n${application}\n`;
    const [byUrl, byContent, byRule] = this.#sums;
    const contentKey = `${kind}${taskId}`;
    const urlKey = `${contentKey}\n${url}`;
    if (hasRoom(byUrl, urlKey)) return sumIn(byUrl, urlKey, subject, hit);
    if (hasRoom(byContent, contentKey))
      return sumIn(byContent, contentKey, { ...subject, url: "" }, hit);
    return sumIn(byRule, kind, { ...subject, ...ANY_CONTENT }, hit);
  }

  #tellOf({ subject, outcome, deliveredBytes, ...figures }: Sum): void {
    const { link, hostId, log, newId } = this.#options;
    const downloadId = newRequestId(newId);
    const span = startSpan(SPAN.download, {
      parent: contextFromTraceparent(undefined),
      side: "server",
      attributes: {
        [ATTRIBUTE.hostId]: hostId,
        [ATTRIBUTE.requestId]: downloadId,
        [ATTRIBUTE.url]: subject.url,
        [ATTRIBUTE.httpRequestMethod]: "GET",
        [ATTRIBUTE.requestCount]: figures.requestCount,
        ...(subject.taskId === "" ? {} : { [ATTRIBUTE.taskId]: subject.taskId }),
        [ATTRIBUTE.traffic]: TRAFFIC.localPeer,
        [ATTRIBUTE.bytesLocalPeer]: deliveredBytes,
        [ATTRIBUTE.outcome]: outcome,
        [ATTRIBUTE.costMs]: figures.costMs,
        [ATTRIBUTE.httpResponseStatusCode]: HIT_STATUS,
      },
    });
    const traceId = traceIdOf(span) ?? "";
    const delivered = { ...NO_BYTES, localPeer: deliveredBytes };
    link.downloadEnded(
      {
        ...subject,
        ...figures,
        downloadId,
        method: "GET",
        outcome,
        httpStatus: HIT_STATUS,
        fetched: NO_BYTES,
        delivered,
        probeBytes: 0,
        range: "",
        degraded: false,
        traceId,
        error: "",
      },
      traceparentOf(span) ?? "",
    );
    runInSpan(span, () =>
      log.info("peer task done", {
        requests: figures.requestCount,
        costMs: figures.costMs,
        peer: hostId,
        task: subject.taskId,
        trace: traceId,
        traffic: TRAFFIC.localPeer,
        outcome,
        status: HIT_STATUS,
        url: subject.url,
        deliveredBytes: delivered,
      }),
    );
    endSpan(span);
  }
}

function hasRoom(sums: ReadonlyMap<string, Sum>, key: string): boolean {
  return sums.has(key) || sums.size < TALLIED_CONTENT_COUNT_MAX;
}

function sumIn(
  sums: Map<string, Sum>,
  key: string,
  subject: Sum["subject"],
  { outcome, startedAtMs }: Hit,
): Sum {
  const known = sums.get(key);
  if (known !== undefined) return known;
  const none = { requestCount: 0, deliveredBytes: 0, ttfbMs: 0, costMs: 0 };
  const { taskId, url, contentLengthBytes, tag, application, priority } = subject;
  const common = { taskId, url, contentLengthBytes, tag, application, priority };
  const sum: Sum = { subject: common, outcome, startedAtMs, ...none };
  sums.set(key, sum);
  return sum;
}

/** Only whole answers are summed up. */
export const HIT_STATUS = 200;
const ANY_CONTENT = { taskId: "", url: "", contentLengthBytes: 0 } as const;
const NO_BYTES = { localPeer: 0, remotePeer: 0, backToSource: 0 } as const;
