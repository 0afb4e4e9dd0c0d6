import type { Event } from "@lacewing/contracts/gen/lacewing/events/v1/events.ts";
import { inventoryDigest } from "@lacewing/contracts/inventory.ts";
import { ANNOUNCE_INTERVAL_MS } from "@lacewing/contracts/limits.ts";
import { HOST_SLICE, SLICE_COUNT } from "@lacewing/contracts/slices.ts";
import type { Way } from "./control-plane.ts";
import { Copy } from "./copy.ts";
import { Download } from "./download.ts";
import { type AssignmentBatch, digestOf, type SimAssignment } from "./messages.ts";
import type { Endpoint } from "./network.ts";
import { type HostSpec, pieceCountOfTask } from "./scenario.ts";
import type { World } from "./world.ts";

type Kind = NonNullable<Event["kind"]>;

/** Free space of a disk that is never full. */
const PLENTY_BYTES = 2 ** 50;

/** A host as the scheduler knows it: announces, packs what it has to say, takes assignments, serves others. */
export class SimHost {
  readonly index: number;
  readonly spec: HostSpec;
  readonly endpoint: Endpoint;
  /** By number of the task. */
  readonly downloads = new Map<number, Download>();
  /** Leases that it serves. */
  servingCount = 0;
  /** Downloads that read from it. */
  readonly children = new Set<Download>();
  readonly wayIn: Way = { lastAtMs: 0 };
  readonly #wayOut: Way = { lastAtMs: 0 };
  readonly #wayOfHints: Way = { lastAtMs: 0 };
  readonly #world: World;
  readonly #epochs = new Map<number, number>();
  readonly #refusedShare: number;
  readonly isCorrupt: boolean;
  #boot = 0;
  #sequence = 0;
  #isFlushDue = false;
  #flushedAtMs = -Infinity;
  #requestCount = 0;
  hasLeft = false;

  constructor(world: World, index: number, endpoint: Endpoint) {
    this.#world = world;
    this.index = index;
    this.endpoint = endpoint;
    this.spec = endpoint.spec;
    const { faults } = this.spec;
    this.isCorrupt = faults.some(({ kind }) => kind === "corrupts");
    this.#refusedShare = faults.reduce(
      (share, fault) => (fault.kind === "refuses" ? fault.share : share),
      0,
    );
  }

  get isGone(): boolean {
    return !this.endpoint.isAlive || this.hasLeft;
  }

  refuses(): boolean {
    return this.#refusedShare > 0 && this.#world.random() < this.#refusedShare;
  }

  holds(task: number, piece: number): boolean {
    return this.downloads.get(task)?.copy.has(piece) === true;
  }

  /** A process starts: it announces what it holds, now and from time to time. */
  boot(): void {
    this.#boot++;
    this.#sequence = 0;
    this.announce(true);
    const boot = this.#boot;
    const firstMs = this.#world.random() * ANNOUNCE_INTERVAL_MS;
    const again = (): void => {
      if (boot !== this.#boot || this.isGone) return;
      this.announce(false);
      this.#world.queue.after(ANNOUNCE_INTERVAL_MS, again);
    };
    this.#world.queue.after(firstMs, again);
  }

  /** A client asks for a content. */
  want(task: number): void {
    if (this.isGone) return;
    const known = this.downloads.get(task);
    if (known?.copy.isFull === true) return;
    const download = known ?? this.#open(task, this.#world.queue.nowMs);
    this.#requestCount++;
    download.isWanted = true;
    download.requestId = `${this.spec.hostId}-${this.#boot}-${task}-${this.#requestCount}`;
    download.ask();
  }

  request(download: Download, requestId: string): void {
    const { taskId } = download;
    const { canReadOrigin } = this.spec;
    this.say([
      {
        $case: "taskRequested",
        value: {
          taskId,
          requestId,
          url: "https://origin.example/file",
          sharingDomain: "origin.example",
          anchor: "",
          tag: "",
          application: "",
          priority: 0,
          wantedStart: 0,
          wantedEnd: 0,
          canReadOrigin,
          originOpen: false,
        },
      },
    ]);
  }

  describe(download: Download): void {
    this.say([this.#description(download)]);
  }

  completed(download: Download): void {
    const { requestId, taskId, incarnation } = download;
    if (requestId === undefined) return;
    download.requestId = undefined;
    this.flush();
    this.say([
      { $case: "requestEnded", value: { taskId, requestId } },
      { $case: "taskVerified", value: { taskId, incarnation, digest: "sha256:whole" } },
    ]);
    this.#world.completed(this);
  }

  /** At once, or so long after the last time that what comes in a row is packed. */
  flushSoon(): void {
    if (this.#isFlushDue) return;
    this.#isFlushDue = true;
    const boot = this.#boot;
    const { packMs } = this.#world.scenario.control;
    this.#world.queue.at(this.#flushedAtMs + packMs, () => {
      this.#isFlushDue = false;
      this.#flushedAtMs = this.#world.queue.nowMs;
      if (boot === this.#boot) this.flush();
    });
  }

  /** Says what changed since the last time: one message for each slice. */
  flush(): void {
    if (this.isGone) return;
    const bySlice = new Map<number, Kind[]>();
    for (const download of this.downloads.values()) {
      if (!download.isDirty) continue;
      const slice = sliceOfTask(download.taskId);
      const kinds = bySlice.get(slice) ?? [];
      bySlice.set(slice, kinds);
      if (download.isFullDue && download.copy.heldCount > 0)
        kinds.push(this.#description(download));
      kinds.push(this.#availability(download));
    }
    for (const kinds of bySlice.values()) this.#send(kinds);
  }

  /** Urgent: leaves at once, after what waits. */
  say(kinds: readonly Kind[]): void {
    if (this.isGone) return;
    this.#send(kinds);
  }

  /** A client waits for a piece that no lease brings. */
  readerBlocked({ taskId, copy }: Download): void {
    const hint = { hostId: this.spec.hostId, taskId, pieceIndex: copy.cursor };
    const { control, scheduler } = this.#world;
    control.send(this.#wayOfHints, () => scheduler.noteBlockedReader(hint));
  }

  announce(isFull: boolean): void {
    const downloads = [...this.downloads.values()];
    const { spec } = this;
    this.#send([
      {
        $case: "hostAnnounced",
        value: {
          kind: spec.kind,
          transferAddress: `${spec.hostId}:7000`,
          idc: spec.idc,
          location: spec.location,
          uploadSlots: spec.uploadSlots,
          freeBytes: PLENTY_BYTES,
          quotaBytes: PLENTY_BYTES,
          inventoryDigest: inventoryDigest(
            downloads.map(({ taskId, incarnation, copy }) => ({
              taskId,
              incarnation,
              heldPieceCount: copy.heldCount,
            })),
          ),
          liveLeaseIds: downloads.flatMap(({ liveLeaseIds }) => liveLeaseIds),
          full: isFull,
          liveRequestIds: downloads.flatMap(({ requestId }) => requestId ?? []),
        },
      },
    ]);
    if (!isFull) return;
    for (const download of downloads) {
      if (download.requestId !== undefined) this.request(download, download.requestId);
      if (download.copy.heldCount === 0) continue;
      download.isFullDue = true;
      download.isDirty = true;
    }
    this.flushSoon();
  }

  /** Claims what it does not have. */
  lie(): void {
    const { taskId, lengthBytes, pieceBytes } = this.#world.taskAt(0);
    const bitmap = new Uint8Array(Math.ceil(lengthBytes / pieceBytes / 8)).fill(255);
    const value = { taskId, incarnation: 1, bitmap, digests: [], leasesEnded: [] };
    this.say([{ $case: "piecesAvailable", value }]);
  }

  /** Stops in order. */
  leave(): void {
    this.flush();
    this.say([{ $case: "hostLeft", value: {} }]);
    this.hasLeft = true;
    this.#end();
  }

  die(): void {
    this.endpoint.isAlive = false;
    this.#end();
  }

  /** Comes back with what is on its disk; its clients ask again. */
  revive(): void {
    this.endpoint.isAlive = true;
    this.boot();
    for (const download of this.downloads.values()) {
      if (download.isWanted && !download.copy.isFull) this.want(download.copy.task);
    }
  }

  receive(batch: AssignmentBatch): void {
    if (this.isGone) return;
    // A lower epoch is a paused old owner's.
    if (batch.epoch < (this.#epochs.get(batch.slice) ?? 0)) return;
    this.#epochs.set(batch.slice, batch.epoch);
    for (const assignment of batch.assignments) this.#take(assignment);
  }

  #take(assignment: SimAssignment): void {
    if (assignment.kind === "announce_full") {
      this.announce(true);
      return;
    }
    const task = this.#world.taskNumber(assignment.taskId);
    if (task === undefined) return;
    const download = this.downloads.get(task);
    switch (assignment.kind) {
      case "lease":
        // A seed host learns of a task by its first lease.
        (download ?? this.#open(task, this.#world.queue.nowMs)).accept(assignment);
        return;
      case "pending":
        download?.promised(assignment.nextByMs);
        return;
      case "lease_end":
        download?.revoke(assignment.leaseId, assignment.reason);
        return;
      case "digests":
        download?.learn(assignment.pieces);
        return;
      case "drop_task":
        this.#world.droppedTaskCount++;
        return;
      default:
        assignment satisfies never;
    }
  }

  #open(task: number, askedAtMs: number): Download {
    const pieceCount = pieceCountOfTask(this.#world.taskAt(task));
    const copy = new Copy(task, this.index, pieceCount, askedAtMs);
    const download = new Download(this.#world, this, copy, undefined);
    this.downloads.set(task, download);
    this.#world.copyOpened(copy);
    return download;
  }

  #end(): void {
    this.#boot++;
    for (const download of this.downloads.values()) {
      download.die();
      download.requestId = undefined;
    }
    const children = [...this.children];
    this.children.clear();
    for (const child of children) child.parentDied(this);
  }

  #send(kinds: readonly Kind[]): void {
    const { hostId } = this.spec;
    const bootId = `${hostId}-boot-${this.#boot}`;
    const message = { hostId, bootId, sequence: ++this.#sequence, kinds };
    this.#world.control.publish(this.#wayOut, () => this.#world.scheduler.receive(message));
  }

  #availability(download: Download): Kind {
    const { taskId, incarnation, copy, originPieces, leasesEnded } = download;
    const digests = this.#digestsOf(download);
    originPieces.clear();
    const bitmap = copy.toBytes();
    const ended = leasesEnded.splice(0);
    download.isDirty = false;
    download.isFullDue = false;
    return {
      $case: "piecesAvailable",
      value: { taskId, incarnation, bitmap, digests, leasesEnded: ended },
    };
  }

  #digestsOf({ isFullDue, copy, originPieces }: Download) {
    const digests: { pieceIndex: number; sha256: Uint8Array }[] = [];
    if (!isFullDue) {
      for (const pieceIndex of originPieces)
        digests.push({ pieceIndex, sha256: digestOf(pieceIndex) });
      return digests;
    }
    for (let pieceIndex = 0; pieceIndex < copy.pieceCount; pieceIndex++) {
      if (copy.has(pieceIndex)) digests.push({ pieceIndex, sha256: digestOf(pieceIndex) });
    }
    return digests;
  }

  #description(download: Download): Kind {
    const { lengthBytes, pieceBytes } = this.#world.taskAt(download.copy.task);
    return {
      $case: "taskDescribed",
      value: {
        taskId: download.taskId,
        lengthBytes,
        pieceLengthBytes: pieceBytes,
        etag: '"v1"',
        lastModified: "",
        contentType: "application/octet-stream",
        anchor: "",
        url: "https://origin.example/file",
        sharingDomain: "origin.example",
        originRanges: this.#world.scenario.origin.hasRanges !== false,
      },
    };
  }
}

export function sliceOfTask(taskId: string): number {
  return taskId === "" ? HOST_SLICE : Number.parseInt(taskId.slice(0, 2), 16) % SLICE_COUNT;
}
