import type { Groups } from "../swarm/groups.ts";
import { leaseSize, nextRarest, takePieces } from "./lease-size.ts";
import { isSparedForOrigin } from "./origin.ts";
import { canServe } from "./pacing.ts";
import { isUseful, Useful } from "./useful.ts";
import { waitForSlot } from "./uploads.ts";
import {
  isPairPossible,
  isStarved,
  type MatchView,
  nobodyPassedOver,
  type PassedOver,
  passedOverText,
} from "./view.ts";

const useful = new Useful();

/**
 * Finds a child something among the idle sources: they have nothing else to do, so it is the least loaded of those drawn, near
 * ones first. Where sources abound pieces are taken from the front, as clients read; else the rarest first.
 *
 * @returns whether it was given a lease.
 */
export function serveTo(view: MatchView, child: number): boolean {
  const { swarm } = view;
  if (!swarm.needy.has(child)) return false;
  const zone = swarm.zoneOf(child);
  const isNear = swarm.offers.mayHelp(zone, child);
  // Nearly always: said without a look at the peer itself.
  if (!isNear && (swarm.zones.length < 2 || !isOffered(view, child))) return false;
  const peer = swarm.peers[child];
  if (peer === undefined || isSparedForOrigin(view, child)) return false;
  const passed = nobodyPassedOver();
  const near = isNear ? leastLoaded(view, child, swarm.idleByZone, zone, passed, false) : undefined;
  if (near !== undefined) return grantFrom(view, near, child, passed, false);
  if (swarm.zones.length < 2 || !isOffered(view, child)) return false;
  const far = leastLoaded(view, child, swarm.idle, 0, passed, !isStarved(view, peer));
  return far !== undefined && grantFrom(view, far, child, passed, true);
}

function isOffered({ swarm }: MatchView, child: number): boolean {
  return swarm.zones.some(({ number }) => swarm.offers.mayHelp(number, child));
}

interface Found {
  readonly source: number;
  readonly candidateCount: number;
}

/** @param firstCopyOnly only sources of pieces of which the child's zone has no copy */
function leastLoaded(
  view: MatchView,
  child: number,
  groups: Groups,
  group: number,
  passed: PassedOver,
  firstCopyOnly: boolean,
): Found | undefined {
  const { swarm, policy, random } = view;
  const size = groups.sizeOf(group);
  const drawn = Math.min(size, policy.sampleCount);
  const looked = drawn === size ? size : Math.min(size, drawn + policy.scanCount);
  const first = Math.floor(random() * size);
  const full: number[] = [];
  let best = -1;
  let candidateCount = 0;
  for (let look = 0; look < looked; look++) {
    if (look >= drawn && best >= 0) break;
    const isRow = drawn === size || look >= drawn;
    const source = groups.at(group, isRow ? (first + look) % size : Math.floor(random() * size));
    // Most idle sources are idle because they have nothing for anybody.
    if (!isOffering(view, source, child, firstCopyOnly)) {
      passed.useless++;
      continue;
    }
    const host = swarm.hosts[source];
    if (host === undefined || !isPairPossible(view, source, child, passed)) continue;
    if (!canServe(view, source, host)) {
      passed.busy++;
      full.push(source);
      continue;
    }
    candidateCount++;
    if (best < 0 || isBetter(view, source, best, child)) best = source;
  }
  for (const source of full) waitForSlot(view, source);
  return best < 0 ? undefined : { source: best, candidateCount };
}

function isOffering(
  view: MatchView,
  source: number,
  child: number,
  firstCopyOnly: boolean,
): boolean {
  const { swarm, policy } = view;
  if (swarm.zoneOf(source) === swarm.zoneOf(child)) return isUseful(view, source, child);
  const from = swarm.zones[swarm.zoneOf(source)];
  if (from === undefined || from.outboundCount >= policy.zoneOutboundMax) return false;
  const zone = swarm.zones[swarm.zoneOf(child)];
  const inboundMax = firstCopyOnly ? policy.zoneInboundMax : policy.rescueInboundMax;
  if (zone === undefined || zone.inboundCount >= inboundMax) return false;
  return useful.load(view, source, child, firstCopyOnly ? zone.rarity : undefined) > 0;
}

function isBetter(view: MatchView, source: number, best: number, child: number): boolean {
  const { swarm } = view;
  const load = swarm.hosts[source]?.serving.length ?? 0;
  const bestLoad = swarm.hosts[best]?.serving.length ?? 0;
  if (load !== bestLoad) return load < bestLoad;
  const rack = swarm.rackOf(child);
  return rack > 0 && swarm.rackOf(source) === rack && swarm.rackOf(best) !== rack;
}

function grantFrom(
  view: MatchView,
  { source, candidateCount }: Found,
  child: number,
  passed: PassedOver,
  isFar: boolean,
): boolean {
  const { swarm } = view;
  const peer = swarm.peers[child];
  const host = swarm.hosts[source];
  const zone = swarm.zones[swarm.zoneOf(child)];
  if (peer === undefined || host === undefined || zone === undefined) return false;
  const isFirstCopy = isFar && !isStarved(view, peer);
  useful.load(view, source, child, isFirstCopy ? zone.rarity : undefined);
  const isPlenty = swarm.needy.sizeOf(0) <= swarm.idle.sizeOf(0);
  const order = isPlenty ? "front" : { rarity: zone.rarity };
  const urgent = useful.urgent(view, child);
  const first =
    urgent >= 0
      ? urgent
      : order === "front"
        ? useful.lowest()
        : nextRarest(view, useful, zone.rarity);
  if (first < 0) return false;
  const size = leaseSize(view, source, child, zone.rarity.countOf(first));
  const load = host.serving.length;
  const pieces = takePieces(view, useful, child, order, first, size);
  const of = `of ${candidateCount} candidate${candidateCount === 1 ? "" : "s"}`;
  const seconds = ((view.nowMs - peer.waitingSinceMs) / 1000).toFixed(1);
  const why = isFar
    ? isFirstCopy
      ? `zone-first z=${zone.idc} rep=0`
      : `rescue starved ${seconds}s`
    : `parent least-loaded load=${load}`;
  const reason = `${why} ${of}${passedOverText(passed)}`;
  view.grant(peer, { parent: swarm.peers[source], pieces, reason, candidateCount, requestId: "" });
  return true;
}
