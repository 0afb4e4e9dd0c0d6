import { type Sha256Hex, type TaskId } from "@lacewing/contracts/ids.ts";
import { messageOf } from "@lacewing/runtime/errors.ts";
import { showsConnectionCredentials } from "../core/connection-auth.ts";
import { headerOf } from "../core/http-headers.ts";
import { strongValidatorOf } from "../core/identity.ts";
import { wantedSpan } from "../core/ranges.ts";
import type { Rule } from "../core/rules.ts";
import { AccessCache } from "./access-cache.ts";
import { ContentRoom } from "./content-room.ts";
import {
  type AccountedAnswer,
  DownloadAnswers,
  type Flow,
  isPlanHeld,
  requestOf,
} from "./download-answers.ts";
import { failureOutcome } from "./download-errors.ts";
import { firstWordOn } from "./first-word.ts";
import { answerHead } from "./head-answer.ts";
import { DownloadRecord } from "./download-record.ts";
import {
  describe,
  type DownloadTarget,
  isBound,
  mayServeUnasked,
  meansOf,
  targetOf,
  wantsWhole,
  whyNotKept,
} from "./download-target.ts";
import { ForetoldDownloads } from "./foretold-downloads.ts";
import { HeldAnswers } from "./held-answers.ts";
import type { HitTally } from "./hit-tally.ts";
import { openOrOthers } from "./open-or-others.ts";
import { OpeningRequests } from "./opening-request.ts";
import { OriginAccess, retryAfterOf } from "./origin-access.ts";
import type {
  ClientRequest,
  DownloadAnswer,
  ForetoldContent,
  OriginClient,
  OriginResponse,
  PieceStore,
  RoomWish,
  StoredTask,
  TaskDescription,
} from "./ports.ts";
import { KnownUrls } from "./known-urls.ts";
import { refusePartOfPoisoned } from "./poisoned-tasks.ts";
import { newRequestId } from "./request-id.ts";
import type { SharedServices } from "./download-services.ts";
import type { TaskRegistry } from "./task-registry.ts";

export interface DownloadServiceOptions {
  readonly store: PieceStore;
  readonly origin: OriginClient;
  readonly registry: TaskRegistry;
  readonly services: SharedServices;
  readonly hostId: string;
  readonly sha256: Sha256Hex;
  readonly tally: HitTally;
  /** Whether this process has no time left for what can wait. */
  readonly isBusy: () => boolean;
  /** A new unique id, 1–64 letters, digits, `-`. */
  readonly newId: () => string;
}

/**
 * Answers clients' requests for content that a rule wants: from the disk when it is held, from peers when others hold it,
 * from the origin otherwise. One request to the origin with the client's own credentials is access check, description
 * and identity at once.
 */
export class DownloadService {
  readonly #options: DownloadServiceOptions;
  readonly #answers: DownloadAnswers;
  readonly #accessCache: AccessCache;
  readonly #foretold: ForetoldDownloads;
  readonly #held: HeldAnswers;
  readonly #knownUrls: KnownUrls;
  readonly #openings: OpeningRequests;
  readonly #room: ContentRoom;

  constructor(options: DownloadServiceOptions) {
    this.#options = options;
    this.#answers = new DownloadAnswers(options);
    this.#knownUrls = new KnownUrls(options.sha256);
    const { clock, poisoned } = options.services;
    this.#accessCache = new AccessCache(clock);
    this.#held = new HeldAnswers({ ...options, poisoned, clock });
    this.#openings = new OpeningRequests(clock);
    this.#room = new ContentRoom(clock);
    const [access, openings] = [this.#accessCache, this.#openings];
    this.#foretold = new ForetoldDownloads({ ...options, access, openings, poisoned, clock });
  }

  /** @throws {PortError} when the origin cannot be asked and must be; the client has not been answered then. */
  async answer(request: ClientRequest, rule: Rule): Promise<DownloadAnswer> {
    const target = this.#targetOf(request, rule);
    if (request.method === "HEAD")
      return answerHead(
        this.#options,
        request,
        target,
        this.#accessCache.isGranted(target.accessKey),
      );
    return this.#answerGet(request, target);
  }

  /** Like {@link answer} for GET, with the account of the download. */
  async download(request: ClientRequest, rule: Rule): Promise<AccountedAnswer> {
    return this.#answerGet(request, this.#targetOf(request, rule));
  }

  foretell(contents: readonly ForetoldContent[], traceparent: string): void {
    this.#foretold.foretell(contents, traceparent);
  }

  #targetOf(request: ClientRequest, rule: Rule): DownloadTarget {
    const foretold = this.#foretold.targetAt(request, rule);
    return targetOf(request, rule, this.#options.sha256, foretold);
  }

  async #answerGet(request: ClientRequest, target: DownloadTarget): Promise<AccountedAnswer> {
    const flow = this.#begin(request, target);
    try {
      refusePartOfPoisoned(flow, this.#options.services.poisoned);
      const answer = (await this.#answerHeld(flow)) ?? (await this.#answerOpened(flow));
      const { record } = flow;
      record.httpStatus = answer.status;
      return {
        ...answer,
        taskId: record.taskId ?? "",
        traceId: record.traceId,
        delivered: () => record.delivered,
      };
    } catch (error) {
      flow.access.dropOpen();
      flow.record.end(failureOutcome(error, request.signal), messageOf(error));
      throw error;
    } finally {
      // Only a foretold request can be waiting still: for an answer without content, or one that failed.
      const taskId = target.anchoredTaskId;
      if (taskId !== undefined) {
        this.#options.registry.abandon(taskId, flow.record.requestId, "no content is wanted");
      }
    }
  }

  #begin(request: ClientRequest, target: DownloadTarget): Flow {
    const { services, hostId, origin } = this.#options;
    const taskId = target.anchoredTaskId;
    const prepared =
      taskId === undefined ? undefined : this.#foretold.claim(taskId, request.signal);
    const foretold = prepared?.client;
    const requestId = foretold?.requestId ?? newRequestId(this.#options.newId);
    const { tag, application, priority } = target.rule;
    const isTallied = foretold === undefined && this.#mayRead(target);
    const record = new DownloadRecord(
      {
        requestId,
        url: target.shownUrl,
        method: request.method,
        tag,
        application,
        priority,
        range: headerOf(request.headers, "range") ?? "",
        receivedAtMs: request.receivedAtMs,
        traceparent: headerOf(request.headers, "traceparent") ?? foretold?.traceparent ?? "",
        hostId,
        tally: isTallied ? this.#held.tallyOf(request, target) : undefined,
      },
      services,
    );
    const access = new OriginAccess({
      requestId,
      origin,
      client: request.client,
      ...meansOf(target),
    });
    return { request, target, record, access, arrives: prepared?.arrives };
  }

  // ---------------------------------------------------------------------------------------------- held on this host

  /** From the disk, when all that the client wants is there and the origin lets this client have it. */
  async #answerHeld(flow: Flow): Promise<DownloadAnswer | undefined> {
    const { target } = flow;
    const taskId = target.anchoredTaskId ?? this.#knownUrls.get(target.canonicalUrl);
    const stored = taskId === undefined ? undefined : this.#options.store.get(taskId);
    if (stored === undefined || showsConnectionCredentials(flow.request.headers)) return undefined;
    const plan = this.#answers.plan(flow, stored, []);
    // A part cannot be checked: where hosts have different contents only its own origin's word will do for a client.
    if (!isPlanHeld(plan, stored) || this.#options.registry.isApart(stored)) return undefined;
    if (target.anchor !== undefined && this.#mayRead(target)) {
      const answer = this.#answers.deliver(flow, stored, [], { first: undefined });
      return this.#held.repeatable(flow, stored, answer);
    }
    if (isBound(flow.request)) return undefined;
    // Nothing may evict what is about to be served while the origin is asked.
    const unpin = stored.pin();
    try {
      return await this.#answerProbed(flow, stored);
    } finally {
      unpin();
    }
  }

  /** Whether this client may have anchored content without the origin being asked again. */
  #mayRead({ rule, accessKey }: DownloadTarget): boolean {
    return rule.access === "public" || this.#accessCache.isGranted(accessKey);
  }

  async #answerProbed(flow: Flow, stored: StoredTask): Promise<DownloadAnswer | undefined> {
    const { target, request } = flow;
    const { store, services, sha256 } = this.#options;
    const { taskId, lengthBytes } = stored.description;
    let probe: OriginResponse;
    try {
      probe = await this.#open(flow, true);
    } catch (error) {
      if (!mayServeUnasked(target, request, error)) throw error;
      if (store.get(taskId) !== stored) throw error;
      services.log.warn("origin down, serving held content", { task: taskId });
      return this.#answers.deliver(flow, stored, [], { first: undefined });
    }
    const described = describe(target, probe, services.clock.now(), sha256);
    const isSame =
      described.kind === "task" &&
      described.description.taskId === taskId &&
      described.description.lengthBytes === lengthBytes;
    if (isSame) {
      probe.discard();
      this.#accessCache.grant(target.accessKey, target.rule.accessTtlMs);
      if (store.get(taskId) !== stored) return undefined;
      flow.access.noteValidator(strongValidatorOf(probe.headers));
      return this.#answers.deliver(flow, stored, probe.headers, { first: undefined });
    }
    if (probe.status !== 200 && probe.status !== 206 && probe.status !== 416)
      return this.#answers.passOn(flow, probe, "origin refused");
    probe.discard();
    return undefined;
  }

  // ------------------------------------------------------------------------------------------ not (all) held here

  async #answerOpened(flow: Flow): Promise<DownloadAnswer> {
    const why = whyNotKept(flow.request);
    if (why !== undefined) return this.#answers.passThrough(flow, undefined, why);
    const anchored = flow.target.anchoredTaskId;
    return anchored === undefined ? this.#openThenAsk(flow) : this.#askThenOpen(flow, anchored);
  }

  /** The URL names the content: the scheduler says first who has it, and the opening request takes its form from that. */
  async #askThenOpen(flow: Flow, taskId: TaskId): Promise<DownloadAnswer> {
    const asked = requestOf(flow, taskId, undefined, false);
    const first = await firstWordOn(this.#options.registry, flow, asked);
    // No turn is lost where nothing was opened ahead: who probes what this client opens must not get ahead of it.
    const isOpened = flow.arrives !== undefined && (await flow.arrives);
    // What comes from others, or was opened ahead, needs no word of the origin when that was given.
    const isComing = first === "from_others" || isOpened;
    if (isComing && this.#mayRead(flow.target)) {
      const arriving = await this.#options.registry.arriving(asked, taskId, (described) =>
        this.#wishFor(flow, described),
      );
      if (arriving !== undefined)
        return this.#answers.deliver(flow, arriving, [], { first: "from_others", asked });
    }
    let isAttached = false;
    let retryAfterMs = 0;
    try {
      const holdsNothing = (this.#options.store.get(taskId)?.held.count ?? 0) === 0;
      const isWhole = first !== "from_others" && holdsNothing && wantsWhole(flow.request);
      const { registry, services } = this.#options;
      const response = await openOrOthers(
        () => this.#open(flow, !isWhole),
        { registry, link: services.link },
        {
          asked,
          taskId,
          mayTakeOthers: () => first === "from_others" && this.#mayRead(flow.target),
          signal: flow.request.signal,
        },
      );
      isAttached = "layout" in response;
      if ("layout" in response) return this.#answers.deliver(flow, response, [], { first, asked });
      retryAfterMs = retryAfterOf(response);
      return await this.#answerFrom(
        flow,
        response,
        async (stored) => {
          isAttached = true;
          return this.#answers.deliver(flow, stored, response.headers, { first, asked });
        },
        taskId,
      );
    } finally {
      if (!isAttached)
        this.#options.registry.abandon(
          taskId,
          asked.requestId,
          "the opening request brought no content",
          retryAfterMs,
        );
    }
  }

  /** Only the origin's answer says which content it is. */
  async #openThenAsk(flow: Flow): Promise<DownloadAnswer> {
    const isKnown = this.#knownUrls.has(flow.target.canonicalUrl);
    const isWhole = !isKnown && wantsWhole(flow.request);
    const response = await this.#open(flow, !isWhole);
    return this.#answerFrom(flow, response, async (stored) => {
      const { taskId } = stored.description;
      this.#knownUrls.remember(flow.target.canonicalUrl, taskId);
      const plan = this.#answers.plan(flow, stored, []);
      const wanted = wantedSpan(plan);
      if (isPlanHeld(plan, stored)) {
        flow.access.dropOpen();
        return this.#answers.deliver(flow, stored, response.headers, { first: undefined });
      }
      const asked = requestOf(flow, taskId, wanted, flow.access.hasOpenAnswer);
      const first = await firstWordOn(this.#options.registry, flow, asked);
      if (first === "from_others") flow.access.dropOpen();
      return this.#answers.deliver(flow, stored, response.headers, { first, asked });
    });
  }

  /** What the opening answer makes possible: a task, or the origin's answer handed on as it is. */
  async #answerFrom(
    flow: Flow,
    response: OriginResponse,
    answerTask: (stored: StoredTask) => Promise<DownloadAnswer>,
    expected?: TaskId,
  ): Promise<DownloadAnswer> {
    const { clock } = this.#options.services;
    // Empty content has no first byte to probe.
    if (response.status === 416) return this.#answers.passThrough(flow, response, "range_refused");
    if (response.status !== 200 && response.status !== 206)
      return this.#answers.passOn(flow, response, "origin refused");
    const described = describe(flow.target, response, clock.now(), this.#options.sha256);
    if (described.kind === "not_shareable")
      return this.#answers.passThrough(flow, response, described.reason);
    if (expected !== undefined && described.description.taskId !== expected) {
      return this.#answers.passThrough(flow, response, "identity_differs");
    }
    const { description } = described;
    const isVerified = this.#options.store.get(description.taskId)?.isVerified ?? false;
    const plan = this.#answers.plan(flow, { description, isVerified }, response.headers);
    if (wantedSpan(plan) === undefined) {
      response.discard();
      this.#accessCache.grant(flow.target.accessKey, flow.target.rule.accessTtlMs);
      return this.#answers.withoutContent(flow, description, plan);
    }
    // An origin without ranges sends all of it, whatever is asked for.
    const isSentWhole = response.status === 200;
    const wish = isSentWhole ? "make" : this.#wishFor(flow, description, plan);
    const stored = await this.#options.store.create(description, wish).catch((error: unknown) => {
      // Unread it would keep its connection.
      response.discard();
      throw error;
    });
    if (typeof stored === "string") return this.#answers.passThrough(flow, response, stored);
    // Nothing may evict it before its client is attached: the scheduler's answer may take a second.
    const unpin = stored.pin();
    try {
      flow.request.signal.throwIfAborted();
      flow.access.noteValidator(strongValidatorOf(response.headers));
      if (response.status === 200) flow.access.keepOpen({ response, start: 0 });
      else response.discard();
      this.#accessCache.grant(flow.target.accessKey, flow.target.rule.accessTtlMs);
      return await answerTask(stored);
    } finally {
      unpin();
      this.#options.registry.giveBack(stored);
    }
  }

  /** What may be given up so that what this client wants of a content can be kept. */
  #wishFor(
    flow: Flow,
    description: TaskDescription,
    { parts } = this.#answers.plan(flow, { description, isVerified: false }, []),
  ): RoomWish {
    return this.#room.wishFor(description, parts, flow.target.rule.prefetch);
  }

  /** The opening request; a probe's byte is counted apart. */
  async #open(flow: Flow, isProbe: boolean): Promise<OriginResponse> {
    const { access, target, record, request } = flow;
    const opening = { access, target, parent: record.span };
    const response = await this.#openings.send(opening, isProbe, request.signal);
    if (isProbe && response.status === 206) record.probeBytes += response.bodyLength ?? 0;
    return response;
  }
}
