import { SLICE_COUNT } from "@lacewing/contracts/slices.ts";
import type {
  CheckpointRow,
  DeadLetterRow,
  DownloadRow,
  HostRow,
  LeaseRow,
  PeerRow,
  ProjectionBatch,
  ProjectionSnapshot,
  ProjectionStore,
  TaskRow,
} from "@lacewing/scheduler/app/ports.ts";

/** The in-memory twin of the projection in Postgres: what outlives a scheduler in a test. */
export class MemoryProjection implements ProjectionStore {
  readonly hosts = new Map<string, HostRow>();
  readonly tasks = new Map<string, TaskRow>();
  readonly peers = new Map<string, PeerRow>();
  readonly leases = new Map<string, LeaseRow>();
  readonly downloads = new Map<string, DownloadRow>();
  readonly deadLetters: DeadLetterRow[] = [];
  readonly #checkpoints = new Map<number, CheckpointRow>();
  #ownerId: string | undefined;
  #epoch = 0;
  flushCount = 0;

  constructor() {
    for (let slice = 0; slice < SLICE_COUNT; slice++) {
      this.#checkpoints.set(slice, {
        slice,
        epoch: 0,
        eventsSequence: 0,
        decisionsSequence: 0,
        lastMessageId: "",
      });
    }
  }

  acquire(ownerId: string): Promise<ReadonlyMap<number, number>> {
    if (this.#ownerId === undefined) {
      this.#ownerId = ownerId;
      this.#epoch++;
    }
    const isOurs = this.#ownerId === ownerId;
    const slices = isOurs ? [...this.#checkpoints.keys()] : [];
    return Promise.resolve(new Map(slices.map((slice) => [slice, this.#epoch])));
  }

  /** One epoch serves all slices here. */
  raise(ownerId: string, above: ReadonlyMap<number, number>): Promise<void> {
    if (this.#ownerId === ownerId) this.#epoch = Math.max(this.#epoch, ...above.values()) + 1;
    return Promise.resolve();
  }

  release(ownerId: string): Promise<void> {
    if (this.#ownerId === ownerId) this.#ownerId = undefined;
    return Promise.resolve();
  }

  /** The owner's lease runs out, as when its process was killed. */
  expireOwnership(): void {
    this.#ownerId = undefined;
  }

  load(): Promise<ProjectionSnapshot> {
    const tasks = [...this.tasks.values()];
    const ids = new Set(tasks.map((task) => task.taskId));
    return Promise.resolve({
      hosts: [...this.hosts.values()],
      tasks,
      peers: [...this.peers.values()].filter((peer) => ids.has(peer.taskId)),
      liveLeases: [...this.leases.values()].filter(
        (lease) => lease.outcome === "live" && ids.has(lease.taskId),
      ),
      checkpoints: [...this.#checkpoints.values()],
    });
  }

  flush(batch: ProjectionBatch): Promise<"committed" | "fenced"> {
    for (const { before, after } of batch.checkpoints) {
      const current = this.#checkpoints.get(before.slice);
      const isStanding =
        current?.eventsSequence === before.eventsSequence &&
        current.decisionsSequence === before.decisionsSequence &&
        after.epoch === this.#epoch;
      if (!isStanding) return Promise.resolve("fenced");
    }
    this.flushCount++;
    for (const row of batch.hosts) this.hosts.set(row.hostId, row);
    for (const row of batch.tasks) this.tasks.set(row.taskId, row);
    for (const row of batch.peers) this.peers.set(`${row.taskId} ${row.hostId}`, row);
    for (const { taskId, hostId } of batch.removedPeers) this.peers.delete(`${taskId} ${hostId}`);
    for (const taskId of batch.forgottenTaskIds) this.tasks.delete(taskId);
    for (const hostId of batch.forgottenHostIds) this.hosts.delete(hostId);
    for (const row of batch.leases) this.leases.set(row.leaseId, row);
    for (const { leaseId, childHostId, bytes, transferMs } of batch.lateBytes) {
      const row = this.leases.get(leaseId);
      if (row?.childHostId !== childHostId || row.bytes > 0 || row.outcome === "live") continue;
      this.leases.set(leaseId, { ...row, bytes, transferMs });
    }
    for (const row of batch.downloads) this.downloads.set(row.download.downloadId, row);
    this.deadLetters.push(...batch.deadLetters);
    for (const { after } of batch.checkpoints) this.#checkpoints.set(after.slice, after);
    return Promise.resolve("committed");
  }
}
