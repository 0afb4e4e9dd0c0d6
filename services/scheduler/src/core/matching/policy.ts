import { piecesMeanwhile } from "../host-rates.ts";
import type { Task } from "../state.ts";

const MIB = 2 ** 20;

/** Weights and limits of matching for one class of tasks. */
export interface Policy {
  /** Children or sources drawn for one grant: more find hardly better ones. */
  readonly sampleCount: number;
  /** Looked at one after another when none of the drawn ones fits. */
  readonly scanCount: number;
  /** Live leases from one host above the task's depth, if it announces the slots: few, so that each piece is soon elsewhere. */
  readonly uploadsBeyondDepth: number;
  /** A piece with fewer copies travels alone, and goes to whoever has least in the zone, not to the next host in the rack. */
  readonly youngCopyCount: number;
  /** A source is given its next lease when the one under way is about to end, not before. */
  readonly isPaced: boolean;
  readonly leasePiecesMax: number;
  /** A lease is of as many pieces as its parent delivers in this time. */
  readonly leaseMs: number;
  /** A lease may always be as long as this, or as what the usual link carries in `shortLeaseMs` if that is less: below it decisions cost more than they win. */
  readonly leaseBytesMin: number;
  /** See `leaseBytesMin`. */
  readonly shortLeaseMs: number;
  /** Pieces from a blocked reader's place on that come before rarer ones. */
  readonly readerWindow: number;
  /** Live leases that bring a task into one zone from others. */
  readonly zoneInboundMax: number;
  /** Live leases that bring it out of one zone. */
  readonly zoneOutboundMax: number;
  /** Of the inbound ones, leases for starved children instead of first copies. */
  readonly rescueInboundMax: number;
  /** A child without a lease for so long, and for two pieces' time, may be helped from another zone. */
  readonly rescueAfterMs: number;
  /** Origin leases of one task at once, while others compete for it. */
  readonly originLeasesMax: number;
  /** Bytes of an origin lease while others compete; a request whose response is open reads its stream whatever the size. */
  readonly originLeaseBytes: number;
  /** Without any piece for so long a second copy may be read from the origin. */
  readonly originRescueMs: number;
  /** A source slower than this part of the mean serves no child that lacks little, unless the child starves. */
  readonly slowRatio: number;
  /** A child lacks little when others bring so many pieces while the straggler brings one. */
  readonly latePieces: number;
}

const LARGE: Policy = {
  sampleCount: 8,
  scanCount: 64,
  uploadsBeyondDepth: 0,
  youngCopyCount: 16,
  isPaced: true,
  leasePiecesMax: 8,
  leaseMs: 200,
  leaseBytesMin: 4 * MIB,
  shortLeaseMs: Infinity,
  readerWindow: 2,
  zoneInboundMax: 3,
  zoneOutboundMax: 6,
  rescueInboundMax: 2,
  rescueAfterMs: 1000,
  originLeasesMax: 12,
  originLeaseBytes: 16 * MIB,
  originRescueMs: 10_000,
  slowRatio: 0.3,
  latePieces: 1,
};

/** Content of a few pieces: latency counts, not spreading. */
const SMALL: Policy = { ...LARGE, uploadsBeyondDepth: 5, isPaced: false, originLeasesMax: 1 };

/** Up to this a task is small. */
const SMALL_BYTES_MAX = 16 * MIB;

/**
 * Content for few hosts over links that carry a piece in several times what a grant takes. Senders are held up by the links of their children,
 * which few others could take instead: two uploads at once fill what one leaves. Short leases let pieces spread, and few hosts do not ask
 * for more of them than can be decided.
 */
const FEW: Policy = { ...LARGE, isPaced: false, shortLeaseMs: 80 };

/** Up to so many hosts of a task are few: those that were here once count, too. */
const FEW_PEERS_MAX = 128;
/** The part of a piece that may leave a link while a grant travels: with more, two uploads at once and a grant too late cost more than they win. */
const FEW_MEANWHILE_MAX = 0.2;

/** The rules for a task, by what it is, how many hosts know it, and how fast they are. */
export function policyFor(task: Task): Policy {
  if ((task.layout?.lengthBytes ?? 0) <= SMALL_BYTES_MAX) return SMALL;
  if (task.peers.size > FEW_PEERS_MAX) return LARGE;
  const meanwhile = piecesMeanwhile(task, 0);
  return meanwhile > 0 && meanwhile < FEW_MEANWHILE_MAX ? FEW : LARGE;
}

/** Lower numbers are more urgent: 0 first, 6 unless somebody says otherwise. */
const PRIORITY_LEAST = 6;

/** Shares of a host's uploads are proportional to this. */
export function weightOf(task: Pick<Task, "priority">): number {
  return 1 + Math.max(0, PRIORITY_LEAST - task.priority);
}
