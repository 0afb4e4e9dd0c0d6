import type { Lease } from "@lacewing/contracts/gen/lacewing/assignments/v1/assignments.ts";
import type { TaskRequested } from "@lacewing/contracts/gen/lacewing/events/v1/events.ts";
import type { TaskId } from "@lacewing/contracts/ids.ts";
import { indexesOf, pieceCountOf, piecesCovering } from "@lacewing/contracts/pieces.ts";
import type { Log } from "@lacewing/observability/log.ts";
import type { Clock } from "@lacewing/runtime/clock.ts";
import { missingPieces } from "../core/fetch-plan.ts";
import { AnswerWatch } from "./answer-watch.ts";
import { type EndedFetch, FetchBoard, type FetchOrder, trafficOf } from "./fetch-board.ts";
import type { FetchTracer } from "./fetch-tracer.ts";
import type { FetchEnd, FetchSource } from "./lease-fetch.ts";
import { KnownParents } from "./known-parents.ts";
import type { OriginAccess } from "./origin-access.ts";
import { OriginPatience } from "./origin-patience.ts";
import type { PieceClient, StoredTask } from "./ports.ts";
import { Progress } from "./progress.ts";
import type { SchedulerLink } from "./scheduler-link.ts";
import type { ReadableTask, TaskReader, Traffic, TrafficBytes } from "./task-reader.ts";

/** Of a failure's explanation, what is worth telling the scheduler. */
const DETAIL_LENGTH_MAX = 500;

/** One client request that a download serves. */
export interface AttachedRequest {
  readonly reader: TaskReader;
  readonly access: OriginAccess;
  /** As the scheduler is asked. */
  readonly asked: TaskRequested;
  /** Whether the scheduler was asked yet: content that is held here needs no scheduler. */
  isAsked: boolean;
  readonly traceparent: string;
  /** Bytes this request made the host fetch; counted here as they arrive. */
  readonly fetched: TrafficBytes;
  /** Called when the download goes on without the scheduler. */
  readonly onDegraded: () => void;
}

/** Services that every download shares. */
export interface DownloadServices {
  readonly link: SchedulerLink;
  readonly pieceClient: PieceClient;
  readonly clock: Clock;
  readonly log: Log;
  readonly tracer: FetchTracer;
  /** In [0, 1). */
  readonly random: () => number;
  /** Signs a token for reading a task of `pieceCount` pieces from a parent without a lease. */
  readonly selfToken: (parentHostId: string, taskId: string, pieceCount: number) => string;
  /** Gives up every byte of a task. */
  readonly forget: (taskId: TaskId) => void;
}

/** The content does not agree with its anchor. */
export class AnchorMismatch extends Error {
  override readonly name = "AnchorMismatch";
}

/**
 * Everything this host does to get one task: carries out leases, feeds the readers of all clients that want the task, goes
 * on by itself when the scheduler is silent, and checks the whole content at the end. One per task, for as long as
 * somebody reads or a lease runs.
 */
export class TaskDownload implements ReadableTask {
  readonly stored: StoredTask;
  readonly #services: DownloadServices;
  readonly #onIdle: () => void;
  readonly #unpin: () => void;
  readonly #progress = new Progress();
  readonly #board: FetchBoard;
  readonly #watch: AnswerWatch;
  readonly #requests = new Map<TaskReader, AttachedRequest>();
  readonly #knownParents = new KnownParents();
  readonly #originPatience: OriginPatience;
  #failure: Error | undefined;
  #unleasedFetches = 0;
  #isVerifying = false;
  #isClosed = false;

  constructor(stored: StoredTask, services: DownloadServices, onIdle: () => void) {
    this.stored = stored;
    this.#services = services;
    this.#onIdle = onIdle;
    this.#unpin = stored.pin();
    this.#originPatience = new OriginPatience(services.clock, services.random);
    this.#board = new FetchBoard(stored, services, {
      received: (order, bytes) => this.#received(order, bytes),
      held: (pieceIndex, order) => this.#pieceHeld(pieceIndex, order),
      progressed: () => this.#progress.notify(),
    });
    this.#watch = new AnswerWatch({
      clock: services.clock,
      random: services.random,
      isResponsive: () => services.link.isResponsive,
      isWaiting: () => this.#failure === undefined && this.#unclaimedPieces().length > 0,
      askAgain: () => this.#askAgain(),
      goOnAlone: () => this.#goOnAlone(),
    });
  }

  get failure(): Error | undefined {
    return this.#failure;
  }

  /** Leases that this host works on. */
  get leaseIds(): Iterable<string> {
    return this.#board.leaseIds;
  }

  /** Requests of clients that are served here, as the scheduler knows them. */
  *liveRequests(): Generator<{ readonly request: TaskRequested; readonly traceparent: string }> {
    for (const { asked, isAsked, traceparent } of this.#requests.values()) {
      if (isAsked) yield { request: asked, traceparent };
    }
  }

  /** Takes a client on. `isSilent`: the scheduler was asked for it and did not answer. */
  attach(request: AttachedRequest, isSilent: boolean): void {
    this.#requests.set(request.reader, request);
    if (isSilent) this.#watch.expectNothing();
    else this.#watch.expectSoon();
    void this.#verifyWhenComplete();
  }

  detach(reader: TaskReader): void {
    const request = this.#requests.get(reader);
    if (request === undefined) return;
    this.#requests.delete(reader);
    request.access.dropOpen();
    if (request.isAsked) {
      this.#services.link.endRequest(this.stored.description.taskId, request.access.requestId);
    }
    this.#abortUnwanted();
    this.#closeWhenIdle();
  }

  /** The scheduler has nothing to give yet and promised its next word within `ms`. */
  promised(ms: number): void {
    this.#dropOpenAnswers();
    this.#watch.promised(ms);
  }

  /** Carries out a lease. */
  accept(lease: Lease): void {
    this.#watch.heard();
    if (this.#failure !== undefined || this.#board.has(lease.leaseId)) return;
    const pieces = lease.open ? this.#piecesOf(lease.requestId) : [...indexesOf(lease.pieces)];
    const source = this.#sourceOf(lease);
    if (source === undefined) {
      const detail = "no client with credentials waits here any more";
      const end: FetchEnd = {
        ok: false,
        bytes: 0,
        reason: "cancelled",
        detail,
        wrongPiece: undefined,
      };
      this.#reportFailure(lease.leaseId, lease.parentHostId, pieces, end, 0);
      return;
    }
    if (source.kind === "parent") this.#dropOpenAnswers();
    const traceparent =
      lease.traceparent === ""
        ? (this.#payer(lease.requestId)?.traceparent ?? "")
        : lease.traceparent;
    void this.#fetch({ leaseId: lease.leaseId, source, pieces, lease, traceparent });
  }

  revoke(leaseId: string, reason: string): void {
    this.#board.abort(
      new Error(`lease ended by the scheduler: ${reason}`),
      (order) => order.leaseId === leaseId,
    );
  }

  /** Ends every reader with `error`; nothing more is fetched. */
  fail(error: Error): void {
    this.#failure ??= error;
    this.#board.abort(error);
    this.#progress.notify();
    this.#closeWhenIdle();
  }

  // ------------------------------------------------------------------------------------------------- for readers

  readableEnd(offset: number): number {
    return this.#board.readableEnd(offset);
  }

  trafficOf(pieceIndex: number): Traffic | undefined {
    return this.#board.trafficOf(pieceIndex);
  }

  pieceLost(): void {
    this.#askAgain();
    this.#watch.expectSoon();
  }

  changed(signal: AbortSignal): Promise<void> {
    this.#watch.check();
    return this.#progress.wait(signal);
  }

  // ----------------------------------------------------------------------------------------------------- fetching

  #sourceOf(lease: Lease): FetchSource | undefined {
    if (lease.parentHostId === "") {
      const access = this.#payer(lease.requestId)?.access;
      return access === undefined ? undefined : { kind: "origin", access };
    }
    return this.#knownParents.sourceOf(lease);
  }

  async #fetch(order: FetchOrder): Promise<void> {
    const { taskId } = this.stored.description;
    const ended = await this.#board.run(order);
    if (ended === undefined) {
      // Another fetch has the pieces under way, or they are here: availability ends the lease.
      if (order.lease !== undefined) {
        this.#services.link.leaseEnded(taskId, { leaseId: order.leaseId, bytes: 0, durationMs: 0 });
      }
      return;
    }
    const { end, durationMs } = ended;
    if (!end.ok) {
      await this.#settleFailure(ended, end);
    }
    this.#board.remove(order.leaseId);
    if (order.lease !== undefined) {
      if (end.ok)
        this.#services.link.leaseEnded(taskId, {
          leaseId: order.leaseId,
          bytes: end.bytes,
          durationMs,
        });
      else
        this.#reportFailure(order.leaseId, order.lease.parentHostId, ended.pieces, end, durationMs);
    }
    this.#watch.expectSoon();
    this.#progress.notify();
    this.#closeWhenIdle();
  }

  #received(order: FetchOrder, bytes: number): void {
    const payer = this.#payer(order.lease?.requestId);
    if (payer !== undefined) payer.fetched[trafficOf(order.source)] += bytes;
    if (order.source.kind === "origin") this.#originPatience.succeeded();
  }

  #pieceHeld(pieceIndex: number, order: FetchOrder): void {
    this.#services.link.pieceHeld(
      this.stored.description.taskId,
      pieceIndex,
      order.source.kind === "origin",
    );
    this.#progress.notify();
    void this.#verifyWhenComplete();
  }

  /** A failed origin is asked again, later each time and not for ever; a failed parent not without a new lease. */
  async #settleFailure(
    { order }: EndedFetch,
    end: FetchEnd & { readonly ok: false },
  ): Promise<void> {
    if (end.reason === "cancelled") return;
    const isOrigin = order.source.kind === "origin";
    const parent = order.source.kind === "parent" ? order.source.hostId : "origin";
    const { taskId: task, anchor } = this.stored.description;
    const { reason, detail } = end;
    this.#services.log.warn("fetch failed", { task, lease: order.leaseId, parent, reason, detail });
    if (!isOrigin) {
      this.#knownParents.forget(parent);
      return;
    }
    if (reason === "origin_changed" && anchor === undefined) {
      this.fail(new Error(`the content changed at the origin: ${detail}`));
      return;
    }
    if (!(await this.#originPatience.failed(end.bytes))) {
      const { failureCount } = this.#originPatience;
      this.fail(new Error(`the origin failed ${failureCount} times in a row: ${detail}`));
    }
  }

  #reportFailure(
    leaseId: string,
    parentHostId: string,
    pieces: readonly number[],
    end: FetchEnd & { readonly ok: false },
    durationMs: number,
  ): void {
    const { taskId } = this.stored.description;
    const missing = pieces.filter((index) => !this.stored.held.has(index));
    const pieceIndexes = end.wrongPiece === undefined ? missing : [end.wrongPiece];
    const detail = end.detail.slice(0, DETAIL_LENGTH_MAX);
    const { bytes, reason } = end;
    this.#services.link.piecesFailed(
      { taskId, leaseId, parentHostId, pieceIndexes, reason, detail, bytes, durationMs },
      "",
    );
  }

  // ------------------------------------------------------------------------------------------- without a scheduler

  /** Pieces that readers still need and nobody fetches, ascending. */
  #unclaimedPieces(): number[] {
    const wanted = new Set<number>();
    for (const { remaining } of this.#requests.keys()) {
      for (const index of missingPieces(this.stored.layout, this.stored.held, remaining)) {
        if (!this.#board.isClaimed(index)) wanted.add(index);
      }
    }
    return [...wanted].toSorted((a, b) => a - b);
  }

  #askAgain(): void {
    for (const request of this.#requests.values()) {
      request.isAsked = true;
      this.#services.link.request(request.asked, request.traceparent);
    }
  }

  /** The scheduler is silent: hosts that served the task before come first, then the origin, in the readers' order. */
  #goOnAlone(): void {
    this.#services.link.concludeSilence();
    const request = [...this.#requests.values()][0];
    const pieces = this.#unclaimedPieces();
    if (request === undefined || pieces.length === 0) return;
    for (const { onDegraded } of this.#requests.values()) onDegraded();
    const leaseId = `unleased-${++this.#unleasedFetches}`;
    const { traceparent } = request;
    const { taskId } = this.stored.description;
    const pieceCount = pieceCountOf(this.stored.layout);
    const holder = this.#knownParents.holderOf(pieces, (hostId) =>
      this.#services.selfToken(hostId, taskId, pieceCount),
    );
    if (holder !== undefined) {
      void this.#fetch({ leaseId, ...holder, lease: undefined, traceparent });
      return;
    }
    this.#services.log.info("scheduler silent, reading the origin", {
      task: taskId,
      pieceCount: pieces.length,
    });
    const source: FetchSource = { kind: "origin", access: request.access };
    void this.#fetch({ leaseId, source, pieces, lease: undefined, traceparent });
  }

  // ------------------------------------------------------------------------------------------------------ the end

  /** Hashes the whole content once it is complete, and gives it up when it is not what its anchor says. */
  async #verifyWhenComplete(): Promise<void> {
    const { stored } = this;
    if (
      !stored.held.isFull ||
      stored.isVerified ||
      this.#isVerifying ||
      this.#failure !== undefined
    )
      return;
    this.#isVerifying = true;
    const { taskId, anchor } = stored.description;
    try {
      const digest = await stored.contentDigest();
      if (anchor === undefined || digest === anchor) {
        await stored.markVerified();
        this.#services.link.taskVerified(stored, digest);
      } else {
        this.#services.log.error("content does not agree with its anchor", {
          task: taskId,
          anchor,
          digest,
        });
        this.#services.link.taskPoisoned(taskId, anchor, digest);
        this.#services.forget(taskId);
        this.fail(new AnchorMismatch(`the content has digest ${digest}, its anchor is ${anchor}`));
      }
    } catch (error) {
      this.fail(error instanceof Error ? error : new Error(String(error)));
    } finally {
      this.#isVerifying = false;
      this.#progress.notify();
      this.#closeWhenIdle();
    }
  }

  /** The request that a lease serves; any other when that one is over. */
  #payer(requestId: string | undefined): AttachedRequest | undefined {
    const requests = [...this.#requests.values()];
    return requests.find(({ access }) => access.requestId === requestId) ?? requests[0];
  }

  /** Every piece that a request wants. */
  #piecesOf(requestId: string): number[] {
    const span = this.#payer(requestId)?.reader.span ?? {
      start: 0,
      end: this.stored.layout.lengthBytes,
    };
    const { start, end } = piecesCovering(this.stored.layout, span);
    return Array.from({ length: end - start }, (_, at) => start + at);
  }

  #dropOpenAnswers(): void {
    for (const { access } of this.#requests.values()) access.dropOpen();
  }

  /** The fetch ends with the last client that wants it; what a seed host was given for itself goes on. */
  #abortUnwanted(): void {
    if (this.#requests.size > 0) return;
    const isForClients = (order: FetchOrder): boolean =>
      order.lease === undefined || order.lease.requestId !== "";
    this.#board.abort(new Error("no client waits for it any more"), isForClients);
  }

  #closeWhenIdle(): void {
    if (this.#isClosed || this.#requests.size > 0 || !this.#board.isIdle || this.#isVerifying)
      return;
    this.#isClosed = true;
    this.#watch.stop();
    this.#unpin();
    this.#onIdle();
  }
}
