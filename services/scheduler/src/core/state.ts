import type { RetirementReason } from "@lacewing/contracts/events/reasons.ts";
import type { PieceLayout } from "@lacewing/contracts/pieces.ts";
import { SLICE_COUNT } from "@lacewing/contracts/slices.ts";
import type { Avoidance } from "./avoidance.ts";
import { FewMap, NOTHING } from "./few-map.ts";
import type { Lease } from "./lease.ts";
import { LeaseIndex } from "./lease-index.ts";
import { LEASE_DEPTH_MIN } from "./limits.ts";
import type { PieceDigests } from "./digests.ts";
import type { Pace } from "./pace.ts";
import { type PieceSet, PieceTable } from "./piece-sets.ts";
import type { Relays } from "./matching/relays.ts";
import type { Swarm } from "./swarm/swarm.ts";
import type { SlotWaiters } from "./slot-waiters.ts";
import { newTouched, type Touched } from "./touched.ts";
import { newWork, type Work } from "./work.ts";

/**
 * The scheduler's picture of the world: what the two logs fold to. Changed by `evolveEvent` and `evolveDecision` only, except
 * for what decides *when* to speak again (`nextAnswerAtMs`, the work sets), which is of no consequence to a replay.
 *
 * Ids are plain strings here: the edge has checked them.
 */
export interface State {
  readonly hosts: Map<string, Host>;
  /** Hosts of kind `seed`. */
  readonly seedIds: Set<string>;
  readonly tasks: Map<string, Task>;
  /** Live leases only. */
  readonly leases: LeaseIndex;
  /** By slice: the number of the next lease. Survives a reload, so that an id is never used twice in an epoch. */
  readonly nextLeaseNumbers: number[];
  /** By scheme, host and port: until when origins asked to be left alone. */
  readonly originRests: Map<string, number>;
  /** Observations that did not fit, by reason. */
  readonly contained: Map<string, number>;
  readonly work: Work;
  readonly touched: Touched;
}

type HostState = "alive" | "left" | "lost";
export interface Host {
  readonly hostId: string;
  bootId: string;
  formerBootIds: readonly string[];
  /** False for a host that sent something before its first announce: it can be a child, not a parent. */
  isAnnounced: boolean;
  kind: "normal" | "seed";
  transferAddress: string;
  idc: string;
  location: string;
  uploadSlots: number;
  freeBytes: number;
  quotaBytes: number;
  state: HostState;
  announcedAtMs: number;
  lastHeardAtMs: number;
  /** Somebody could not reach it: when it has not been heard of by the one time it is no parent until the other. 0: it has been. */
  suspectFromMs: number;
  suspectUntilMs: number;
  /** Whether it is between them, as far as a tick has seen. */
  isSuspect: boolean;
  /** It let a lease run out without a word, and is given none until it is heard of, or until this time: see `silence.ts`. */
  isSilent: boolean;
  silentUntilMs: number;
  /** How often in a row. */
  silenceCount: number;
  /** Parents of those leases: whether they are to blame is known when the host is heard of, or not. */
  unblamedHostIds: readonly string[];
  /** It was not heard of for longer than a living host says nothing, and is given none until it is. Of no consequence to a replay. */
  hasMissedAnnounce: boolean;
  /** Part of its upload slots that it is given: halves when it fails children, comes back with what it delivers. */
  slotShare: number;
  /** Bytes per millisecond that its link carries, smoothed; 0 before the first lease from it has ended. */
  bytesPerMs: number;
  /** What ended since the last sample of it. */
  readonly pace: Pace;
  /** Its peers, in any task, that found no free upload slot and would use one: the only one, or several; see `slot-turns.ts`. */
  slotWaiter: Peer | undefined;
  slotWaiters: SlotWaiters<Peer> | undefined;
  /** The share of its uploads that the newest lease was granted at; see `Peer.uploadShare`. */
  uploadShareFloor: number;
  inventoryMismatchCount: number;
  unknownRequestsCount: number;
  /** Asked for a full announce that has not come: the question, or its answer, may be lost. */
  isFullAnnounceDue: boolean;
  /** Its part in each task, by task id. */
  readonly peers: FewMap<Peer>;
  /** Requests that wait at the host, and their tasks. */
  readonly requests: FewMap<string>;
  /** Live leases from it, in the order in which they were granted. */
  serving: readonly Lease[];
  /** Of these, the ones that take no upload slot: of small contents; and granted ahead, as what they send is part of a plan. */
  tinyLeaseCount: number;
  aheadLeaseCount: number;
}

export type TaskState = "active" | "verified" | "retired";

export interface Task {
  readonly taskId: string;
  readonly slice: number;
  url: string;
  sharingDomain: string;
  anchor: string;
  tag: string;
  application: string;
  priority: number;
  etag: string;
  contentType: string;
  /** Undefined until somebody has described the content. */
  layout: PieceLayout | undefined;
  digests: PieceDigests | undefined;
  /** The sets of its peers; of no pieces before the description. */
  pieces: PieceTable;
  state: TaskState;
  retiredReason: string;
  /** 0 when it is not known: before a restart. */
  retiredAtMs: number;
  /** Since when a sweep has found nobody that uses it; 0 when somebody does. */
  unusedSinceMs: number;
  isForgettable: boolean;
  /** What was observed that ends the task; the decision to retire it follows. */
  condemnedReason: RetirementReason | undefined;
  /** Whether the decision log knows the task. */
  isCreated: boolean;
  createdAtMs: number;
  readonly peers: Map<string, Peer>;
  /** Hosts of peers that hold pieces. */
  readonly holderIds: Set<string>;
  /** Hosts of peers that may want pieces, in the order in which they came. */
  readonly needyIds: Set<string>;
  /** Peers whose requests were asked and not answered yet; each once, see `Peer.isAsking`. */
  asking: Peer[];
  /** Live leases of all its peers. */
  leaseCount: number;
  /** Requests of all its peers that read the origin's response already. */
  openRequestCount: number;
  /** Live leases that may have lost their reason. */
  readonly leasesToReview: Set<Lease>;
  /** The lease under which somebody reads the content before its length is known. */
  openLeaseId: string | undefined;
  /** The same lease after the description: its host reads all that it wants in one stream. Not projected, as a start only costs speed. */
  streamLeaseId: string | undefined;
  /** Peers with a request that was promised an answer by some time. */
  readonly promised: Set<Peer>;
  /** When the first of them is due. */
  promisesDueAtMs: number;
  /** Live leases that one peer takes, but for one beside a slow one; grows with the time that control messages take. */
  leaseDepth: number;
  /** The origin answers ranges; and its first stream was ended, for several hosts to read a part each. Not projected either. */
  hasOriginRanges: boolean;
  isOriginShared: boolean;
  /** How long a lease takes besides its transfer, smoothed, milliseconds. */
  controlMs: number;
  /** When it was described, and when the first piece after that was told of; 0 before. Not projected either. */
  describedAtMs: number;
  firstPieceAtMs: number;
  /** Who passes its pieces on to whom ahead of their first copy; and pieces whose digest is not told yet to those who wait for it, and when such were told again. */
  relays: Relays | undefined;
  /** Live leases that were granted ahead. */
  aheadLeaseCount: number;
  untoldDigests: number[];
  digestsRetoldAtMs: number;
  /** Index for matching, from the first decision on; see `swarm/sync.ts`. */
  swarm: Swarm | undefined;
}

/**
 * There may be hundreds of thousands: what few of them need is made when there is the first, and what is asked for at each grant is a
 * field of its own.
 */
export interface Peer {
  readonly taskId: string;
  readonly hostId: string;
  readonly task: Task;
  readonly host: Host;
  incarnation: number;
  /** We gave its copy up although the host may still have it: tell it to drop the task when it speaks of it. */
  isVoided: boolean;
  /** What it has by this name is of another length, and nothing of the task: see `apart.ts`. Until a new incarnation. */
  isApart: boolean;
  held: PieceSet;
  /** Pieces of its live leases that have not arrived. */
  leased: PieceSet;
  isVerified: boolean;
  isSeeding: boolean;
  /** It sent wrong bytes, or does not have what it reports: no parent for this task before a new incarnation. */
  isStruck: boolean;
  /** Children that say so; made when there is the first. */
  accusedBy: Set<string> | undefined;
  /** Parents of which it said so itself. */
  accusedCount: number;
  readonly requests: FewMap<Request>;
  /** The one of them that came first; see `addRequest`. */
  firstRequest: Request | undefined;
  /** Live leases that it takes, in the order in which they were granted. */
  leases: readonly Lease[];
  /** Pieces that failed once: wanted before all others; made when there is the first. */
  retryFirst: Set<number> | undefined;
  /** Parents that failed this peer; made when there is the first. */
  avoided: Map<string, Avoidance> | undefined;
  /** Whether it is in its task's `needyIds`, `asking` and `promised`, and in the `peers` that were touched. */
  isNeedy: boolean;
  isAsking: boolean;
  isPromised: boolean;
  isTouched: boolean;
  /** Its number in the swarm of the task; -1 in none. */
  ordinal: number;
  /** Since when it has had no live lease. */
  waitingSinceMs: number;
  /** Bytes that it was granted to upload, by the weight of the task: tasks of one host take turns by it. */
  uploadShare: number;
  /** The piece at which a reader was told to be blocked, until when that is believed. */
  blockedAtPiece: number;
  blockedUntilMs: number;
}

export interface Request {
  readonly requestId: string;
  wantedStart: number;
  /** 0 with `wantedStart` 0: the whole content. */
  wantedEnd: number;
  canReadOrigin: boolean;
  isOriginOpen: boolean;
  traceparent: string;
  bootId: string;
  /** Of the host's message that asked last. */
  sequence: number;
  originRefusalCount: number;
  originRefusedUntilMs: number;
  /** Asked, or asked again, and not answered yet. */
  needsAnswer: boolean;
  /** When the host must hear again; 0 when a lease serves the request. */
  nextAnswerAtMs: number;
}

/** @param nextLeaseNumbers of the state that this one replaces. */
export function newState(nextLeaseNumbers?: readonly number[]): State {
  return {
    hosts: new Map(),
    seedIds: new Set(),
    tasks: new Map(),
    leases: new LeaseIndex(),
    originRests: new Map(),
    nextLeaseNumbers: [...(nextLeaseNumbers ?? Array.from({ length: SLICE_COUNT }, () => 1))],
    contained: new Map(),
    work: newWork(),
    touched: newTouched(),
  };
}

/** Fields stand in memory in this order: those that each grant needs come first, side by side. */
export function newHost(hostId: string, bootId: string, atMs: number): Host {
  return {
    hostId,
    peers: new FewMap(),
    state: "alive",
    lastHeardAtMs: atMs,
    suspectFromMs: 0,
    suspectUntilMs: 0,
    isSuspect: false,
    isSilent: false,
    hasMissedAnnounce: false,
    silentUntilMs: 0,
    silenceCount: 0,
    unblamedHostIds: NOTHING,
    serving: NOTHING,
    slotWaiter: undefined,
    slotWaiters: undefined,
    tinyLeaseCount: 0,
    aheadLeaseCount: 0,
    uploadSlots: 0,
    slotShare: 1,
    bytesPerMs: 0,
    pace: { bytes: 0, transferMs: 0, leaseCount: 0, sinceMs: 0 },
    uploadShareFloor: 0,
    isAnnounced: false,
    formerBootIds: NOTHING,
    bootId,
    kind: "normal",
    transferAddress: "",
    idc: "",
    location: "",
    freeBytes: 0,
    quotaBytes: 0,
    announcedAtMs: 0,
    inventoryMismatchCount: 0,
    unknownRequestsCount: 0,
    isFullAnnounceDue: false,
    requests: new FewMap(),
  };
}

export function newTask(taskId: string, slice: number, atMs: number): Task {
  return {
    taskId,
    slice,
    url: "",
    sharingDomain: "",
    anchor: "",
    tag: "",
    application: "",
    priority: 0,
    etag: "",
    contentType: "",
    layout: undefined,
    digests: undefined,
    pieces: new PieceTable(0),
    state: "active",
    retiredReason: "",
    retiredAtMs: 0,
    unusedSinceMs: 0,
    isForgettable: false,
    condemnedReason: undefined,
    isCreated: false,
    createdAtMs: atMs,
    peers: new Map(),
    holderIds: new Set(),
    needyIds: new Set(),
    asking: [],
    leaseCount: 0,
    openRequestCount: 0,
    leasesToReview: new Set(),
    openLeaseId: undefined,
    streamLeaseId: undefined,
    promised: new Set(),
    promisesDueAtMs: Infinity,
    leaseDepth: LEASE_DEPTH_MIN,
    hasOriginRanges: false,
    isOriginShared: false,
    controlMs: 0,
    describedAtMs: 0,
    firstPieceAtMs: 0,
    relays: undefined,
    aheadLeaseCount: 0,
    untoldDigests: [],
    digestsRetoldAtMs: 0,
    swarm: undefined,
  };
}

export function newPeer(task: Task, host: Host): Peer {
  return {
    task,
    host,
    taskId: task.taskId,
    hostId: host.hostId,
    held: task.pieces.newSet(),
    leased: task.pieces.newSet(),
    leases: NOTHING,
    ordinal: -1,
    firstRequest: undefined,
    isAsking: false,
    isNeedy: false,
    isTouched: false,
    incarnation: 0,
    retryFirst: undefined,
    avoided: undefined,
    waitingSinceMs: 0,
    uploadShare: 0,
    blockedUntilMs: 0,
    isPromised: false,
    isStruck: false,
    isVoided: false,
    isApart: false,
    isSeeding: false,
    isVerified: false,
    accusedBy: undefined,
    accusedCount: 0,
    requests: new FewMap(),
    blockedAtPiece: 0,
  };
}
