import { Bitmap } from "@lacewing/contracts/bitmap.ts";
import { LEASE_PIECES_MAX } from "@lacewing/contracts/limits.ts";
import { pieceSpan } from "@lacewing/contracts/pieces.ts";
import {
  CANDIDATE_PARENTS_MAX,
  LEASE_BYTES_ALONE_MAX,
  LEASE_BYTES_MAX,
  LEASES_PER_PAIR_MAX,
  LEASES_PER_PEER_MAX,
} from "./limits.ts";
import { must } from "./invariant.ts";
import type { Host, Peer, Request, State, Task } from "./state.ts";
import { wantedPieces } from "./wanted.ts";

/** What a choice may look at. */
export interface MatchView {
  readonly state: State;
  readonly task: Task;
  readonly nowMs: number;
}

/** Where a child gets its next pieces from, or why it has to wait. */
export type Match =
  | {
      readonly kind: "parent";
      readonly parentHostId: string;
      /** Ascending. */
      readonly pieces: readonly number[];
      readonly reason: string;
      readonly candidateCount: number;
    }
  | {
      readonly kind: "origin";
      readonly requestId: string;
      readonly pieces: readonly number[];
      readonly reason: string;
    }
  | { readonly kind: "wait"; readonly reason: string };

/**
 * Chooses the next lease of one child of a described task. The choice changes nothing; it is asked again after each grant.
 *
 * @param random in [0, 1), a new one at each call
 */
export type Matcher = (view: MatchView, child: Peer, random: () => number) => Match;

/**
 * The first wanted piece that some free parent holds decides: among its holders the one that serves the fewest leases, then the
 * nearest, then any. The origin comes in for pieces of which no copy is held or on its way, and takes them all in one stream.
 */
export const matchLeastLoaded: Matcher = (view, child, random) => {
  const { task } = view;
  if (child.leaseIds.size >= LEASES_PER_PEER_MAX)
    return { kind: "wait", reason: "enough leases are live" };
  const parents = freeParents(view, child, random);
  if (parents.length > 0) {
    for (const piece of wantedPieces(task, child)) {
      if (task.digests?.has(piece) !== true) continue;
      const candidates = parents.filter((parent) => peerOf(task, parent).held.has(piece));
      const best = leastLoaded(
        candidates,
        must(view.state.hosts.get(child.hostId), `host ${child.hostId}`),
      );
      if (best === undefined) continue;
      return {
        kind: "parent",
        parentHostId: best.hostId,
        pieces: piecesFrom(task, child, peerOf(task, best)),
        reason: `parent least-loaded load=${best.servingLeaseIds.size} of ${candidates.length} candidate${candidates.length === 1 ? "" : "s"}`,
        candidateCount: candidates.length,
      };
    }
  }
  return matchOrigin(view, child);
};

/** Whether the host's copy of the task can be read now. */
export function isUsableHolder(view: MatchView, hostId: string): boolean {
  const host = view.state.hosts.get(hostId);
  const peer = view.task.peers.get(hostId);
  return (
    host !== undefined &&
    peer !== undefined &&
    host.state === "alive" &&
    host.isAnnounced &&
    host.suspectUntilMs <= view.nowMs &&
    !peer.isStruck
  );
}

/** A request that may read the origin now: one whose response is open already comes first. */
export function originReader(peer: Peer, nowMs: number): Request | undefined {
  let reader: Request | undefined;
  for (const request of peer.requests.values()) {
    if (!request.canReadOrigin || request.originRefusedUntilMs > nowMs) continue;
    if (reader === undefined || (request.isOriginOpen && !reader.isOriginOpen)) reader = request;
  }
  return reader;
}

/** Holders that could take a lease of this child now: a random sample, so that ties fall differently each time. */
function freeParents(view: MatchView, child: Peer, random: () => number): readonly Host[] {
  const { task, state, nowMs } = view;
  const ids = sample([...task.holderIds], CANDIDATE_PARENTS_MAX, random);
  const parents: Host[] = [];
  for (const hostId of ids) {
    const host = state.hosts.get(hostId);
    if (host === undefined || hostId === child.hostId || !isUsableHolder(view, hostId)) continue;
    if ((child.avoided.get(hostId)?.untilMs ?? 0) > nowMs) continue;
    if (host.servingLeaseIds.size >= host.uploadSlots) continue;
    if (leasesOfPair(state, child, hostId) >= LEASES_PER_PAIR_MAX) continue;
    parents.push(host);
  }
  return parents;
}

function leasesOfPair(state: State, child: Peer, parentHostId: string): number {
  let count = 0;
  for (const leaseId of child.leaseIds) {
    if (state.leases.get(leaseId)?.parentHostId === parentHostId) count++;
  }
  return count;
}

/** Candidates come in random order, so the first of equals is a random one. */
function leastLoaded(candidates: readonly Host[], child: Host): Host | undefined {
  let best: Host | undefined;
  for (const host of candidates) {
    const load = host.servingLeaseIds.size;
    const isBetter =
      best === undefined ||
      load < best.servingLeaseIds.size ||
      (load === best.servingLeaseIds.size && nearness(host, child) > nearness(best, child));
    if (isBetter) best = host;
  }
  return best;
}

/** 0 in another idc; else 1 and the number of location parts that agree from the start. */
function nearness(a: Host, b: Host): number {
  if (a.idc !== b.idc) return 0;
  const partsOfB = b.location.split("|");
  const parts = a.location === "" ? [] : a.location.split("|");
  const differsAt = parts.findIndex((part, at) => part !== partsOfB[at]);
  return 1 + (differsAt < 0 ? parts.length : differsAt);
}

/** Wanted pieces that the parent holds, in the order of their need, up to the size of a lease. */
function piecesFrom(task: Task, child: Peer, parent: Peer): readonly number[] {
  const layout = must(task.layout, `layout of ${task.taskId}`);
  const bytesMax = task.needyIds.size > 1 ? LEASE_BYTES_MAX : LEASE_BYTES_ALONE_MAX;
  const pieces: number[] = [];
  let bytes = 0;
  for (const piece of wantedPieces(task, child)) {
    if (!parent.held.has(piece) || task.digests?.has(piece) !== true) continue;
    const span = pieceSpan(layout, piece);
    bytes += span.end - span.start;
    if (pieces.length > 0 && (bytes > bytesMax || pieces.length >= LEASE_PIECES_MAX)) break;
    pieces.push(piece);
  }
  return pieces.toSorted((a, b) => a - b);
}

function matchOrigin(view: MatchView, child: Peer): Match {
  const { task, nowMs } = view;
  const reader = originReader(child, nowMs);
  if (reader === undefined)
    return { kind: "wait", reason: "no free parent, and no request that may read the origin" };
  const copies = copiesFor(view, child);
  const pieces: number[] = [];
  for (const piece of wantedPieces(task, child, reader)) {
    if (copies.has(piece)) continue;
    pieces.push(piece);
    if (pieces.length >= LEASE_PIECES_MAX) break;
  }
  if (pieces.length === 0) return { kind: "wait", reason: "a copy is held or in flight" };
  return {
    kind: "origin",
    requestId: reader.requestId,
    pieces: pieces.toSorted((a, b) => a - b),
    reason: "origin: no copy held or in flight",
  };
}

/** Pieces of which the child can hope for a copy: held by somebody usable, or on their way to somebody. */
function copiesFor(view: MatchView, child: Peer): Bitmap {
  const { task, state } = view;
  const copies = new Bitmap(child.held.size);
  for (const hostId of task.holderIds) {
    const isDiscounted = child.avoided.get(hostId)?.isDiscounted === true;
    if (hostId !== child.hostId && !isDiscounted && isUsableHolder(view, hostId)) {
      addCopies(copies, task, peerOf(task, { hostId }));
    }
  }
  for (const leaseId of task.leaseIds) {
    const lease = state.leases.get(leaseId);
    if (lease === undefined) continue;
    if (lease.parentHostId !== "" && !isUsableHolder(view, lease.parentHostId)) continue;
    for (const piece of lease.remaining) copies.add(piece);
  }
  return copies;
}

/** A piece without a known digest cannot be leased from a parent, so its copy does not count. */
function addCopies(copies: Bitmap, task: Task, holder: Peer): void {
  for (const piece of holder.held) if (task.digests?.has(piece) === true) copies.add(piece);
}

function peerOf(task: Task, host: { readonly hostId: string }): Peer {
  return must(task.peers.get(host.hostId), `peer ${host.hostId} of ${task.taskId}`);
}

/** Up to `count` of the items in random order: the start of a Fisher–Yates shuffle. */
function sample<Item>(items: Item[], count: number, random: () => number): readonly Item[] {
  const drawn: Item[] = [];
  while (drawn.length < count && items.length > 0) {
    const at = Math.floor(random() * items.length);
    const item = items[at];
    const last = items.pop();
    if (item === undefined || last === undefined) break;
    if (at < items.length) items[at] = last;
    drawn.push(item);
  }
  return drawn;
}
