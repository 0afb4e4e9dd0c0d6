import { randomUUID } from "node:crypto";
import { jetstream, type JetStreamClient } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/transport-node";
import { Bitmap } from "@lacewing/contracts/bitmap.ts";
import {
  AssignmentMessage,
  type Assignment,
  type Lease,
} from "@lacewing/contracts/gen/lacewing/assignments/v1/assignments.ts";
import {
  type Event,
  EventMessage,
  type LeaseEnded,
} from "@lacewing/contracts/gen/lacewing/events/v1/events.ts";
import { type HostId, parseHostId } from "@lacewing/contracts/ids.ts";
import { inventoryDigest } from "@lacewing/contracts/inventory.ts";
import { ANNOUNCE_INTERVAL_MS } from "@lacewing/contracts/limits.ts";
import { indexesOf } from "@lacewing/contracts/pieces.ts";
import { assignmentsSubject, eventsSubject, hostSubject } from "@lacewing/contracts/subjects.ts";
import { announcement, digestsOf, requestBy } from "./scheduler-world.ts";
import { describing, sliceOfTask, type SwarmTask, Uplink } from "./swarm-task.ts";

type Kind = NonNullable<Event["kind"]>;

/** As the real peer's: what it packs, and when it asks again after silence. */
const PACK_MS = 25;
const NEXT_WORD_MS = 1_000;
/** A parent that is asked ahead of its own copy is asked again so often. */
const ASK_AHEAD_MS = 5;
const PROMISE_SLACK_MS = 300;
const UPLOAD_SLOTS = 16;
const PUBLISH_TIMEOUT_MS = 30_000;

/** What the hosts of one process have in common. */
export interface SwarmSpec {
  readonly connection: NatsConnection;
  /** Time that an uplink, or the origin's, takes for one piece. */
  readonly pieceMs: number;
  /** Told of each assignment as it arrives. */
  readonly onAssignment?: (host: SwarmHost, assignment: Assignment, epoch: number) => void;
}

/** One host's part in one content. */
interface Download {
  readonly task: SwarmTask;
  readonly held: Bitmap;
  readonly fromOrigin: Set<number>;
  readonly ended: LeaseEnded[];
  readonly liveLeaseIds: Set<string>;
  requestId: string | undefined;
  isDirty: boolean;
  heardAtMs: number;
  promisedAtMs: number;
}

/**
 * Hosts in one process that speak the real protocol over real NATS and carry out their leases by waiting: announces, requests, packed
 * cumulative availability, leases that end, full announces when asked for. What they do not do is go on without the scheduler.
 */
export class SwarmHosts {
  readonly spec: SwarmSpec;
  readonly client: JetStreamClient;
  readonly hosts = new Map<string, SwarmHost>();
  readonly origin: Uplink;
  /** Pieces that arrived at hosts that held them. */
  repeatedPieceCount = 0;
  #failure: Error | undefined;
  #openPublishes = new Set<Promise<void>>();

  constructor(spec: SwarmSpec) {
    this.spec = spec;
    this.client = jetstream(spec.connection);
    this.origin = new Uplink(spec.pieceMs);
  }

  add(name: string): SwarmHost {
    const host = new SwarmHost(this, name);
    this.hosts.set(name, host);
    return host;
  }

  publish(subject: string, data: Uint8Array, messageId: string): void {
    const publish: Promise<void> = this.client
      .publish(subject, data, { msgID: messageId, timeout: PUBLISH_TIMEOUT_MS })
      .then(
        () => {},
        (error: unknown) => this.fail(error),
      )
      .finally(() => this.#openPublishes.delete(publish));
    this.#openPublishes.add(publish);
  }

  /** Something is wrong that has nowhere to be thrown. */
  fail(error: unknown): void {
    this.#failure ??= error instanceof Error ? error : new Error(String(error));
  }

  /** Everything said so far is in the log. @throws when something is not, or went wrong otherwise. */
  async published(): Promise<void> {
    await Promise.all(this.#openPublishes);
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** Ends all timers. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const host of this.hosts.values()) host.end();
    await this.published();
  }
}

/** See {@link SwarmHosts}. */
export class SwarmHost {
  readonly hostId: HostId;
  readonly #swarm: SwarmHosts;
  readonly #uplink: Uplink;
  readonly #bootId = randomUUID();
  readonly #epochs = new Map<number, number>();
  readonly #downloads = new Map<string, Download>();
  readonly #timers = new Set<NodeJS.Timeout>();
  #sequence = 0;
  #requestCount = 0;
  #isFlushDue = false;
  #isOver = false;

  constructor(swarm: SwarmHosts, name: string) {
    const hostId = parseHostId(name);
    if (hostId === undefined) throw new Error(`not a host id: ${name}`);
    this.hostId = hostId;
    this.#swarm = swarm;
    this.#uplink = new Uplink(swarm.spec.pieceMs);
    swarm.spec.connection.subscribe(assignmentsSubject(hostId), {
      callback: (error, message) => {
        if (error === null) this.#hear(AssignmentMessage.decode(message.data));
      },
    });
  }

  /** Announces itself, now and from time to time. */
  boot(): void {
    this.#announce(true);
    const again = () => {
      this.#announce(false);
      this.#after(ANNOUNCE_INTERVAL_MS, again);
    };
    this.#after(ANNOUNCE_INTERVAL_MS, again);
  }

  /** Has the whole content from before, as if it had read the origin. */
  own(task: SwarmTask): void {
    const download = this.#downloadOf(task);
    for (let piece = 0; piece < task.pieceCount; piece++) {
      download.held.add(piece);
      download.fromOrigin.add(piece);
    }
    this.#say(task, [describing(task), this.#availability(download)]);
  }

  /** A client asks for the content. @returns the id of its request. */
  want(task: SwarmTask): string {
    const download = this.#downloadOf(task);
    download.requestId = `${this.hostId}-${++this.#requestCount}`;
    this.#ask(download);
    this.#watch(download);
    return download.requestId;
  }

  hasAll(task: SwarmTask): boolean {
    return this.#downloads.get(task.taskId)?.held.isFull === true;
  }

  heldCount(task: SwarmTask): number {
    return this.#downloads.get(task.taskId)?.held.count ?? 0;
  }

  holds(task: SwarmTask, piece: number): boolean {
    return this.#downloads.get(task.taskId)?.held.has(piece) === true;
  }

  /** When it has sent another piece. */
  sendPiece(): number {
    return this.#uplink.send();
  }

  end(): void {
    this.#isOver = true;
    for (const timer of this.#timers) clearTimeout(timer);
  }

  #downloadOf(task: SwarmTask): Download {
    const known = this.#downloads.get(task.taskId);
    if (known !== undefined) return known;
    const download: Download = {
      task,
      held: new Bitmap(task.pieceCount),
      fromOrigin: new Set(),
      ended: [],
      liveLeaseIds: new Set(),
      requestId: undefined,
      isDirty: false,
      heardAtMs: 0,
      promisedAtMs: 0,
    };
    this.#downloads.set(task.taskId, download);
    return download;
  }

  #ask(download: Download): void {
    const { task, requestId } = download;
    if (requestId === undefined) return;
    const value = requestBy(this.hostId, { taskId: task.taskId, requestId });
    this.#say(task, [{ $case: "taskRequested", value }]);
  }

  /** Asks again when neither a lease is under way nor a word has come in the time promised. */
  #watch(download: Download): void {
    this.#after(NEXT_WORD_MS, () => {
      if (download.requestId === undefined) return;
      const nowMs = performance.now();
      const dueAtMs = Math.max(download.heardAtMs + NEXT_WORD_MS, download.promisedAtMs);
      if (download.liveLeaseIds.size === 0 && nowMs > dueAtMs) this.#ask(download);
      this.#watch(download);
    });
  }

  #hear({ slice, epoch, assignments }: AssignmentMessage): void {
    // A lower epoch is a former owner's.
    if (this.#isOver || epoch < (this.#epochs.get(slice) ?? 0)) return;
    this.#epochs.set(slice, epoch);
    for (const assignment of assignments) {
      this.#swarm.spec.onAssignment?.(this, assignment, epoch);
      this.#take(assignment);
    }
  }

  #take({ kind }: Assignment): void {
    if (kind?.$case === "announceFull") this.#announce(true);
    if (kind?.$case === "leaseEnd")
      this.#downloads.get(kind.value.taskId)?.liveLeaseIds.delete(kind.value.leaseId);
    if (kind?.$case !== "lease" && kind?.$case !== "pending") return;
    const download = this.#downloads.get(kind.value.taskId);
    if (download === undefined) return;
    download.heardAtMs = performance.now();
    if (kind.$case === "pending") {
      download.promisedAtMs = download.heardAtMs + kind.value.nextByMs + PROMISE_SLACK_MS;
    } else if (!download.liveLeaseIds.has(kind.value.leaseId)) this.#begin(download, kind.value);
  }

  #begin(download: Download, lease: Lease): void {
    const { task } = download;
    download.liveLeaseIds.add(lease.leaseId);
    if (lease.open) this.#say(task, [describing(task)]);
    const pieces = lease.open
      ? Array.from({ length: task.pieceCount }, (_, piece) => piece)
      : [...indexesOf(lease.pieces)];
    this.#fetch(download, lease, pieces, performance.now());
  }

  /** The next piece of the lease, and then the others. */
  #fetch(download: Download, lease: Lease, pieces: readonly number[], beganAtMs: number): void {
    const { task } = download;
    const [piece, ...rest] = pieces.filter((index) => !download.held.has(index));
    if (piece === undefined) {
      this.#finish(download, lease, beganAtMs);
      return;
    }
    if (!download.liveLeaseIds.has(lease.leaseId)) return;
    const parent = this.#swarm.hosts.get(lease.parentHostId);
    if (lease.ahead && parent?.holds(task, piece) === false) {
      this.#after(ASK_AHEAD_MS, () => this.#fetch(download, lease, pieces, beganAtMs));
      return;
    }
    const arrivesAtMs = parent?.sendPiece() ?? this.#swarm.origin.send();
    this.#after(Math.max(0, arrivesAtMs - performance.now()), () => {
      if (parent !== undefined && !parent.holds(task, piece)) {
        const what = `${lease.leaseId}: ${parent.hostId} does not hold piece ${piece}`;
        this.#swarm.fail(new Error(what));
      }
      if (download.held.has(piece)) this.#swarm.repeatedPieceCount++;
      download.held.add(piece);
      if (parent === undefined) download.fromOrigin.add(piece);
      download.isDirty = true;
      this.#flushSoon();
      this.#fetch(download, lease, rest, beganAtMs);
    });
  }

  #finish(download: Download, lease: Lease, beganAtMs: number): void {
    const { task, held, requestId } = download;
    download.liveLeaseIds.delete(lease.leaseId);
    const bytes = lease.pieces.length * task.pieceLengthBytes;
    const durationMs = Math.round(performance.now() - beganAtMs);
    download.ended.push({ leaseId: lease.leaseId, bytes, durationMs });
    download.isDirty = true;
    this.#flushSoon();
    if (!held.isFull || requestId === undefined) return;
    download.requestId = undefined;
    const { taskId } = task;
    const digest = `sha256:${taskId}`;
    this.#say(task, [
      this.#availability(download),
      { $case: "requestEnded", value: { taskId, requestId } },
      { $case: "taskVerified", value: { taskId, incarnation: 1, digest } },
    ]);
  }

  #flushSoon(): void {
    if (this.#isFlushDue) return;
    this.#isFlushDue = true;
    this.#after(PACK_MS, () => {
      this.#isFlushDue = false;
      for (const download of this.#downloads.values()) {
        if (download.isDirty) this.#say(download.task, [this.#availability(download)]);
      }
    });
  }

  #availability(download: Download): Kind {
    const digests = digestsOf([...download.fromOrigin]);
    download.fromOrigin.clear();
    download.isDirty = false;
    return {
      $case: "piecesAvailable",
      value: {
        taskId: download.task.taskId,
        incarnation: 1,
        bitmap: download.held.toBytes(),
        digests,
        leasesEnded: download.ended.splice(0),
      },
    };
  }

  #announce(isFull: boolean): void {
    const downloads = [...this.#downloads.values()];
    const value = announcement(this.hostId, {
      uploadSlots: UPLOAD_SLOTS,
      full: isFull,
      inventoryDigest: inventoryDigest(
        downloads.map(({ task, held }) => ({
          taskId: task.taskId,
          incarnation: 1,
          heldPieceCount: held.count,
        })),
      ),
      liveLeaseIds: downloads.flatMap(({ liveLeaseIds }) => [...liveLeaseIds]),
      liveRequestIds: downloads.flatMap(({ requestId }) => requestId ?? []),
    });
    this.#send(hostSubject(this.hostId), [{ $case: "hostAnnounced", value }]);
    if (!isFull) return;
    for (const download of downloads) {
      if (download.held.count === 0) continue;
      for (const piece of download.held) download.fromOrigin.add(piece);
      this.#say(download.task, [describing(download.task), this.#availability(download)]);
    }
  }

  #say(task: SwarmTask, kinds: readonly Kind[]): void {
    this.#send(eventsSubject(sliceOfTask(task), this.hostId), kinds);
  }

  #send(subject: string, kinds: readonly Kind[]): void {
    const sequence = ++this.#sequence;
    const data = EventMessage.encode({
      version: 1,
      hostId: this.hostId,
      bootId: this.#bootId,
      sequence,
      sentAtMs: Date.now(),
      events: kinds.map((kind) => ({ traceparent: "", kind })),
    }).finish();
    this.#swarm.publish(subject, data, `${this.hostId}:${this.#bootId}:${sequence}`);
  }

  #after(ms: number, act: () => void): void {
    if (this.#isOver) return;
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      act();
    }, ms);
    this.#timers.add(timer);
  }
}
