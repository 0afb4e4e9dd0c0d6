import { offerSlot } from "../ledger.ts";
import { addSlotWaiter, firstSlotWaiter } from "../slot-turns.ts";
import type { Peer } from "../state.ts";
import type { Groups } from "../swarm/groups.ts";
import type { Zone } from "../swarm/places.ts";
import { ACTIVITY } from "../swarm/swarm.ts";
import { DrawnChildren } from "./drawn-children.ts";
import { leaseSize, nextRarest, takePieces } from "./lease-size.ts";
import { localReason } from "./local-reason.ts";
import { isSparedForOrigin } from "./origin.ts";
import { awaitOwnUpload, canServe, leadMs } from "./pacing.ts";
import { isAnyMissed, isUseful, Useful } from "./useful.ts";
import {
  isPairPossible,
  isStarved,
  type MatchView,
  nobodyPassedOver,
  type PassedOver,
} from "./view.ts";

/** Held pieces, rarest first, that are tried for zones without a copy. */
const ZONE_FIRST_PIECES_MAX = 16;
/** Children of another zone drawn for one piece. */
const ZONE_FIRST_SAMPLE = 4;

const useful = new Useful();
const offered = new Useful();
const children = new DrawnChildren();

/**
 * Gives a source's free slots away: to zones without a copy first, then to the child that has least, near it, the rarest piece
 * that it lacks, then to starved children elsewhere. What is left over makes it idle.
 */
export function serveFrom(view: MatchView, source: number): void {
  const { swarm } = view;
  const host = swarm.hosts[source];
  const peer = swarm.peers[source];
  if (host === undefined || peer === undefined || !swarm.isSource(source)) return;
  peer.uploadShare = Math.max(peer.uploadShare, host.uploadShareFloor);
  while (canServe(view, source, host)) {
    if (isAnothersTurn(peer)) {
      waitForSlot(view, source);
      offerSlot(view.state, host);
      return;
    }
    const isServed =
      isAnyMissed(view, source) &&
      (releaseSole(view, source) ||
        zoneFirst(view, source) ||
        local(view, source) ||
        rescue(view, source));
    if (isServed) continue;
    swarm.setActivity(source, ACTIVITY.idle);
    offerSlot(view.state, host);
    return;
  }
  waitForSlot(view, source);
}

/** Has the source wait until its host has a free upload slot, or until its own upload is about to end. */
export function waitForSlot(view: MatchView, source: number): void {
  const host = view.swarm.hosts[source];
  const peer = view.swarm.peers[source];
  if (host === undefined || peer === undefined) return;
  view.swarm.setActivity(source, ACTIVITY.waiting);
  awaitOwnUpload(view, source);
  addSlotWaiter(host, peer);
}

/** Whether a peer of the same host in another task waits and has had less of its uploads. */
function isAnothersTurn(peer: Peer): boolean {
  const first = firstSlotWaiter(peer.host);
  return first !== undefined && first !== peer && first.uploadShare < peer.uploadShare;
}

/**
 * A piece that nobody else has goes to a neighbour, who takes it to other zones: else the zone of a seed would get its pieces when
 * all other zones have theirs, or the seed would upload each of them more than once.
 */
function releaseSole(view: MatchView, source: number): boolean {
  const { swarm } = view;
  if (swarm.zones.length < 2) return false;
  const { data } = swarm.rows;
  const have = swarm.rows.haveAt(source);
  for (let at = 0; at < swarm.words; at++) {
    const sole = (data[have + at] ?? 0) & (swarm.sole[at] ?? 0) & (swarm.known[at] ?? 0);
    if (sole !== 0) return local(view, source);
  }
  return false;
}

/** One copy into every other zone, rarest piece first. */
function zoneFirst(view: MatchView, source: number): boolean {
  const { swarm } = view;
  const own = swarm.zones[swarm.zoneOf(source)];
  if (swarm.zones.length < 2 || own === undefined) return false;
  if (own.outboundCount >= view.policy.zoneOutboundMax) return false;
  if (offered.loadHeld(view, source, swarm.lacking) === 0) return false;
  for (let tried = 0; tried < ZONE_FIRST_PIECES_MAX; tried++) {
    const piece = nextRarest(view, offered, swarm.rarity);
    if (piece < 0) return false;
    if (intoLackingZone(view, source, piece)) return true;
    offered.remove(piece);
  }
  return false;
}

function intoLackingZone(view: MatchView, source: number, piece: number): boolean {
  const { swarm, policy } = view;
  const own = swarm.zoneOf(source);
  const first = Math.floor(view.random() * swarm.zones.length);
  for (let step = 0; step < swarm.zones.length; step++) {
    const zone = swarm.zones[(first + step) % swarm.zones.length];
    if (zone === undefined || zone.number === own || zone.rarity.countOf(piece) > 0) continue;
    if (zone.inboundCount >= policy.zoneInboundMax) continue;
    const child = leastPlanned(view, source, zone, piece);
    if (child < 0) continue;
    useful.load(view, source, child, zone.rarity);
    const size = leaseSize(view, source, child, 0);
    const order = { rarity: swarm.rarity };
    const pieces = takePieces(view, useful, child, order, piece, size);
    grantTo(view, source, child, pieces, `zone-first z=${zone.idc} rep=0`, 1);
    return true;
  }
  return false;
}

function leastPlanned(view: MatchView, source: number, zone: Zone, piece: number): number {
  const { swarm } = view;
  const passed = nobodyPassedOver();
  const size = swarm.needyByZone.sizeOf(zone.number);
  let best = -1;
  for (let draw = 0; draw < Math.min(size, ZONE_FIRST_SAMPLE); draw++) {
    const child = swarm.needyByZone.at(zone.number, Math.floor(view.random() * size));
    if (swarm.plans(child, piece) || !swarm.isWanted(child, piece)) continue;
    if (best >= 0 && swarm.planCountOf(child) >= swarm.planCountOf(best)) continue;
    if (isPairPossible(view, source, child, passed)) best = child;
  }
  return best;
}

/** The most starved child of the rack for a piece that is common in the zone, else the most starved of the zone. */
function local(view: MatchView, source: number): boolean {
  const { swarm, policy } = view;
  const zone = swarm.zones[swarm.zoneOf(source)];
  if (zone === undefined) return false;
  const rack = swarm.rackOf(source);
  if (rack > 0) {
    const passed = nobodyPassedOver();
    const found = neediest(view, source, swarm.needyByRack, rack, zone, passed);
    if (found !== undefined && zone.rarity.countOf(found.piece) >= policy.youngCopyCount) {
      return grantLocal(view, source, zone, found, "local-rack", passed);
    }
  }
  const passed = nobodyPassedOver();
  // Those that have no lease first: their links are free.
  const found =
    neediest(view, source, swarm.starvedByZone, zone.number, zone, passed) ??
    neediest(view, source, swarm.needyByZone, zone.number, zone, passed);
  if (found === undefined) return false;
  return grantLocal(view, source, zone, found, "local-zone", passed);
}

interface Found {
  readonly child: number;
  readonly piece: number;
  readonly candidateCount: number;
}

function grantLocal(
  view: MatchView,
  source: number,
  zone: Zone,
  found: Found,
  tier: "local-rack" | "local-zone",
  passed: PassedOver,
): boolean {
  useful.load(view, source, found.child);
  const copyCount = zone.rarity.countOf(found.piece);
  const size = leaseSize(view, source, found.child, copyCount);
  const order = { rarity: zone.rarity };
  const pieces = takePieces(view, useful, found.child, order, found.piece, size);
  const count = found.candidateCount;
  const reason = localReason(tier, copyCount, count, passed);
  grantTo(view, source, found.child, pieces, reason, count);
  return true;
}

/**
 * Draws children and takes the one with fewest pieces held or on their way; among equals the one that gets the rarest piece. When
 * none of those drawn lacks anything that the source has, others are looked at in a row.
 */
function neediest(
  view: MatchView,
  source: number,
  groups: Groups,
  group: number,
  zone: Zone,
  passed: PassedOver,
): Found | undefined {
  const { policy, random } = view;
  const size = groups.sizeOf(group);
  const drawn = Math.min(size, policy.sampleCount);
  const looked = drawn === size ? size : Math.min(size, drawn + policy.scanCount);
  const first = Math.floor(random() * size);
  let best = -1;
  let bestNeed = 0;
  let bestPiece = -1;
  let candidateCount = 0;
  const beginsAtMs =
    Math.max(view.nowMs, view.swarm.timetable.sentAtMs(source)) + leadMs(view.task);
  children.draw(view, { groups, group, first }, drawn, beginsAtMs);
  for (let look = 0; look < looked; look++) {
    const isDrawn = look < drawn;
    if (!isDrawn && best >= 0) break;
    const child = isDrawn ? children.childAt(look) : groups.at(group, (first + look) % size);
    const need = isDrawn ? children.needAt(look) : children.needOf(view, child);
    // What is looked at for most candidates lies close together: few of them are the neediest.
    if (best >= 0 && need > bestNeed) {
      candidateCount++;
      continue;
    }
    if (!isUseful(view, source, child)) {
      passed.useless++;
      continue;
    }
    if (!isPairPossible(view, source, child, passed)) continue;
    if (isSparedForOrigin(view, child)) {
      passed.busy++;
      continue;
    }
    candidateCount++;
    const piece = pieceFor(view, source, child, zone);
    const isEqual = best >= 0 && need === bestNeed;
    if (isEqual && zone.rarity.countOf(piece) >= zone.rarity.countOf(bestPiece)) continue;
    best = child;
    bestNeed = need;
    bestPiece = piece;
  }
  return best < 0 ? undefined : { child: best, piece: bestPiece, candidateCount };
}

function pieceFor(view: MatchView, source: number, child: number, zone: Zone): number {
  useful.load(view, source, child);
  const urgent = useful.urgent(view, child);
  return urgent >= 0 ? urgent : nextRarest(view, useful, zone.rarity);
}

/** A child of another zone that nobody near it helps: rarely, because the bytes cross a thin link. */
function rescue(view: MatchView, source: number): boolean {
  const { swarm, policy } = view;
  const starvedCount = swarm.starved.sizeOf(0);
  if (swarm.zones.length < 2 || starvedCount === 0) return false;
  const passed = nobodyPassedOver();
  for (let draw = 0; draw < Math.min(starvedCount, ZONE_FIRST_SAMPLE); draw++) {
    const child = swarm.starved.at(0, Math.floor(view.random() * starvedCount));
    const peer = swarm.peers[child];
    const zone = swarm.zones[swarm.zoneOf(child)];
    if (peer === undefined || zone === undefined || !isStarved(view, peer)) continue;
    if (zone.inboundCount >= policy.rescueInboundMax || !isUseful(view, source, child)) continue;
    if (!isPairPossible(view, source, child, passed)) continue;
    const piece = pieceFor(view, source, child, zone);
    const size = leaseSize(view, source, child, 0);
    const pieces = takePieces(view, useful, child, { rarity: zone.rarity }, piece, size);
    const seconds = ((view.nowMs - peer.waitingSinceMs) / 1000).toFixed(1);
    grantTo(view, source, child, pieces, `rescue starved ${seconds}s`, 1);
    return true;
  }
  return false;
}

function grantTo(
  view: MatchView,
  source: number,
  child: number,
  pieces: readonly number[],
  reason: string,
  candidateCount: number,
): void {
  const peer = view.swarm.peers[child];
  const parent = view.swarm.peers[source];
  if (peer === undefined || parent === undefined) return;
  view.grant(peer, { parent, pieces, reason, candidateCount, requestId: "" });
}
