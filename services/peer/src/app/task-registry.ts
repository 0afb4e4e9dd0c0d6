import type { Bitmap } from "@lacewing/contracts/bitmap.ts";
import { ORIGIN_RESTS } from "@lacewing/contracts/events/reasons.ts";
import type {
  DropTask,
  Lease,
  LeaseEnd,
  Pending,
  PieceDigests,
  Recheck,
} from "@lacewing/contracts/gen/lacewing/assignments/v1/assignments.ts";
import type { TaskRequested } from "@lacewing/contracts/gen/lacewing/events/v1/events.ts";
import { parseTaskId, type TaskId } from "@lacewing/contracts/ids.ts";
import { InvariantViolation, messageOf } from "@lacewing/runtime/errors.ts";
import { isDescribed, isOriginFromStart } from "../core/lease-fit.ts";
import type { PieceStore, RoomWish, StoredTask, TaskDescription } from "./ports.ts";
import type { AssignmentTarget } from "./scheduler-link.ts";
import type { AttachedRequest } from "./attached-requests.ts";
import type { DownloadServices, SharedServices } from "./download-services.ts";
import { type ExpectedClient, HeldPlace } from "./expected-client.ts";
import { isLeased, leasedDescription } from "./leased-description.ts";
import {
  answerTo,
  type FirstAnswer,
  firstWordOrSilence,
  newOpening,
  type Opening,
} from "./opening.ts";
import { ParkedLeases } from "./parked-leases.ts";
import { recheckPieces } from "./recheck.ts";
import { RecentDigests } from "./recent-digests.ts";
import { TaskDrops } from "./task-drops.ts";
import { TaskDownload } from "./task-download.ts";
import { isUnhurried, UnhurriedLeases } from "./unhurried-leases.ts";

/** A lease that was put off is waited for so long where the origin does not answer; and looked for this often. */
const LATE_LEASE_MS_MAX = 5_000;
const LATE_LEASE_POLL_MS = 50;
/** What is under way at a stop is broken off and gets this long to be accounted for. */
const STOP_MS_MAX = 1000;
const STOP_POLL_MS = 10;

/** All downloads of this host by task, and the switchboard between the scheduler's word and them. */
export class TaskRegistry implements AssignmentTarget {
  readonly #store: PieceStore;
  readonly #services: DownloadServices;
  readonly #downloads = new Map<TaskId, TaskDownload>();
  /** Requests that are being opened: leases for them wait until their client is attached. */
  readonly #openings = new Map<string, Opening>();
  readonly #parked = new ParkedLeases();
  readonly #recentDigests: RecentDigests;
  readonly #drops: TaskDrops;
  readonly #unhurried: UnhurriedLeases;
  #isStopped = false;

  constructor(store: PieceStore, services: SharedServices) {
    this.#store = store;
    const apart = new WeakSet<StoredTask>();
    this.#recentDigests = new RecentDigests(store, services);
    this.#drops = new TaskDrops({ store, services, apart, recentDigests: this.#recentDigests });
    this.#services = { ...services, apart, forget: (stored) => this.#drops.forget(stored) };
    this.#unhurried = new UnhurriedLeases(services.clock, (taskId, lease) =>
      this.#inBackground(lease, this.#acceptForItself(taskId, lease)),
    );
  }

  /**
   * Asks the scheduler for content and waits for its first word, for a second, or for five while it says other things: at once
   * "silence" when it has been silent a moment ago, cannot be reached, or knows another content by this name. Leases for the request wait from now on until it is
   * {@link attach}ed or {@link abandon}ed; one of these must follow.
   */
  async ask(request: TaskRequested, traceparent: string): Promise<FirstAnswer> {
    const { link } = this.#services;
    const asked = this.#openings.get(request.requestId);
    // Others have another content by this name: what is here can only be completed from the origin.
    if (asked === undefined && this.#hasOther(request)) return "silence";
    const opening = asked ?? this.#begin({ request, traceparent, expected: undefined });
    if (opening.first !== undefined) return opening.first;
    const isWorthWaiting = link.isResponsive;
    if (asked === undefined) link.request([opening]);
    if (!isWorthWaiting) return opening.first ?? "silence";
    const first = await firstWordOrSilence(opening, this.#services);
    if (first === "silence") link.concludeSilence();
    return first;
  }

  /**
   * Asks for clients that will come in a moment, all at once. What other hosts hold is fetched before they come; for
   * each of them {@link ask} and {@link attach}, or {@link abandon}, must follow.
   */
  expect(clients: readonly ExpectedClient[]): void {
    if (this.#isStopped) return;
    const openings = clients.map((expected) => {
      const { asked: request, traceparent } = expected;
      return this.#begin({ request, traceparent, expected });
    });
    this.#services.link.request(openings);
  }

  /** Whether a lease waits for a request. */
  isParked(taskId: TaskId, requestId: string): boolean {
    return this.#parked.of(taskId, requestId) !== undefined;
  }

  /**
   * The origin has opened what a client is expected for: the lease that waits for it is carried out at once.
   *
   * @returns `false` when there is none any more.
   */
  readAhead(expected: ExpectedClient, stored: StoredTask): boolean {
    const { requestId, taskId } = expected;
    const opening = this.#openings.get(requestId);
    if (opening === undefined || this.#isStopped) return false;
    const leases = this.#parked.take(taskId, (lease) => lease.requestId === requestId);
    if (leases.length === 0) return false;
    const download = this.downloadOf(stored);
    opening.place ??= new HeldPlace(download, expected);
    for (const lease of leases) download.accept(lease);
    return true;
  }

  /** What the scheduler has said already about a request that was asked ahead of its client. */
  firstAnswerTo(requestId: string): FirstAnswer | undefined {
    return this.#openings.get(requestId)?.first;
  }

  /** What was held before something was fetched ahead of the client of this request. */
  heldBefore(requestId: string): Bitmap | undefined {
    return this.#openings.get(requestId)?.place?.request.reader.heldBefore;
  }

  /**
   * The content that other hosts were told to give to a request, as its lease describes it.
   *
   * @param wishFor what may be given up for it; `undefined` comes back when that is not enough.
   */
  async arriving(
    { requestId }: TaskRequested,
    taskId: TaskId,
    wishFor: (described: TaskDescription) => RoomWish,
  ): Promise<StoredTask | undefined> {
    const stored = this.#store.get(taskId);
    const lease = this.#parked.of(taskId, requestId);
    if (stored !== undefined && (lease === undefined || isLeased(stored, lease))) return stored;
    const { making } = this.#openings.get(requestId) ?? {};
    if (making !== undefined) return making;
    if (lease === undefined || lease.parentHostId === "" || !isDescribed(lease)) return undefined;
    const described = leasedDescription(taskId, lease, this.#services.clock.now());
    const made = await this.#store.create(described, wishFor(described));
    return typeof made === "string" ? undefined : made;
  }

  /**
   * Like {@link arriving}, once the lease comes that the scheduler's first word put off. There is no other way to serve the client:
   * room is made for whatever it wants.
   */
  async arrivingLate(asked: TaskRequested, signal: AbortSignal): Promise<StoredTask | undefined> {
    const taskId = parseTaskId(asked.taskId);
    for (let waitedMs = 0; taskId !== undefined && waitedMs < LATE_LEASE_MS_MAX;) {
      const stored = await this.arriving(asked, taskId, () => "make");
      if (stored !== undefined) return stored;
      await this.#services.clock.sleep(LATE_LEASE_POLL_MS, signal);
      waitedMs += LATE_LEASE_POLL_MS;
    }
    return undefined;
  }

  /** Whether others have another content by the name of this copy, and nobody knows yet who is right. */
  isApart(stored: StoredTask): boolean {
    return this.#services.apart.has(stored);
  }

  isDownloading(taskId: TaskId): boolean {
    return this.#downloads.has(taskId);
  }

  /** The download of a stored task; begins one when none is under way. */
  downloadOf(stored: StoredTask): TaskDownload {
    const { taskId } = stored.description;
    const running = this.#downloads.get(taskId);
    if (running !== undefined && running.stored === stored && running.failure === undefined)
      return running;
    const download = new TaskDownload(stored, this.#services, () => {
      if (this.#downloads.get(taskId) === download) this.#downloads.delete(taskId);
      this.giveBack(stored);
    });
    this.#downloads.set(taskId, download);
    download.learn(this.#recentDigests.of(taskId));
    return download;
  }

  /** Nobody reads the task any more: when nothing of it came, others may have its room. */
  giveBack(stored: StoredTask): void {
    if (stored.held.count > 0) return;
    this.#store.giveBack(stored).catch((error: unknown) => {
      const { taskId: task } = stored.description;
      this.#services.log.error("room could not be given back", { task, error: messageOf(error) });
    });
  }

  /** Takes a client on and hands its download the leases that waited for it. */
  attach(stored: StoredTask, request: AttachedRequest, isSilent: boolean): TaskDownload {
    const download = this.downloadOf(stored);
    const opening = this.#openings.get(request.asked.requestId);
    this.#openings.delete(request.asked.requestId);
    if (opening !== undefined) request.isAsked = true;
    download.attach(request, isSilent);
    opening?.place?.handOver(request);
    download.hearLength(opening?.lengthBytes ?? 0);
    for (const lease of this.#parked.take(stored.description.taskId)) {
      download.accept(lease);
      this.#services.delegate?.(lease, stored, request);
    }
    return download;
  }

  /**
   * The client of an asked request will not be attached: what it was given is free for others.
   *
   * @param retryAfterMs how long the origin, which refused it, asks to be left alone.
   */
  abandon(taskId: TaskId, requestId: string, detail: string, retryAfterMs = 0): void {
    const opening = this.#openings.get(requestId);
    if (opening === undefined) return;
    this.#openings.delete(requestId);
    opening.place?.giveUp();
    const isOurs = (lease: Lease): boolean => lease.requestId === requestId;
    const running = this.#downloads.get(taskId);
    const refusal = retryAfterMs > 0 ? "origin_refused" : "cancelled";
    // Nobody else is to be sent to an origin that asks to be left alone.
    if (retryAfterMs > 0) this.#services.link.originRests(taskId, detail, retryAfterMs);
    for (const lease of this.#parked.take(taskId, isOurs)) {
      // Other clients of the task can use what this one was given.
      const isOrigin = lease.parentHostId === "";
      if (running === undefined) this.#refuse(lease, isOrigin ? refusal : "cancelled", detail);
      else running.accept(lease);
    }
    this.#services.link.endRequest(taskId, requestId);
  }

  // ------------------------------------------------------------------------------------------ the scheduler's word

  lease(lease: Lease): void {
    const taskId = parseTaskId(lease.taskId);
    if (taskId === undefined) return;
    const opening = this.#openings.get(lease.requestId);
    answerTo(opening, isOriginFromStart(lease) ? "read_origin" : "from_others");
    const running = this.#downloads.get(taskId);
    const isFetchedAhead = lease.parentHostId !== "" || opening?.expected?.isDelegated === true;
    if (opening?.expected !== undefined && isFetchedAhead) {
      const made = this.#storedFor(taskId, lease);
      opening.making = made.catch(() => undefined);
      this.#inBackground(lease, this.#fetchAhead(opening.expected, made, lease));
    } else if (opening !== undefined) {
      const isParked = this.#park(taskId, lease);
      if (isParked && isOriginFromStart(lease)) opening.expected?.originGranted?.();
    } else if (running !== undefined) running.accept(lease);
    else if (lease.requestId === "") this.#acceptForKeeping(taskId, lease);
    else this.#refuse(lease, "cancelled", "the request is over");
  }

  pending(pending: Pending): void {
    const answer = pending.reason === ORIGIN_RESTS ? "origin_rests" : "from_others";
    const opening = this.#openings.get(pending.requestId);
    if (opening !== undefined) opening.lengthBytes = pending.lengthBytes;
    answerTo(opening, answer);
    const taskId = parseTaskId(pending.taskId);
    if (taskId !== undefined) this.#downloads.get(taskId)?.promised(pending);
  }

  leaseEnd(end: LeaseEnd): void {
    const taskId = parseTaskId(end.taskId);
    if (taskId === undefined) return;
    this.#unhurried.end(end.leaseId);
    this.#downloads.get(taskId)?.revoke(end.leaseId, end.reason);
    this.#parked.take(taskId, (lease) => lease.leaseId === end.leaseId);
  }

  recheck(recheck: Recheck): void {
    const taskId = parseTaskId(recheck.taskId);
    const stored = taskId === undefined ? undefined : this.#store.get(taskId);
    if (stored !== undefined) recheckPieces(stored, recheck.pieceIndexes, this.#services.log);
  }

  dropTask(drop: DropTask): void {
    this.#drops.drop(drop, { downloads: this.#downloads, unhurried: this.#unhurried });
  }

  pieceDigests(said: PieceDigests): void {
    const heard = this.#recentDigests.hear(said);
    if (heard !== undefined) this.#downloads.get(heard.taskId)?.learn(heard.digests);
  }

  liveLeaseIds(): readonly string[] {
    return [
      ...[...this.#downloads.values()].flatMap((download) => [...download.leaseIds]),
      ...this.#parked.leaseIds(),
      ...this.#unhurried.leaseIds(),
    ];
  }

  *liveRequests(): Generator<{ readonly request: TaskRequested; readonly traceparent: string }> {
    yield* this.#openings.values();
    for (const download of this.#downloads.values()) yield* download.liveRequests();
  }

  /** Breaks everything off, so that it is accounted for before the process ends. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#unhurried.stop();
    for (const { place } of this.#openings.values()) place?.giveUp();
    for (const download of this.#downloads.values()) download.fail(new Error("the host stops"));
    const { clock } = this.#services;
    const until = clock.monotonic() + STOP_MS_MAX;
    while (this.#downloads.size > 0 && clock.monotonic() < until) await clock.sleep(STOP_POLL_MS);
  }

  // --------------------------------------------------------------------------------------------------------- inside

  #hasOther({ taskId: text }: TaskRequested): boolean {
    const taskId = parseTaskId(text);
    const stored = taskId === undefined ? undefined : this.#store.get(taskId);
    return stored !== undefined && this.isApart(stored);
  }

  #begin(asked: Pick<Opening, "request" | "traceparent" | "expected">): Opening {
    const opening = newOpening(asked);
    this.#openings.set(asked.request.requestId, opening);
    return opening;
  }

  #inBackground(lease: Lease, work: Promise<void>): void {
    work.catch((error: unknown) => {
      if (error instanceof InvariantViolation) throw error;
      this.#refuse(lease, "storage", messageOf(error));
    });
  }

  /** What this host is given to keep, and no client waits for. */
  #acceptForKeeping(taskId: TaskId, lease: Lease): void {
    if (isUnhurried(lease)) this.#unhurried.add(taskId, lease);
    else this.#inBackground(lease, this.#acceptForItself(taskId, lease));
  }

  async #acceptForItself(taskId: TaskId, lease: Lease): Promise<void> {
    const stored = await this.#storedFor(taskId, lease);
    if (stored !== undefined) this.downloadOf(stored).accept(lease);
  }

  /** Carries a lease out before its client comes. */
  async #fetchAhead(
    expected: ExpectedClient,
    made: Promise<StoredTask | undefined>,
    lease: Lease,
  ): Promise<void> {
    const stored = await made;
    if (stored === undefined) return;
    const download = this.downloadOf(stored);
    // The client may have come, or have been given up, meanwhile.
    const opening = this.#openings.get(expected.requestId);
    if (opening !== undefined) opening.place ??= new HeldPlace(download, expected);
    download.accept(lease);
  }

  /** Where the bytes of a lease belong that no client here has described: the lease itself says what they are. */
  async #storedFor(taskId: TaskId, lease: Lease): Promise<StoredTask | undefined> {
    if (!isDescribed(lease)) {
      this.#refuse(lease, "cancelled", "the lease does not say what the content is");
      return undefined;
    }
    const known = this.#store.get(taskId);
    const stored =
      known !== undefined && isLeased(known, lease)
        ? known
        : await this.#store.create(leasedDescription(taskId, lease, this.#services.clock.now()));
    if (typeof stored !== "string") return stored;
    const detail = stored === "no_room" ? "no room in the store" : "the store failed";
    this.#refuse(lease, "storage", detail);
    return undefined;
  }

  #park(taskId: TaskId, lease: Lease): boolean {
    if (this.#parked.add(taskId, lease)) return true;
    this.#refuse(lease, "cancelled", "too many leases wait for their client");
    return false;
  }

  #refuse(lease: Lease, reason: "storage" | "cancelled" | "origin_refused", detail: string): void {
    const { taskId, leaseId, parentHostId } = lease;
    const told = { pieceIndexes: [], reason, detail, bytes: 0, durationMs: 0, retryAfterMs: 0 };
    this.#services.link.piecesFailed({ taskId, leaseId, parentHostId, ...told }, lease.traceparent);
  }
}
