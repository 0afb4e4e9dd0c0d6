import type { Clock } from "@lacewing/runtime/clock.ts";
import type { Peer, State } from "../core/state.ts";
import { takeTouched } from "../core/touched.ts";
import type { Folder } from "./folder.ts";
import type { CheckpointRow, ProjectionBatch, ProjectionRows, ProjectionStore } from "./ports.ts";
import { retrying, type RetryTools } from "./retry.ts";
import { hostRow, leaseRow, peerRow, taskRow } from "./rows.ts";

/** Where the logs stand at the moment of a capture. */
export interface LogPosition {
  readonly epochs: ReadonlyMap<number, number>;
  /** Newest decision message of all slices that the state includes. */
  readonly decisionsSequence: number;
}

/**
 * Carries the state into Postgres. A batch is captured at a moment when everything decided is in the log, for all slices at once:
 * so the rows and the one log position they are stored with always agree.
 */
export class Projector {
  readonly #state: State;
  readonly #folder: Folder;
  readonly #store: ProjectionStore;
  #checkpoints: readonly CheckpointRow[];

  constructor(
    state: State,
    folder: Folder,
    ports: { readonly store: ProjectionStore; readonly clock: Clock },
    checkpoints: readonly CheckpointRow[],
  ) {
    this.#state = state;
    this.#folder = folder;
    this.#store = ports.store;
    this.#checkpoints = checkpoints;
  }

  /** Whether there is anything to write. */
  isDue(decisionsSequence: number): boolean {
    const { touched } = this.#state;
    return (
      this.#folder.hasDeadLetters ||
      touched.hostIds.size + touched.taskIds.size + touched.peers.length + touched.leases.size >
        0 ||
      touched.downloads.length + touched.lateBytes.length > 0 ||
      this.#checkpoints.some(
        (row) =>
          row.eventsSequence !== this.#folder.sequence ||
          row.decisionsSequence !== decisionsSequence,
      )
    );
  }

  /** Takes everything that changed since the last capture. */
  capture(position: LogPosition): ProjectionBatch {
    const { sequence: eventsSequence, lastMessageId } = this.#folder;
    return {
      ...takeRows(this.#state, this.#folder),
      checkpoints: this.#checkpoints.map((before) => ({
        before,
        after: {
          slice: before.slice,
          epoch: position.epochs.get(before.slice) ?? before.epoch,
          eventsSequence,
          decisionsSequence: position.decisionsSequence,
          lastMessageId,
        },
      })),
    };
  }

  /** Writes a batch, again and again until Postgres takes it. */
  async write(
    batch: ProjectionBatch,
    tools: RetryTools,
    signal: AbortSignal,
  ): Promise<"committed" | "fenced"> {
    const result = await retrying("flush projection", tools, signal, () =>
      this.#store.flush(batch),
    );
    if (result === "committed") this.#checkpoints = batch.checkpoints.map(({ after }) => after);
    return result;
  }
}

/** Takes what changed out of the state. What was touched and is not there any more has been forgotten. */
export function takeRows(state: State, folder: Folder): ProjectionRows {
  const { hosts, tasks } = state;
  const taken = takeTouched(state);
  const { peers } = taken;
  const nowOf = (peer: Peer) => tasks.get(peer.taskId)?.peers.get(peer.hostId);
  return {
    hosts: [...taken.hostIds].flatMap((id) => mapped(hosts.get(id), hostRow)),
    tasks: [...taken.taskIds].flatMap((id) => mapped(tasks.get(id), taskRow)),
    // Forgotten and made again it is another one, which was touched too.
    peers: peers.filter((peer) => nowOf(peer) === peer).map(peerRow),
    removedPeers: peers.filter((peer) => nowOf(peer) === undefined),
    forgottenTaskIds: [...taken.taskIds].filter((id) => !tasks.has(id)),
    forgottenHostIds: [...taken.hostIds].filter((id) => !hosts.has(id)),
    leases: [...taken.leases.values()].map(leaseRow),
    lateBytes: taken.lateBytes,
    downloads: uniqueDownloads(taken.downloads),
    deadLetters: folder.takeDeadLetters(),
  };
}

function mapped<From, To>(value: From | undefined, map: (value: From) => To): readonly To[] {
  return value === undefined ? [] : [map(value)];
}

/** A host repeats a download until its receipt comes; a batch holds each once. */
function uniqueDownloads(downloads: State["touched"]["downloads"]): State["touched"]["downloads"] {
  return [...new Map(downloads.map((row) => [row.download.downloadId, row])).values()];
}
