import type { DownloadOutcome } from "@lacewing/contracts/events/reasons.ts";
import type { DownloadFinished } from "@lacewing/contracts/gen/lacewing/events/v1/events.ts";
import type { RequestId, TaskId } from "@lacewing/contracts/ids.ts";
import type { Log } from "@lacewing/observability/log.ts";
import { ATTRIBUTE, SPAN } from "@lacewing/observability/semconv.ts";
import {
  contextFromTraceparent,
  endSpan,
  NO_SPAN,
  runInSpan,
  type Span,
  startSpan,
  traceIdOf,
  traceparentOf,
} from "@lacewing/observability/trace.ts";
import type { Clock } from "@lacewing/runtime/clock.ts";
import type { HitTally } from "./hit-tally.ts";
import type { SchedulerLink } from "./scheduler-link.ts";
import { noBytes, type TrafficBytes } from "./task-reader.ts";

/** Of a client's `Range` and of an explanation, what is worth keeping: a longer text would have its whole message refused. */
const RANGE_LENGTH_MAX = 256;
const ERROR_LENGTH_MAX = 500;

/** So often what a download has brought is journaled while it lasts: a host that dies loses no more of the account. */
export const PROGRESS_JOURNALED_MS = 2_000;

/** What is known of a download when it begins. */
export interface DownloadBeginning {
  readonly requestId: RequestId;
  /** Without secrets. */
  readonly url: string;
  readonly method: string;
  readonly tag: string;
  readonly application: string;
  readonly priority: number;
  readonly range: string;
  readonly receivedAtMs: number;
  /** The client's own, or empty. */
  readonly traceparent: string;
  readonly hostId: string;
  /** Where it is summed up with others, if it is the hit that it promises to be; `undefined`: it is recorded by itself. */
  readonly tally: HitTally | undefined;
}

interface RecordServices {
  readonly link: Pick<SchedulerLink, "downloadBegan" | "downloadEnded">;
  readonly clock: Clock;
  readonly log: Log;
}

/**
 * The account of one client request, from its head to its last byte: one root span, one journaled fact, one log line, all
 * with the same figures.
 */
export class DownloadRecord {
  readonly span: Span;
  readonly traceparent: string;
  readonly traceId: string;
  /** Bytes this request made the host fetch. */
  readonly fetched: TrafficBytes = noBytes();
  /** Bytes handed to the client. */
  delivered: TrafficBytes = noBytes();
  taskId: TaskId | undefined;
  httpStatus = 0;
  contentLengthBytes = 0;
  probeBytes = 0;
  isDegraded = false;
  readonly #beginning: DownloadBeginning;
  readonly #startedAtMs: number;
  readonly #services: RecordServices;
  #ttfbMs: number | undefined;
  #end:
    | { readonly outcome: DownloadOutcome; readonly error: string; readonly costMs: number }
    | undefined;
  #isSettled = false;
  #progressTimer: NodeJS.Timeout | undefined;
  #journaled = "0 ";

  constructor(beginning: DownloadBeginning, services: RecordServices) {
    this.#beginning = beginning;
    this.#services = services;
    this.#startedAtMs = Math.round(services.clock.now());
    this.span = beginning.tally === undefined ? spanOf(beginning) : NO_SPAN;
    this.traceparent = traceparentOf(this.span) ?? "";
    this.traceId = traceIdOf(this.span) ?? "";
    if (beginning.tally === undefined) {
      services.link.downloadBegan(this.#soFar());
      this.#progressTimer = setInterval(() => this.#journalProgress(), PROGRESS_JOURNALED_MS);
      this.#progressTimer.unref();
    }
  }

  get requestId(): RequestId {
    return this.#beginning.requestId;
  }

  /** The first body byte is on its way to the client. */
  firstByte(): void {
    this.#ttfbMs ??= this.#elapsedMs();
  }

  /** Notes how the delivery ended; the account stays open for bytes that are still being fetched, until {@link settle}. */
  close(outcome: DownloadOutcome, error = ""): void {
    this.#end ??= { outcome, error, costMs: this.#elapsedMs() };
  }

  /** Closes the account at once; only the first call counts. */
  end(outcome: DownloadOutcome, error = ""): void {
    this.close(outcome, error);
    this.settle();
  }

  /** The account is complete: journaled, published, logged. */
  settle(): void {
    if (this.#isSettled) return;
    this.#isSettled = true;
    clearInterval(this.#progressTimer);
    const fact = this.#soFar();
    const { outcome, error } = fact;
    if (this.#beginning.tally?.addFact(fact) === true) return;
    this.#services.link.downloadEnded(fact, this.traceparent);
    const traffic = trafficLabel(this.delivered);
    const { delivered } = this;
    runInSpan(this.span, () =>
      this.#services.log.info("peer task done", {
        costMs: fact.costMs,
        peer: this.#beginning.hostId,
        task: fact.taskId,
        trace: fact.traceId,
        traffic,
        outcome,
        status: fact.httpStatus,
        url: fact.url,
        deliveredBytes: delivered,
        fetchedBytes: this.fetched,
        ...(this.isDegraded ? { degraded: true } : {}),
        ...(error === "" ? {} : { error }),
      }),
    );
    endSpan(this.span, {
      attributes: {
        ...(this.taskId === undefined ? {} : { [ATTRIBUTE.taskId]: this.taskId }),
        [ATTRIBUTE.traffic]: traffic,
        [ATTRIBUTE.bytesLocalPeer]: delivered.localPeer,
        [ATTRIBUTE.bytesRemotePeer]: delivered.remotePeer,
        [ATTRIBUTE.bytesBackToSource]: delivered.backToSource,
        [ATTRIBUTE.degraded]: this.isDegraded,
        [ATTRIBUTE.outcome]: outcome,
        [ATTRIBUTE.costMs]: fact.costMs,
        [ATTRIBUTE.httpResponseStatusCode]: fact.httpStatus,
      },
      ...(outcome === "finished" || outcome === "client_gone" ? {} : { error: new Error(error) }),
    });
  }

  /** The journal keeps the newest: the next start of the host tells it, should this one not come to an end. */
  #journalProgress(): void {
    const bytes = sumOf(this.delivered) + sumOf(this.fetched) + this.probeBytes;
    const soFar = `${bytes} ${this.#end?.outcome ?? ""}`;
    if (soFar === this.#journaled) return;
    this.#journaled = soFar;
    this.#services.link.downloadBegan(this.#soFar());
  }

  /** The account as it stands, of a download that goes no further. */
  #soFar(): DownloadFinished {
    const { outcome, error } = this.#end ?? { outcome: "interrupted", error: "" };
    return this.#fact(outcome, error);
  }

  #elapsedMs(): number {
    return Math.max(0, Math.round(this.#services.clock.monotonic() - this.#beginning.receivedAtMs));
  }

  #fact(outcome: DownloadOutcome, error: string): DownloadFinished {
    const { requestId, url, method, tag, application, priority, range } = this.#beginning;
    return {
      downloadId: requestId,
      taskId: this.taskId ?? "",
      url,
      method,
      tag,
      application,
      priority,
      startedAtMs: this.#startedAtMs,
      ttfbMs: this.#ttfbMs ?? 0,
      costMs: this.#end?.costMs ?? this.#elapsedMs(),
      outcome,
      httpStatus: this.httpStatus,
      fetched: { ...this.fetched },
      delivered: { ...this.delivered },
      probeBytes: this.probeBytes,
      contentLengthBytes: this.contentLengthBytes,
      range: range.slice(0, RANGE_LENGTH_MAX),
      degraded: this.isDegraded,
      traceId: this.traceId,
      error: error.slice(0, ERROR_LENGTH_MAX),
      requestCount: 1,
    };
  }
}

function spanOf(beginning: DownloadBeginning): Span {
  return startSpan(SPAN.download, {
    parent: contextFromTraceparent(beginning.traceparent),
    side: "server",
    attributes: {
      [ATTRIBUTE.hostId]: beginning.hostId,
      [ATTRIBUTE.requestId]: beginning.requestId,
      [ATTRIBUTE.url]: beginning.url,
      [ATTRIBUTE.httpRequestMethod]: beginning.method,
    },
  });
}

function sumOf({ localPeer, remotePeer, backToSource }: TrafficBytes): number {
  return localPeer + remotePeer + backToSource;
}

/** Where most of the bytes came from. */
function trafficLabel(delivered: TrafficBytes): "local_peer" | "remote_peer" | "back_to_source" {
  if (delivered.backToSource > 0 && delivered.backToSource >= delivered.remotePeer)
    return "back_to_source";
  return delivered.remotePeer > delivered.localPeer ? "remote_peer" : "local_peer";
}
