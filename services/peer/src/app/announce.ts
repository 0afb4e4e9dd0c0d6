import type {
  Event,
  LeaseEnded,
  PieceDigest,
} from "@lacewing/contracts/gen/lacewing/events/v1/events.ts";
import { inventoryDigest } from "@lacewing/contracts/inventory.ts";
import { ANNOUNCED_IDS_MAX } from "@lacewing/contracts/limits.ts";
import type { StoredTask, StoreUsage } from "./ports.ts";

/** What a host says about itself and never changes while it runs. */
export interface HostFacts {
  readonly kind: "normal" | "seed";
  /** host:port of the piece server, as other hosts reach it. */
  readonly transferAddress: string;
  readonly idc: string;
  /** `region|rack|…`, most general first. */
  readonly location: string;
  readonly uploadSlots: number;
}

/** Digests in one event: 8,192 of them are about 300 KiB. */
const DIGESTS_PER_EVENT_MAX = 8192;

/** `host.announced`. */
export function announcement(
  facts: HostFacts,
  usage: StoreUsage,
  held: Iterable<StoredTask>,
  live: {
    readonly liveLeaseIds: readonly string[];
    readonly liveRequestIds: readonly string[];
    readonly isFull: boolean;
  },
): Event {
  const inventory = Array.from(held, (task) => ({
    taskId: task.description.taskId,
    incarnation: task.incarnation,
    heldPieceCount: task.offered.count,
  }));
  return {
    traceparent: "",
    kind: {
      $case: "hostAnnounced",
      value: {
        ...facts,
        freeBytes: usage.freeBytes,
        quotaBytes: usage.quotaBytes,
        inventoryDigest: inventoryDigest(inventory),
        liveLeaseIds: live.liveLeaseIds.slice(0, ANNOUNCED_IDS_MAX / 2),
        liveRequestIds: live.liveRequestIds.slice(0, ANNOUNCED_IDS_MAX / 2),
        full: live.isFull,
      },
    },
  };
}

/** `task.described`. What is not known of the origin's ranges is told as none. */
export function description(task: StoredTask, originRanges = false): Event {
  const { anchor, createdAtMs: _createdAtMs, ...described } = task.description;
  return {
    traceparent: "",
    kind: { $case: "taskDescribed", value: { ...described, anchor: anchor ?? "", originRanges } },
  };
}

/** `pieces.available` with the digests of `pieces`; several events when the digests are many. */
export function availability(
  task: StoredTask,
  pieces: Iterable<number>,
  leasesEnded: readonly LeaseEnded[],
): Event[] {
  const digests: PieceDigest[] = [];
  for (const pieceIndex of pieces) {
    const sha256 = task.digestOf(pieceIndex);
    if (sha256 !== undefined) digests.push({ pieceIndex, sha256 });
  }
  const events: Event[] = [];
  do {
    const isFirst = events.length === 0;
    events.push({
      traceparent: "",
      kind: {
        $case: "piecesAvailable",
        value: {
          taskId: task.description.taskId,
          incarnation: task.incarnation,
          bitmap: task.offered.toBytes(),
          digests: digests.splice(0, DIGESTS_PER_EVENT_MAX),
          leasesEnded: isFirst ? [...leasesEnded] : [],
        },
      },
    });
  } while (digests.length > 0);
  return events;
}
