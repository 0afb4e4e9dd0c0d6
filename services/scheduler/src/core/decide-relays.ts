import type { Answer } from "./answer.ts";
import type { Lease } from "./lease.ts";
import { GAP_PIECES, newRelays, RELAY_STRIPES, type Relays } from "./matching/relays.ts";
import type { Peer, Task } from "./state.ts";

/** When so many of the leases have been ended, hosts are not alike: nobody relays any more. */
const RELEASED_SHARE_MAX = 0.1;
/** How often they are looked at, and how much later for each member: it takes some hundredths of the time. */
const REVIEW_MS = 100;
const REVIEW_MS_PER_MEMBER = 0.1;
/**
 * Besides, a child may lack this part of what has come under its lease: where hosts are busy all fall behind a little, all the time. To eight
 * hosts that shared two cores came 0.93 of what came to their parents.
 */
const DRIFT_SHARE_MAX = 0.125;
/** But no more than this part of what is still to come: else whoever stops near the end would not be found. */
const DRIFT_LEFT_SHARE_MAX = 0.25;
/** A piece is missed where its digest was told so long ago. */
const TOLD_MS = 250;
/** So many times as many as relay want the content by now: they need more than the link of one first reader. */
const GROWN_FACTOR = 3;
/**
 * Children of the first reader that had all it has, of so many looks at them: its links, and so those of others, could carry more than the origin
 * gives one reader. Several readers may be given more.
 */
const CAUGHT_UP_SHARE_MAX = 0.8;
const LOOKS_MIN = 40;
/** For so long, from the first piece that comes, a scheduler that took over or was cut off learns what gaps are usual: much of what was said comes late. */
const LEARNING_MS = 2_000;
/** Besides, it lets as many pieces pass as come in this time: it does not know how long grants and reports take. */
const LEARNT_SPARE_MS = 500;
/** And no fewer than these where another scheduler planned the relays. */
const RESTORED_GAP_PIECES = 16;
/** A digest that is known and missing still is told again so often: the first word of it may be lost. */
const RETELL_MS = 1_000;

/**
 * Leases of relays that are to be ended, because the parent sends too slowly or the child takes too slowly: with it go those of everybody
 * who gets the stripe through that child. The rest of the stripe comes as everything else does. When many are ended, all are; likewise when
 * relays have turned out to be of no use.
 */
export function laggingLeases(task: Task, nowMs: number): readonly Lease[] {
  if (task.aheadLeaseCount > 0) task.relays ??= restoredRelays(task, nowMs);
  const { relays } = task;
  if (relays === undefined || relays.isOver) return [];
  const reviewMs = Math.max(REVIEW_MS, REVIEW_MS_PER_MEMBER * relays.members.size);
  if (nowMs - relays.reviewedAtMs < reviewMs) return [];
  relays.reviewedAtMs = nowMs;
  // They are told at the end of this turn: nobody can have them yet.
  for (const piece of task.untoldDigests) relays.toldAtMs.set(piece, nowMs);
  const ahead = aheadLeases(relays.members);
  if (relays.learning !== undefined) {
    relays.isOver = ahead.length === 0 && relays.planned.length === 0;
    learn(relays, relays.learning, ahead, nowMs);
    return [];
  }
  const lagging = new Set<Lease>();
  for (const lease of ahead) {
    if (isBehind(lease, relays, nowMs - TOLD_MS)) lagging.add(lease);
    if (lease.parent === relays.root.host)
      noteFirst(relays, gapOf(lease, relays, nowMs, { gapMax: 0 }));
  }
  // Grows while it is walked.
  for (const lease of lagging) for (const next of passedOn(lease)) lagging.add(next);
  relays.releasedCount += lagging.size;
  const isMost = relays.releasedCount > RELEASED_SHARE_MAX * RELAY_STRIPES * relays.members.size;
  const isOver = isMost || isUseless(task, relays);
  relays.isOver = isOver || (ahead.length === 0 && relays.planned.length === 0);
  return isOver ? ahead : [...lagging];
}

/** Relays that another scheduler has planned, as far as live leases say it: whoever lags holds up others here as there. */
function restoredRelays(task: Task, nowMs: number): Relays | undefined {
  const peers = [...task.peers.values()];
  const parents = aheadLeases(peers).flatMap(({ parent }) => parent?.peers.get(task.taskId) ?? []);
  const isReader = ({ leases }: Peer) => leases.some(({ parent }) => parent === undefined);
  const root = parents.find(isReader) ?? parents.find(({ held }) => held.isFull) ?? parents[0];
  if (root === undefined) return undefined;
  // Whoever has its part of it already was one of them, too.
  const hasPart = ({ held, leases }: Peer) => held.count > 0 || leases.length > 0;
  const members = peers.filter((peer) => peer !== root && hasPart(peer));
  const relays = newRelays(root, members, RESTORED_GAP_PIECES, nowMs);
  beginLearning(relays, nowMs);
  return relays;
}

/** Nobody lags until it is known what is usual: for a while nothing was heard, and nothing told. */
export function beginLearning(relays: Relays, nowMs: number): void {
  const heldCounts = new Map(
    [...relays.members, relays.root].map((peer) => [peer, peer.held.count]),
  );
  relays.learning = { sinceMs: nowMs, heldCounts };
  relays.gapMax = Infinity;
}

/** What a child lacks by now it may go on lacking, however much it is; and what comes to whoever gets most says how fast pieces come. */
function learn(
  relays: Relays,
  { sinceMs, heldCounts }: NonNullable<Relays["learning"]>,
  ahead: readonly Lease[],
  nowMs: number,
): void {
  for (const lease of ahead) {
    const gap = gapOf(lease, relays, nowMs);
    relays.usualGaps.set(lease, Math.max(gap, relays.usualGaps.get(lease) ?? 0));
  }
  let comeCount = 0;
  for (const [peer, count] of heldCounts) comeCount = Math.max(comeCount, peer.held.count - count);
  if (comeCount === 0) {
    // While nothing comes nothing is learnt.
    beginLearning(relays, nowMs);
    return;
  }
  const elapsedMs = nowMs - sinceMs;
  if (elapsedMs < LEARNING_MS) return;
  const spare = (comeCount * LEARNT_SPARE_MS) / elapsedMs;
  relays.gapMax = Math.max(relays.gapMaxLeast, GAP_PIECES + Math.ceil(spare / RELAY_STRIPES));
  relays.learning = undefined;
}

function aheadLeases(peers: Iterable<Peer>): readonly Lease[] {
  return [...peers].flatMap(({ leases }) => leases.filter(({ isAhead }) => isAhead));
}

/** Digests that have become known, for those who were granted the pieces ahead of it; and again what may have been lost. */
export function digestAnswers(task: Task, nowMs: number): readonly Answer[] {
  if (task.aheadLeaseCount === 0) {
    task.untoldDigests = [];
    return [];
  }
  const { untoldDigests, relays, taskId } = task;
  for (const piece of untoldDigests) relays?.toldAtMs.set(piece, nowMs);
  const isAgain = nowMs - task.digestsRetoldAtMs >= RETELL_MS;
  if (untoldDigests.length === 0 && !isAgain) return [];
  task.untoldDigests = [];
  if (isAgain) task.digestsRetoldAtMs = nowMs;
  const answers: Answer[] = [];
  for (const { hostId, held, leases } of task.peers.values()) {
    const ahead = leases.filter(({ isAhead }) => isAhead);
    if (ahead.length === 0) continue;
    const missed = isAgain ? ahead.flatMap((lease) => nextKnown(lease)) : [];
    const pieces = new Set([...untoldDigests, ...missed].filter((piece) => !held.has(piece)));
    if (pieces.size > 0)
      answers.push({ kind: "digests", hostId, taskId, pieceIndexes: [...pieces] });
  }
  return answers;
}

/** The first piece that is to come under the lease, when its digest is known. */
function nextKnown({ pieces, child, task }: Lease): readonly number[] {
  const next = pieces.find(({ start }) => child.leased.has(start))?.start;
  return next !== undefined && task.digests?.has(next) === true ? [next] : [];
}

/** Whether the child lacks more of what its parent holds than a host that is like the others. */
function isBehind(lease: Lease, relays: Relays, toldByMs: number): boolean {
  const { child, pieces } = lease;
  const from = pieces.findIndex(({ start }) => child.leased.has(start));
  if (from < 0) return false;
  const drift = Math.min(DRIFT_SHARE_MAX * from, DRIFT_LEFT_SHARE_MAX * (pieces.length - from));
  const gapMax = relays.gapMax + (relays.usualGaps.get(lease) ?? 0) + drift;
  return gapOf(lease, relays, toldByMs, { gapMax, from }) > gapMax;
}

/**
 * How many pieces the parent holds of what comes next under the lease, of those whose digests were told by then; counted no further than
 * it matters, from a place before which everything has come.
 */
function gapOf(
  lease: Lease,
  relays: Relays,
  toldByMs: number,
  { gapMax = Infinity, from = 0 } = {},
): number {
  const { parent, child, task, pieces } = lease;
  const held = parent?.peers.get(task.taskId)?.held;
  let gap = 0;
  for (let at = from; at < pieces.length; at++) {
    const { start } = pieces[at] ?? { start: 0 };
    if (!child.leased.has(start)) continue;
    const toldAtMs = relays.toldAtMs.get(start) ?? 0;
    if (held?.has(start) !== true || toldAtMs > toldByMs || gap > gapMax) return gap;
    gap++;
  }
  return gap;
}

function noteFirst(relays: Relays, gap: number): void {
  relays.lookedCount++;
  if (gap === 0) relays.caughtUpCount++;
}

/** Whether several readers of the origin would serve everybody sooner. */
function isUseless({ needyIds, hasOriginRanges }: Task, relays: Relays): boolean {
  if (!hasOriginRanges || relays.root.held.isFull) return false;
  if (needyIds.size > GROWN_FACTOR * relays.members.size) return true;
  const { lookedCount, caughtUpCount } = relays;
  return lookedCount >= LOOKS_MIN && caughtUpCount > CAUGHT_UP_SHARE_MAX * lookedCount;
}

/** Leases under which the child of a lease passes its stripe on. */
function passedOn(lease: Lease): readonly Lease[] {
  const stripe = stripeOf(lease);
  return lease.child.host.serving.filter(
    (other) => other.isAhead && other.task === lease.task && stripeOf(other) === stripe,
  );
}

function stripeOf({ pieces }: Lease): number {
  return (pieces[0]?.start ?? 0) % RELAY_STRIPES;
}
