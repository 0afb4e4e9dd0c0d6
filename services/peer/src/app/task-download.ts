import type {
  Lease,
  Pending,
} from "@lacewing/contracts/gen/lacewing/assignments/v1/assignments.ts";
import type { TaskRequested } from "@lacewing/contracts/gen/lacewing/events/v1/events.ts";
import { indexesOf, pieceCountOf } from "@lacewing/contracts/pieces.ts";
import { InvariantViolation } from "@lacewing/runtime/errors.ts";
import { leaseMisfit } from "../core/lease-fit.ts";
import { AnswerWatch } from "./answer-watch.ts";
import { type AttachedRequest, AttachedRequests } from "./attached-requests.ts";
import { ContentCheck } from "./content-check.ts";
import { NOBODY_WAITS } from "./download-errors.ts";
import type { DownloadServices } from "./download-services.ts";
import { ExpectedDigests } from "./expected-digests.ts";
import { FetchBoard } from "./fetch-board.ts";
import { type EndedFetch, type FetchOrder, isForClients, trafficOf } from "./fetch-order.ts";
import { notBegun } from "./failure-report.ts";
import { FetchFailures } from "./fetch-failures.ts";
import type { FetchSource } from "./lease-fetch.ts";
import { Heirs } from "./heirs.ts";
import { LeaseReports } from "./lease-reports.ts";
import { KnownParents } from "./known-parents.ts";
import { OriginPatience } from "./origin-patience.ts";
import { OwnWay } from "./own-way.ts";
import type { StoredTask } from "./ports.ts";
import { Progress } from "./progress.ts";
import type { ReadableTask, TaskReader, Traffic } from "./task-reader.ts";

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
  readonly #requests: AttachedRequests;
  readonly #expected: ExpectedDigests;
  readonly #knownParents: KnownParents;
  readonly #originPatience: OriginPatience;
  readonly #failures: FetchFailures;
  readonly #reports: LeaseReports;
  readonly #check: ContentCheck;
  readonly #heirs: Heirs;
  readonly #ownWay: OwnWay;
  #failure: Error | undefined;
  #unleasedFetches = 0;
  #isDescribed = false;
  #isClosed = false;

  constructor(stored: StoredTask, services: DownloadServices, onIdle: () => void) {
    this.stored = stored;
    this.#services = services;
    this.#onIdle = onIdle;
    this.#requests = new AttachedRequests(stored);
    this.#reports = new LeaseReports(stored, services.link);
    this.#heirs = new Heirs(this, this.#requests, services);
    this.#unpin = stored.pin();
    this.#expected = new ExpectedDigests(stored.held.size);
    this.#knownParents = new KnownParents(this.#expected);
    this.#originPatience = new OriginPatience(services.clock, services.random);
    this.#failures = new FetchFailures(
      {
        stored,
        requests: this.#requests,
        knownParents: this.#knownParents,
        originPatience: this.#originPatience,
        hasParents: () =>
          this.#board.some(({ source }) => source.kind === "parent") ||
          this.#knownParents.holderOf(
            this.#requests.missing(() => false),
            () => "",
          ) !== undefined,
        fail: (error) => this.fail(error),
      },
      services,
    );
    this.#board = new FetchBoard(stored, services, {
      received: (order, bytes) => this.#received(order, bytes),
      held: (pieceIndex, order) => this.#pieceHeld(pieceIndex, order),
      progressed: () => this.#progress.notify(),
      giveWay: () =>
        this.#requests.isBackground ? this.#services.background.giveWay() : undefined,
    });
    this.#check = new ContentCheck(stored, services, {
      // Found damaged while it was hashed: what was given up is fetched again.
      failed: (error) => (stored.held.isFull ? this.#break(error) : this.#askAgain()),
      mismatched: (error) => this.fail(error),
      ended: () => {
        this.#progress.notify();
        this.#settle();
      },
    });
    this.#watch = new AnswerWatch({
      clock: services.clock,
      random: services.random,
      isResponsive: () => services.link.isResponsive,
      heardCount: () => services.link.heardCount,
      isWaiting: () =>
        this.#failure === undefined &&
        !this.#originPatience.isResting &&
        this.#unclaimedPieces().length > 0,
      askAgain: () => this.#askAgain(),
      goOnAlone: () => this.#goOnAlone(),
      lookAgain: () => this.#progress.notify(),
      tellBlocked: (piece) => {
        if (!this.#isApart) services.link.readerBlocked(stored.description.taskId, piece);
      },
    });
    this.#ownWay = new OwnWay(stored, services, this.#requests, this.#watch);
  }

  get failure(): Error | undefined {
    return this.#failure;
  }

  /** Leases that this host works on. */
  get leaseIds(): Iterable<string> {
    return this.#board.leaseIds();
  }

  /** Requests of clients that are served here, as the scheduler knows them. */
  *liveRequests(): Generator<{ readonly request: TaskRequested; readonly traceparent: string }> {
    for (const { asked, isAsked, traceparent } of this.#requests) {
      if (isAsked) yield { request: asked, traceparent };
    }
  }

  /**
   * Tells the scheduler what the content is, and with it again what `asked` wants of it when that is known only now.
   *
   * @param hasRanges whether the origin answers ranges of it, so that other hosts may read a part
   */
  describe(traceparent: string, hasRanges: boolean, asked?: TaskRequested): void {
    if (this.#isApart) return;
    this.#isDescribed = true;
    this.#services.link.describe(this.stored, traceparent, hasRanges, asked);
  }

  /** Takes a client on. `isSilent`: the scheduler was asked for it and did not answer. */
  attach(request: AttachedRequest, isSilent: boolean): void {
    this.#requests.add(request);
    this.#board.keepGoing();
    if (this.#isApart) this.standApart();
    else if (isSilent) this.#watch.expectNothing();
    else this.#watch.joined();
    this.#checkWhenComplete();
  }

  /**
   * The fetch ends with the last client that wants it, unless its rule says otherwise; what a seed host was given for itself
   * goes on.
   */
  detach(reader: TaskReader, isComplete: boolean): void {
    if (this.#heirs.takeOver(reader, isComplete)) return this.#watch.joined();
    const request = this.#requests.remove(reader);
    if (request === undefined) return;
    this.#ownWay.endAsking(request);
    if (this.#requests.size === 0 && !this.#board.isIdle) {
      if (isComplete) this.#board.windDown(NOBODY_WAITS, isForClients);
      else this.#board.abort(NOBODY_WAITS, isForClients);
    }
    this.#settle();
  }

  /** The scheduler has nothing to give yet and promised its next word within `ms`. */
  promised({ nextByMs, lengthBytes }: Pick<Pending, "nextByMs" | "lengthBytes">): void {
    this.hearLength(lengthBytes);
    if (this.#isApart) return;
    this.#requests.dropOpenAnswers();
    this.#watch.promised(nextByMs);
  }

  /** The content of others is so long, 0: nobody knows. Another length makes it another content. */
  hearLength(lengthBytes: number): void {
    if (this.#ownWay.isOther(lengthBytes)) this.standApart();
  }

  /** What the scheduler dropped by this name was something else: it knows nothing of what is wanted here any more. */
  askAnew(): void {
    this.#isDescribed = false;
    this.#askAgain();
    this.#watch.expectSoon();
  }

  /** The scheduler said what pieces must have. */
  learn(digests: Iterable<readonly [number, Uint8Array]>): void {
    this.#expected.learn(digests);
  }

  /** Carries out a lease. */
  accept(lease: Lease): void {
    this.#watch.heard();
    const { leaseId } = lease;
    if (this.#board.has(leaseId)) return;
    if (this.#reports.repeat(leaseId)) return;
    const misfit = leaseMisfit(lease, this.stored.layout);
    if (misfit !== undefined) {
      this.#refuse(lease, misfit);
      return;
    }
    const pieces = lease.open
      ? this.#requests.piecesOf(lease.requestId)
      : [...indexesOf(lease.pieces)];
    const isOver = lease.requestId !== "" && this.#requests.size === 0;
    const source = isOver ? undefined : this.#sourceOf(lease);
    if (source === undefined || this.#failure) {
      const detail = this.#failure?.message ?? "no client waits here any more";
      this.#reports.fail(lease, pieces, notBegun("cancelled", detail));
      this.#settle();
      return;
    }
    const own = this.#requests.payer(lease.requestId)?.traceparent ?? "";
    const traceparent = lease.traceparent === "" ? own : lease.traceparent;
    if (source.kind === "parent") this.#preferParents();
    // Whoever reads the content of an open lease has to say what it is.
    if (lease.open && !this.#isDescribed)
      this.describe(traceparent, source.kind === "origin" && source.access.hasRanges);
    this.#start({ leaseId, source, pieces, lease, traceparent });
  }

  #refuse(lease: Lease, misfit: string): void {
    const isAnchored = this.stored.description.anchor !== undefined;
    if (isAnchored) this.#services.link.describe(this.stored, lease.traceparent, false);
    this.#reports.fail(lease, [], notBegun(isAnchored ? "cancelled" : "origin_changed", misfit));
    this.standApart();
    this.#settle();
  }

  /** Goes on from the origin, by itself, if anybody reads here: what others have, or want, by this name is something else. @returns whether. */
  standApart(): boolean {
    return this.#ownWay.take();
  }

  get #isApart(): boolean {
    return this.#services.apart.has(this.stored);
  }

  /** A read of the origin that brings pieces more slowly than leases live goes on: its pace is watched here. */
  revoke(leaseId: string, reason: string): void {
    this.#board.revoke(leaseId, reason);
  }

  /** Ends every reader with `error`; nothing more is fetched. */
  fail(error: Error): void {
    this.#failure ??= error;
    this.#board.abort(error);
    this.#progress.notify();
    this.#heirs.settle();
    this.#settle();
  }

  readableEnd(offset: number): number {
    return this.#board.readableEnd(offset);
  }

  trafficOf(pieceIndex: number): Traffic | undefined {
    return this.#board.trafficOf(pieceIndex);
  }

  get hasRewritten(): boolean {
    return this.#board.hasRewritten;
  }

  pieceLost(pieceIndex: number): void {
    for (const { reader } of this.#requests) reader.forgetHeld(pieceIndex);
    this.#askAgain();
    this.#watch.expectSoon();
  }

  changed(pieceIndex: number, signal: AbortSignal): Promise<void> {
    if (this.#board.isClaimed(pieceIndex)) this.#board.hurry(pieceIndex);
    else if (!this.stored.held.has(pieceIndex)) this.#watch.lacks(pieceIndex);
    return this.#services.background.clientWaits(this.#progress.wait(signal));
  }

  #sourceOf(lease: Lease): FetchSource | undefined {
    if (lease.parentHostId === "") {
      const own = this.#requests.payer(lease.requestId)?.access;
      const isRefused = own !== undefined && this.#originPatience.isRefused(own);
      const access = isRefused ? (this.#admittedRequest()?.access ?? own) : own;
      return access === undefined ? undefined : { kind: "origin", access };
    }
    return this.#knownParents.sourceOf(lease);
  }

  #admittedRequest(): AttachedRequest | undefined {
    const patience = this.#originPatience;
    return this.#requests.at(patience.failureCount, (access) => patience.isRefused(access));
  }

  /** What is in the hands of peers need not be read from the origin: a read that the scheduler knows nothing of gives way. */
  #preferParents(): void {
    this.#requests.dropOpenAnswers();
    this.#board.windDown(
      new Error("the scheduler is back"),
      ({ lease, source }) => lease === undefined && source.kind === "origin",
    );
  }

  #start(order: FetchOrder): void {
    this.#fetch(order).catch((error: unknown) => this.#break(error));
  }

  async #fetch(order: FetchOrder): Promise<void> {
    let ended: EndedFetch;
    try {
      ended = await this.#board.run(order);
      if (!ended.end.ok) await this.#failures.settle(ended, ended.end);
    } finally {
      this.#board.remove(order.leaseId);
    }
    this.#reports.end(ended);
    this.#watch.expectSoon();
    this.#progress.notify();
    this.#settle();
  }

  #received(order: FetchOrder, bytes: number): void {
    const payer = this.#requests.payer(order.lease?.requestId);
    if (payer !== undefined) payer.fetched[trafficOf(order.source)] += bytes;
  }

  #pieceHeld(pieceIndex: number, order: FetchOrder): void {
    const isFromOrigin = order.source.kind === "origin";
    if (isFromOrigin) this.#originPatience.succeeded();
    const { taskId } = this.stored.description;
    this.#services.link.pieceHeld(taskId, pieceIndex, isFromOrigin);
    this.#services.arrivals.arrived(taskId);
    this.#progress.notify();
    this.#heirs.settle();
    this.#checkWhenComplete();
  }

  /** Pieces that readers still need and nobody fetches, ascending. */
  #unclaimedPieces(): number[] {
    return this.#requests.missing((index) => this.#board.isClaimed(index));
  }

  #askAgain(): void {
    if (this.#isApart) return this.#watch.expectNothing();
    for (const request of this.#requests) {
      request.isAsked = true;
      const { asked, traceparent } = request;
      this.#services.link.request([{ request: asked, traceparent }]);
    }
  }

  /** The scheduler is silent: hosts that served the task before come first, then the origin, in the readers' order. */
  #goOnAlone(): void {
    if (!this.#isApart) this.#services.link.concludeSilence();
    const request = this.#admittedRequest();
    const pieces = this.#unclaimedPieces();
    if (request === undefined || pieces.length === 0) return;
    for (const { onDegraded } of this.#requests) onDegraded();
    const leaseId = `unleased-${++this.#unleasedFetches}`;
    const { traceparent } = request;
    const { taskId } = this.stored.description;
    const holder = this.#knownParents.holderOf(pieces, (hostId) =>
      this.#services.selfToken(hostId, taskId, pieceCountOf(this.stored.layout)),
    );
    if (holder !== undefined) {
      this.#start({ leaseId, ...holder, lease: undefined, traceparent });
      return;
    }
    const pieceCount = pieces.length;
    this.#services.log.info("scheduler silent, reading the origin", { task: taskId, pieceCount });
    // Its pieces mean nothing to others who do not know what they are pieces of.
    if (!this.#isDescribed) this.describe(traceparent, request.access.hasRanges);
    const source: FetchSource = { kind: "origin", access: request.access };
    this.#start({ leaseId, source, pieces, lease: undefined, traceparent });
  }

  #checkWhenComplete(): void {
    if (this.#failure === undefined) this.#check.whenComplete();
  }

  /** Something that nobody expected: the clients are told, and what is wrong in us ends the process. */
  #break(error: unknown): void {
    this.fail(error instanceof Error ? error : new Error(String(error)));
    if (error instanceof InvariantViolation) throw error;
  }

  /** Closes the accounts of clients that are gone, and the download with the last fetch. */
  #settle(): void {
    if (this.#requests.size > 0) return;
    if (!this.#board.some(isForClients)) this.#requests.settle();
    if (this.#isClosed || !this.#board.isIdle || this.#check.isRunning) return;
    this.#isClosed = true;
    this.#watch.stop();
    this.#unpin();
    this.#onIdle();
  }
}
