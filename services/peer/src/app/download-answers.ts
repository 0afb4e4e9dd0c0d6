import type { TaskRequested } from "@lacewing/contracts/gen/lacewing/events/v1/events.ts";
import type { TaskId } from "@lacewing/contracts/ids.ts";
import type { ByteSpan } from "@lacewing/contracts/pieces.ts";
import { isCovered, withheldFrom } from "../core/fetch-plan.ts";
import { headerOf, withoutHeaders } from "../core/http-headers.ts";
import {
  planResponse,
  type Representation,
  type ResponsePlan,
  wantedSpan,
} from "../core/ranges.ts";
import { originBody, plannedBody } from "./answer-bodies.ts";
import type { DownloadRecord } from "./download-record.ts";
import { type DownloadTarget, isBound } from "./download-target.ts";
import type { OriginAccess } from "./origin-access.ts";
import { OriginRest } from "./origin-rest.ts";
import type {
  ClientRequest,
  DeliveryEnd,
  DownloadAnswer,
  HeaderList,
  OriginClient,
  OriginResponse,
  StoredTask,
  TaskDescription,
} from "./ports.ts";
import type { DownloadServices, SharedServices } from "./download-services.ts";
import { AnchorMismatch } from "./download-errors.ts";
import { TaskReader, type ReaderRest, type TrafficBytes } from "./task-reader.ts";
import type { FirstAnswer } from "./opening.ts";
import type { TaskRegistry } from "./task-registry.ts";
import { WithheldRest } from "./withheld-rest.ts";

/** Written by `planResponse` from the content, or meaningless between us and the client. */
const REPLACED_HEADERS: ReadonlySet<string> = new Set([
  "content-length",
  "content-range",
  "content-type",
  // Digests of the body of that one answer, which may have been a single byte (RFC 9530 section 2).
  "content-digest",
  "content-md5",
  "accept-ranges",
  "etag",
  "last-modified",
  "transfer-encoding",
  "connection",
  "keep-alive",
  "date",
]);

/** A content that is stored, or would be. */
type DescribedContent = Pick<StoredTask, "description" | "isVerified">;

/** What is told of a content. @param originHeaders of the origin's answer to this very client. */
export function representationOf(
  stored: DescribedContent,
  originHeaders: HeaderList,
): Representation {
  const { lengthBytes, etag, lastModified, contentType, taskId } = stored.description;
  const extraHeaders: HeaderList = [
    ...withoutHeaders(originHeaders, REPLACED_HEADERS),
    ["lacewing-task", taskId],
    // Ranges of a task that was not hashed as a whole yet are verified piece by piece only.
    ["lacewing-verified", stored.isVerified ? "content" : "pieces"],
  ];
  return { lengthBytes, etag, lastModified, contentType, extraHeaders };
}

/** One request on its way through the download service. */
export interface Flow {
  readonly request: ClientRequest;
  readonly target: DownloadTarget;
  readonly record: DownloadRecord;
  readonly access: OriginAccess;
  /** The origin was asked ahead of the client: whether the content arrives. */
  readonly arrives: Promise<boolean> | undefined;
}

/** An answer together with the account that is kept of it. */
export interface AccountedAnswer extends DownloadAnswer {
  /** Empty: the content does not become a task. */
  readonly taskId: TaskId | "";
  readonly traceId: string;
  /** Handed to the client so far. */
  delivered(): Readonly<TrafficBytes>;
}

/** Turns what was found out about a request into the answer its client gets. */
export class DownloadAnswers {
  readonly #options: {
    readonly origin: OriginClient;
    readonly registry: TaskRegistry;
    readonly services: SharedServices;
  };

  constructor(options: {
    readonly origin: OriginClient;
    readonly registry: TaskRegistry;
    readonly services: SharedServices;
  }) {
    this.#options = options;
  }

  plan(flow: Flow, stored: DescribedContent, originHeaders: HeaderList): ResponsePlan {
    return planResponse({
      method: flow.request.method,
      requestHeaders: flow.request.headers,
      representation: representationOf(stored, originHeaders),
      boundary: flow.record.requestId.replaceAll("-", ""),
    });
  }

  /** Attaches the client to the task's download and answers from it. */
  deliver(
    flow: Flow,
    stored: StoredTask,
    originHeaders: HeaderList,
    how: { readonly first: FirstAnswer | undefined; readonly asked?: TaskRequested },
  ): DownloadAnswer {
    const { record, request } = flow;
    const plan = this.plan(flow, stored, originHeaders);
    const { taskId, lengthBytes, anchor } = stored.description;
    record.taskId = taskId;
    record.contentLengthBytes = lengthBytes;
    const wanted = wantedSpan(plan);
    if (wanted === undefined) {
      this.#options.registry.giveBack(stored);
      return this.withoutContent(flow, stored.description, plan, how.asked);
    }
    // A range may be the whole as well (`bytes=0-`).
    const isWhole = plan.parts.length === 1 && wanted.end - wanted.start === lengthBytes;
    const { registry, services } = this.#options;
    const asked: TaskRequested = {
      ...(how.asked ?? requestOf(flow, taskId, wanted, false)),
      wantedStart: wanted.start,
      wantedEnd: wanted.end,
    };
    if (how.first === "silence") record.isDegraded = true;
    const download = registry.downloadOf(stored);
    // An origin that rests has just answered this client: that is news.
    const isNews = how.first === "origin_rests";
    if (how.first === "read_origin" || how.first === "silence" || isNews)
      download.describe(record.traceparent, flow.access.hasRanges, asked);
    // It was asked for as a whole, before its length was known.
    else if (how.first !== undefined && !isWhole && how.asked?.wantedEnd === 0)
      services.link.request([{ request: asked, traceparent: record.traceparent }]);
    const withheld = isWhole && anchor !== undefined ? withheldFrom(lengthBytes) : undefined;
    const reader = new TaskReader({
      spans: plan.parts.map(({ span }) => span),
      task: download,
      withheldFrom: withheld,
      signal: request.signal,
      heldBefore: registry.heldBefore(asked.requestId),
      rest: restOf(flow, stored, withheld, services),
    });
    record.delivered = reader.delivered;
    const attached = {
      reader,
      access: flow.access,
      asked,
      isAsked: how.first !== undefined,
      keepOnAbort: flow.target.rule.keepOnAbort,
      prefetch: flow.target.rule.prefetch && !isWhole,
      traceparent: record.traceparent,
      fetched: record.fetched,
      onDegraded: () => {
        record.isDegraded = true;
      },
      onSettled: () => record.settle(),
    };
    registry.attach(stored, attached, how.first === "silence");
    return {
      status: plan.status,
      headers: plan.headers,
      body: plannedBody(plan, reader, record),
      bodyLength: plan.bodyLength,
      ended: (end) => {
        record.close(outcomeOf(end, download.failure), download.failure?.message ?? "");
        reader.detach(end === "complete");
      },
    };
  }

  /** 304, 412 or 416: nobody has to fetch anything for it, or to make room. */
  withoutContent(
    flow: Flow,
    { taskId, lengthBytes }: TaskDescription,
    plan: ResponsePlan,
    asked?: TaskRequested,
  ): DownloadAnswer {
    const { record, access } = flow;
    record.taskId = taskId;
    record.contentLengthBytes = lengthBytes;
    access.dropOpen();
    if (asked !== undefined)
      this.#options.registry.abandon(taskId, asked.requestId, "nothing of the content is wanted");
    return {
      status: plan.status,
      headers: plan.headers,
      body: undefined,
      bodyLength: plan.bodyLength,
      ended: (end) => record.end(outcomeOf(end, undefined)),
    };
  }

  /** The origin's answer as it is: an error, or content that cannot be shared and was asked for whole. */
  passOn(flow: Flow, response: OriginResponse, reason: string): DownloadAnswer {
    const { record } = flow;
    const { services } = this.#options;
    const isContent = response.status < 400;
    record.httpStatus = response.status;
    record.contentLengthBytes = response.bodyLength ?? 0;
    return {
      status: response.status,
      headers: response.headers,
      body: originBody(response, record, { isContent, pace: services.paces?.backToSource }),
      bodyLength: response.bodyLength,
      ended: (end) => {
        response.discard();
        if (!isContent) record.end("origin_error", `${reason}: ${response.status}`);
        else
          record.end(outcomeOf(end, undefined), end === "broken_off" ? "the origin broke off" : "");
      },
    };
  }

  /**
   * Content that does not become a task: streamed, with the client's own ranges and conditions left to the origin.
   *
   * @param opened the origin's opening answer, when it was asked already.
   */
  async passThrough(
    flow: Flow,
    opened: OriginResponse | undefined,
    reason: string,
  ): Promise<DownloadAnswer> {
    const { request, target } = flow;
    this.#options.services.log.info("passed through", { url: target.shownUrl, reason });
    const isOwnAnswer =
      opened?.status === 200 && target.openingHeaders.length === request.headers.length;
    if (isOwnAnswer) return this.passOn(flow, opened, reason);
    opened?.discard();
    const { url, path, rule } = target;
    const response = await this.#options.origin.open(
      {
        method: "GET",
        url,
        path,
        headers: request.headers,
        range: undefined,
        clientRange: headerOf(request.headers, "range"),
        ifRange: headerOf(request.headers, "if-range"),
        isAsItCame: isBound(request),
        client: request.client,
        useTls: rule.useTls,
      },
      request.signal,
    );
    return this.passOn(flow, response, reason);
  }
}

/** A request for bytes of a task, as the scheduler is told of it; without `wanted` for all of it. */
export function requestOf(
  flow: Flow,
  taskId: TaskId,
  wanted: ByteSpan | undefined,
  originOpen: boolean,
): TaskRequested {
  const { target, record } = flow;
  return {
    taskId,
    requestId: record.requestId,
    url: target.shownUrl,
    sharingDomain: target.sharingDomain,
    anchor: target.anchor ?? "",
    tag: target.rule.tag,
    application: target.rule.application,
    priority: target.rule.priority,
    wantedStart: wanted?.start ?? 0,
    wantedEnd: wanted?.end ?? 0,
    canReadOrigin: true,
    originOpen,
  };
}

/** Past a store that fails, the client's own credentials bring what is missing. */
function restOf(
  { access, record, request }: Flow,
  stored: StoredTask,
  from: number | undefined,
  { log, poisoned }: Pick<DownloadServices, "log" | "poisoned">,
): ReaderRest {
  const received = (bytes: number): void => {
    record.fetched.backToSource += bytes;
  };
  const { description } = stored;
  const rest = new OriginRest({ access, description, signal: request.signal, received });
  if (from === undefined) return rest;
  const mismatched = (why: string): void => {
    const { taskId: task } = description;
    log.error("a client was sent what does not agree with the anchor", { task, why });
    // Whoever resumes what was broken off would take a wrong file for a whole one.
    poisoned.note(description.taskId);
  };
  return new WithheldRest(rest, { stored, withheldFrom: from, mismatched });
}

function outcomeOf(
  end: DeliveryEnd,
  failure: Error | undefined,
): "finished" | "client_gone" | "anchor_mismatch" | "failed" {
  if (end === "complete") return "finished";
  if (end === "client_gone") return "client_gone";
  return failure instanceof AnchorMismatch ? "anchor_mismatch" : "failed";
}

/** Whether everything that a plan sends of the content is held. */
export function isPlanHeld(plan: ResponsePlan, { layout, held }: StoredTask): boolean {
  return plan.parts.every(({ span }) => isCovered(layout, held, span));
}
