import { LEASE_PIECES_MAX } from "@lacewing/contracts/limits.ts";
import { pieceSpan } from "@lacewing/contracts/pieces.ts";
import type { Peer, Request } from "../state.ts";
import { piecesMeanwhile } from "../host-rates.ts";
import { piecesOfRequest } from "../wanted.ts";
import { isOutspoken } from "./quiet-reads.ts";
import type { MatchView } from "./view.ts";

/** Children drawn for one origin lease while many compete. */
const READER_SAMPLE = 8;

/** Pieces given out for each origin lease that there may be at once. */
const PIECES_PER_READER = 4;

/** Origin leases at once: while one host reports the other reads. */
const ORIGIN_READERS = 2;
/** And so many more for each piece that a host usually sends while a grant travels: those who began together report together, too. */
const READERS_PER_PIECE_MEANWHILE = 2;
/** More streams than these are not opened for an origin that gives each of them little. */
const ORIGIN_STREAMS_MAX = 4;
/** Origin leases at once when whoever has the only copy of a piece does not deliver it. */
const ORIGIN_RESCUE_LEASES_MAX = 4;
/** So many children must want pieces for those that read the origin to be given none by others meanwhile. */
const SPARED_AMONG = 32;

/** Of the usual pace: a host that has not sent anything yet may be a slow one. */
const UNKNOWN_PACE = 0.5;

/** A request that may read the origin now: one whose response is open already comes first. */
export function originReader(peer: Peer, nowMs: number): Request | undefined {
  return originReaders(peer, nowMs)[0];
}

/** Every request that may, since each may want another part of the content. */
function originReaders(peer: Peer, nowMs: number): readonly Request[] {
  const { firstRequest } = peer;
  if (firstRequest === undefined) return NO_READERS;
  if (peer.requests.size === 1)
    return isReadable(firstRequest, nowMs) ? [firstRequest] : NO_READERS;
  const readers: Request[] = [];
  for (const request of peer.requests.values()) {
    if (!isReadable(request, nowMs)) continue;
    if (request.isOriginOpen) readers.unshift(request);
    else readers.push(request);
  }
  return readers;
}

const NO_READERS: readonly Request[] = [];

function isReadable(request: Request, nowMs: number): boolean {
  return request.canReadOrigin && request.originRefusedUntilMs <= nowMs;
}

/** Has any children read pieces from the origin of which there is no copy, whoever comes into question. */
export function releaseFromOrigin(view: MatchView): void {
  const { swarm, random } = view;
  while (swarm.rarity.startOf(1) > 0) {
    const size = swarm.needy.sizeOf(0);
    // What the origin sends holds everybody up: it goes where nothing else comes.
    const readers = swarm.starved.sizeOf(0) > 0 ? swarm.starved : swarm.needy;
    const readerCount = readers.sizeOf(0);
    const drawn: number[] = [];
    for (let draw = 0; draw < Math.min(readerCount, READER_SAMPLE / 2); draw++)
      drawn.push(readers.at(0, Math.floor(random() * readerCount)));
    for (let draw = drawn.length; draw < Math.min(size, READER_SAMPLE); draw++)
      drawn.push(swarm.needy.at(0, Math.floor(random() * size)));
    drawn.sort(
      (a, b) => paceOf(view, b) - paceOf(view, a) || swarm.leaseCountOf(a) - swarm.leaseCountOf(b),
    );
    if (!drawn.some((child) => readOrigin(view, child, true))) return;
  }
}

/** What the only copy of a piece leaves its reader with: who is known to send fast comes first, then who is not known. */
function paceOf({ swarm }: MatchView, child: number): number {
  const bytesPerMs = swarm.hosts[child]?.bytesPerMs ?? 0;
  return bytesPerMs === 0 ? UNKNOWN_PACE * swarm.bytesPerMs : bytesPerMs;
}

/**
 * Has a child read from the origin what nobody holds and nobody is being sent, in the order of the content.
 *
 * @param isPicked whether it was chosen among others for it
 * @returns whether it was given a lease.
 */
export function readOrigin(view: MatchView, child: number, isPicked = false): boolean {
  const { swarm, policy, nowMs } = view;
  // Asked of every child that something happened to, and seldom the case: a piece lacks a copy, or none has come for long.
  const isCopied = swarm.rarity.startOf(1) === 0 && !swarm.rows.isAvoiding(child);
  if (isCopied && nowMs - swarm.progressAtMs < policy.originRescueMs) return false;
  const peer = swarm.peers[child];
  if (peer === undefined || !swarm.needy.has(child)) return false;
  const readers = originReaders(peer, nowMs);
  return (
    readers.some((reader) => readFirstCopy(view, child, peer, reader, isPicked)) ||
    readers.some((reader) => readSecondCopy(view, child, peer, reader))
  );
}

function readFirstCopy(
  view: MatchView,
  child: number,
  peer: Peer,
  reader: Request,
  isPicked: boolean,
): boolean {
  const { swarm, policy, task } = view;
  const isAlone = task.needyIds.size <= 1;
  const isCompeting = !isAlone && (!reader.isOriginOpen || task.isOriginShared);
  const bytesMax = isCompeting ? policy.originLeaseBytes : Infinity;
  // As soon as it is known how fast hosts send, the readers are picked by it; but dead hosts would be picked, too, where most are.
  const areMostQuiet = 2 * view.quietReads.length >= swarm.originLeases.size;
  const isChosen = isPicked || (areMostQuiet && isOutspoken(view, peer.host));
  const isLeft = !isChosen && peer.avoided === undefined && swarm.bytesPerMs > 0;
  const isFull = isCompeting && (isLeft || isOriginFull(view, peer, originLeasesMax(view)));
  const pieces = isFull ? [] : piecesWithoutCopy(view, child, peer, reader, bytesMax);
  if (pieces.length === 0) return false;
  grantOrigin(view, peer, reader, pieces, "origin rep=0: no copy held or in flight");
  return true;
}

/** Whether so many read the origin already. Those that say nothing count only against others that say nothing, unless they are many. */
function isOriginFull(view: MatchView, peer: Peer, leasesMax: number): boolean {
  const { swarm, quietReads, policy } = view;
  const { size } = swarm.originLeases;
  if (!isOutspoken(view, peer.host)) return size >= leasesMax;
  // They may be slow, all of them: then the origin has enough to do.
  if (size >= Math.max(policy.originLeasesMax, ORIGIN_RESCUE_LEASES_MAX)) return true;
  return size - quietReads.length >= leasesMax;
}

/**
 * Several readers keep the origin busy while one of them reports, but each gets its part of the rate. So there are few at first:
 * the sooner a first piece is complete the sooner others have something to give.
 */
function originLeasesMax(view: MatchView): number {
  const { swarm, policy, task } = view;
  const releasedCount = swarm.pieceCount - swarm.rarity.startOf(1);
  const ramp = 1 + Math.floor(releasedCount / PIECES_PER_READER);
  // A reader that reports and waits for its next lease reads nothing meanwhile.
  const meanwhile = READERS_PER_PIECE_MEANWHILE * piecesMeanwhile(task, 0);
  const relieved = ORIGIN_READERS + Math.round(meanwhile);
  return Math.min(policy.originLeasesMax, ramp, Math.max(relieved, streamsWanted(view)));
}

/** More are of use only where the origin gives each stream less than a host sends: else they divide what it gives. */
function streamsWanted({ swarm }: MatchView): number {
  const { bytesPerMs, originBytesPerMs } = swarm;
  if (originBytesPerMs === 0) return 0;
  return Math.min(ORIGIN_STREAMS_MAX, Math.floor(bytesPerMs / originBytesPerMs));
}

/** Whether the child reads the origin while there are enough others: what it takes from them would come at the origin's expense. */
export function isSparedForOrigin({ swarm, task }: MatchView, child: number): boolean {
  if (swarm.originLeases.size === 0 || task.needyIds.size <= SPARED_AMONG) return false;
  for (const { parent } of swarm.peers[child]?.leases ?? []) if (parent === undefined) return true;
  return false;
}

function piecesWithoutCopy(
  view: MatchView,
  child: number,
  peer: Peer,
  reader: Request,
  bytesMax: number,
): readonly number[] {
  const { swarm, task } = view;
  const discounted = discountedBy(view, peer);
  if (swarm.rarity.startOf(1) === 0 && discounted.length === 0) return [];
  const span = piecesOfRequest(task, reader);
  const pieces: number[] = [];
  let bytes = 0;
  for (let piece = span.start; piece < span.end && pieces.length < LEASE_PIECES_MAX; piece++) {
    if (swarm.plans(child, piece)) continue;
    let copies = swarm.rarity.countOf(piece);
    for (const source of discounted) if (swarm.holds(source, piece)) copies--;
    if (copies > 0) continue;
    bytes += bytesOf(view, piece);
    if (pieces.length > 0 && bytes > bytesMax) break;
    pieces.push(piece);
  }
  return pieces;
}

/** Sources that failed the child so often that their copies are none for it. */
function discountedBy(view: MatchView, peer: Peer): readonly number[] {
  if (peer.avoided === undefined) return [];
  const ordinals: number[] = [];
  for (const [hostId, avoidance] of peer.avoided) {
    const ordinal = view.task.peers.get(hostId)?.ordinal ?? -1;
    if (avoidance.isDiscounted && ordinal >= 0 && view.swarm.isSource(ordinal))
      ordinals.push(ordinal);
  }
  return ordinals;
}

/** Nothing has come anywhere for long, and the child has no lease: whoever has the only copy does not deliver it. */
function readSecondCopy(view: MatchView, child: number, peer: Peer, reader: Request): boolean {
  const { swarm, policy, nowMs, task } = view;
  // More than the leases that hang; not everybody at once.
  if (isOriginFull(view, peer, ORIGIN_RESCUE_LEASES_MAX)) return false;
  const quietSinceMs = Math.max(swarm.progressAtMs, peer.waitingSinceMs);
  if (peer.leases.length > 0 || nowMs - quietSinceMs < policy.originRescueMs) return false;
  const span = piecesOfRequest(task, reader);
  for (let piece = span.start; piece < span.end; piece++) {
    if (swarm.plans(child, piece) || swarm.rarity.countOf(piece) > 1) continue;
    const seconds = ((nowMs - quietSinceMs) / 1000).toFixed(1);
    const reason = `origin rep=1: no piece arrived for ${seconds}s`;
    grantOrigin(view, peer, reader, [piece], reason);
    return true;
  }
  return false;
}

function grantOrigin(
  view: MatchView,
  peer: Peer,
  reader: Request,
  pieces: readonly number[],
  reason: string,
): void {
  const { requestId } = reader;
  view.grant(peer, { parent: undefined, pieces, reason, candidateCount: 0, requestId });
}

function bytesOf(view: MatchView, piece: number): number {
  if (view.task.layout === undefined) return 0;
  const span = pieceSpan(view.task.layout, piece);
  return span.end - span.start;
}
