import type { Lease } from "../lease.ts";
import type { Peer, Task } from "../state.ts";
import { isSource, wantsOf } from "../swarm/sync.ts";
import type { MatchView } from "./view.ts";

/**
 * Relays. Where many hosts want a content of which one host is reading the first copy, pieces need not be granted one by one: the content is
 * cut into stripes, every second piece each, and over all hosts lies a tree for each stripe with the first reader at its root. A host passes
 * one stripe on to two others and none of the other stripe, so that its link out is as full as its link in, and all are full from end to
 * end. Each host is granted its two stripes at once, *ahead*: its parents are asked before they have the pieces. So no grant travels
 * between two generations of a piece, and clients read in order as fast as the first reader does.
 *
 * It goes by hosts that are alike. Whoever lags behind the others gets the rest of the stripe as everybody else does, and when many
 * lag there are no relays any more.
 */

/** How the reasons of such leases begin. */
const RELAY_REASON = "relay ";
/** Every such piece is of one stripe; and so many others does a host pass one stripe on to. */
export const RELAY_STRIPES = 2;
/** Whoever has more of it already is served as usual. */
const MEMBER_PIECES_MAX = 4;
/** Fewer others are served sooner without. */
const MEMBERS_MIN = 4;
/**
 * More hosts relay only where a grant takes about as long as a piece. Else the rarest pieces, granted one by one, are as fast, and one slow host
 * among many costs them less.
 */
const NEAR_MEMBERS_MAX = 16;
const FAR_PIECES = 0.75;
/**
 * Pieces of its stripe that a child may lack though its parent is known to hold them: one is under way to it, and one to the other child. Where
 * reports and digests travel for long there are more.
 */
export const GAP_PIECES = 3;
/** And as many more as come in this time: reports are packed, and a host has other things to do now and then. */
const GAP_MS = 250;
/** A content of fewer pieces has come before relays pay. */
const PIECES_MIN = 16;
/** Where a piece takes longer, a parent that is asked for the next one of a stripe would not have it in the time in which it has to answer. */
const PIECE_MS_MAX = 2_000;
/** When the first reader holds more they are not begun: all that would have to go through its link first. */
const BEGUN_PIECES_MAX = 32;
/** Pieces of one lease: its token names each. */
const LEASE_PIECES_MAX = 512;
/** Leases that a host serves ahead, of all its tasks together: they share its link without any turns. */
const AHEAD_LEASES_MAX = 6;

/** The relays of one task. Of no consequence to a replay: what they lead to is in the leases. */
export interface Relays {
  readonly members: ReadonlySet<Peer>;
  /** Grants that have not been made yet, parents before children. */
  readonly planned: { readonly child: Peer; readonly parent: Peer; readonly stripe: number }[];
  /** The first reader. */
  readonly root: Peer;
  /** When digests were told to all, by piece. */
  readonly toldAtMs: Map<number, number>;
  /** How often children of the first reader were looked at, and had all that it has. */
  lookedCount: number;
  caughtUpCount: number;
  /** More pieces that a child lacks and its parent holds show that one of them is slow. */
  gapMax: number;
  /** And what it was when they were planned: never less. */
  readonly gapMaxLeast: number;
  /** So many more after something was not heard for a while, by lease: what its child lacked for no fault of its own. */
  readonly usualGaps: WeakMap<Lease, number>;
  /** That is being learnt: since when, and what each of them held then. */
  learning:
    | { readonly sinceMs: number; readonly heldCounts: ReadonlyMap<Peer, number> }
    | undefined;
  releasedCount: number;
  reviewedAtMs: number;
  isOver: boolean;
}

/** Whether a lease of this reason was granted ahead: the log and the table of leases say it by the reason. */
export function isGrantedAhead(reason: string): boolean {
  return reason.startsWith(RELAY_REASON);
}

/** Plans relays when they are of use, and makes the planned grants. */
export function relay(view: MatchView): void {
  const { task } = view;
  task.relays ??= planRelays(view);
  const { relays } = task;
  if (relays === undefined || relays.isOver) return;
  let made = 0;
  for (const { child, parent, stripe } of relays.planned) {
    if (view.isTurnFull()) break;
    made++;
    // Some time may have passed since it was planned.
    const isThere = task.peers.get(child.hostId) === child && child.requests.size > 0;
    if ((!isThere && !child.isSeeding) || !isSource(parent)) continue;
    const pieces = stripePieces(child, parent, stripe, view.swarm.pieceCount);
    if (pieces.length === 0) continue;
    const reason = `${RELAY_REASON}${stripe + 1}/${RELAY_STRIPES}: ahead of the parent's own copy`;
    view.grant(child, { parent, pieces, reason, candidateCount: 1, requestId: "" });
  }
  relays.planned.splice(0, made);
}

function planRelays(view: MatchView): Relays | undefined {
  const { task, swarm, state } = view;
  const stream = state.leases.get(task.streamLeaseId ?? "");
  if (stream === undefined || task.isOriginShared || task.needyIds.size <= MEMBERS_MIN)
    return undefined;
  const root = stream.child;
  const heldCount = root.held.count;
  // Something of it has come: how long grants travel, and pieces take, is known.
  if (heldCount === 0 || heldCount > BEGUN_PIECES_MAX) return undefined;
  if (swarm.pieceCount < PIECES_MIN || swarm.zones.length > 1 || !canRelay(root)) return undefined;
  if (pieceMsOf(task) > PIECE_MS_MAX) return undefined;
  // The first lease took as long as a grant takes, and as the origin took to answer; those that ended say how much was which.
  const control =
    Math.max(task.controlMs, task.describedAtMs - stream.grantedAtMs) / pieceMsOf(task);
  const isMany = task.needyIds.size > NEAR_MEMBERS_MAX;
  if (isMany && task.controlMs < FAR_PIECES * pieceMsOf(task)) return undefined;
  const members = membersOf(task, root);
  if (members.length < MEMBERS_MIN) return undefined;
  shuffle(members, view.random);
  // What the first reader has now its children catch up with late, or never.
  const gapMax =
    GAP_PIECES + Math.ceil((control + GAP_MS / pieceMsOf(task) + heldCount) / RELAY_STRIPES);
  return { ...newRelays(root, members, gapMax, view.nowMs), planned: treesOver(members, root) };
}

/** With nothing planned. @param gapMaxLeast see {@link Relays}. */
export function newRelays(
  root: Peer,
  members: Iterable<Peer>,
  gapMaxLeast: number,
  nowMs: number,
): Relays {
  return {
    root,
    members: new Set(members),
    planned: [],
    toldAtMs: new Map(),
    lookedCount: 0,
    caughtUpCount: 0,
    gapMax: gapMaxLeast,
    gapMaxLeast,
    usualGaps: new WeakMap(),
    learning: undefined,
    releasedCount: 0,
    reviewedAtMs: nowMs,
    isOver: false,
  };
}

/** Who wants all of it and has next to nothing. */
function membersOf(task: Task, root: Peer): Peer[] {
  const members: Peer[] = [];
  for (const hostId of task.needyIds) {
    const peer = task.peers.get(hostId);
    if (peer === undefined || peer === root || !canRelay(peer)) continue;
    if (peer.held.count <= MEMBER_PIECES_MAX && wantsOf(task, peer) === "all") members.push(peer);
  }
  return members;
}

function canRelay(peer: Peer): boolean {
  const { host } = peer;
  const slots = Math.min(AHEAD_LEASES_MAX, host.uploadSlots);
  const isFree = host.aheadLeaseCount + RELAY_STRIPES <= slots;
  return isFree && isSource(peer) && !host.isSilent && !host.hasMissedAnnounce;
}

/** What the first reader's first piece took. */
function pieceMsOf({ describedAtMs, firstPieceAtMs }: Task): number {
  return Math.max(1, firstPieceAtMs - describedAtMs);
}

/** For each stripe a binary tree: those that pass the stripe on, from the root down, then those that pass the other one on. */
function treesOver(members: readonly Peer[], root: Peer): Relays["planned"] {
  const planned: Relays["planned"] = [];
  const innerCount = Math.floor(members.length / RELAY_STRIPES);
  for (let stripe = 0; stripe < RELAY_STRIPES; stripe++) {
    const first = stripe * innerCount;
    const inner = members.slice(first, first + innerCount);
    const order = [...inner, ...members.slice(first + innerCount), ...members.slice(0, first)];
    for (const [at, child] of order.entries()) {
      const parent = at === 0 ? root : order[Math.floor((at - 1) / RELAY_STRIPES)];
      if (parent !== undefined) planned.push({ child, parent, stripe });
    }
  }
  return planned;
}

/** What the child lacks of a stripe and the parent has, or gets. */
function stripePieces(child: Peer, parent: Peer, stripe: number, pieceCount: number): number[] {
  const pieces: number[] = [];
  for (
    let piece = stripe;
    piece < pieceCount && pieces.length < LEASE_PIECES_MAX;
    piece += RELAY_STRIPES
  ) {
    if (child.held.has(piece) || child.leased.has(piece)) continue;
    if (parent.held.has(piece) || parent.leased.has(piece)) pieces.push(piece);
  }
  return pieces;
}

function shuffle(list: Peer[], random: () => number): void {
  for (let at = list.length - 1; at > 0; at--) {
    const other = Math.floor(random() * (at + 1));
    const [a, b] = [list[at], list[other]];
    if (a !== undefined && b !== undefined) [list[at], list[other]] = [b, a];
  }
}
