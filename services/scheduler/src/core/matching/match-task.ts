import { ACTIVITY } from "../swarm/swarm.ts";
import { serveTo } from "./downloads.ts";
import { canServe, wakeDueSources } from "./pacing.ts";
import { readOrigin, releaseFromOrigin } from "./origin.ts";
import { relay } from "./relays.ts";
import { serveFrom } from "./uploads.ts";
import type { MatchView } from "./view.ts";

/** How often idle sources and starved children are looked at without a cause: time alone may have made them fit. */
const RETRY_MS = 400;
/** How many of each at once, drawn at random: a turn stays short whatever the size of the swarm. */
const RETRIED_MAX = 512;

/**
 * Grants whatever can be granted in one described task now: sources with a free slot look for children, then children that
 * something happened to look among the sources left over, then the origin gives out what nobody has.
 */
export function matchTask(view: MatchView): void {
  const { swarm } = view;
  relay(view);
  retryIdle(view);
  wakeDueSources(view);
  while (swarm.ready.length > 0 || swarm.fresh.length > 0) {
    serveReady(view);
    serveFresh(view);
    if (view.isTurnFull()) return;
  }
  releaseFromOrigin(view);
}

function serveReady(view: MatchView): void {
  const { swarm } = view;
  const ready = swarm.takeReady();
  let at = 0;
  for (; at < ready.length && !view.isTurnFull(); at++) {
    const source = ready[at] ?? -1;
    if (swarm.activityOf(source) === ACTIVITY.ready) serveFrom(view, source);
  }
  if (at < ready.length) swarm.ready = [...ready.slice(at), ...swarm.ready];
}

/**
 * One lease for each child in turn, so that no child takes all slots; one with the origin's response open goes first. A round more
 * than leases that a child takes: it may take another beside a slow one.
 */
function serveFresh(view: MatchView): void {
  const { swarm } = view;
  let waiting = openFirst(view, swarm.takeFresh());
  for (let round = 0; round <= view.task.leaseDepth && waiting.length > 0; round++) {
    waiting = waiting.filter((child) => {
      if (!view.isTurnFull()) return serveTo(view, child) || readOrigin(view, child);
      swarm.freshen(child);
      return false;
    });
  }
}

function openFirst(view: MatchView, children: readonly number[]): readonly number[] {
  if (view.task.openRequestCount === 0) return children;
  const isOpen = (child: number): boolean => {
    for (const request of view.swarm.peers[child]?.requests.values() ?? []) {
      if (request.isOriginOpen) return true;
    }
    return false;
  };
  if (!children.some(isOpen)) return children;
  return [...children.filter(isOpen), ...children.filter((child) => !isOpen(child))];
}

function retryIdle(view: MatchView): void {
  const { swarm, nowMs, random } = view;
  if (nowMs - swarm.retriedAtMs < RETRY_MS) return;
  swarm.retriedAtMs = nowMs;
  for (const group of [swarm.starved, swarm.needy]) {
    const size = group.sizeOf(0);
    const first = Math.floor(random() * size);
    for (let at = 0; at < Math.min(size, RETRIED_MAX); at++)
      swarm.freshen(group.at(0, (first + at) % size));
  }
  retryWaiting(view);
}

/** A slot that was offered to a source which could not use it any more, because its copy was struck meanwhile, is free for others. */
function retryWaiting(view: MatchView): void {
  const { swarm, nowMs } = view;
  const count = swarm.peers.length;
  // Of many others each time.
  const first = Math.floor(nowMs / RETRY_MS) * RETRIED_MAX;
  for (let at = 0; at < Math.min(count, RETRIED_MAX); at++) {
    const source = (first + at) % count;
    const host = swarm.hosts[source];
    if (host === undefined || swarm.activityOf(source) !== ACTIVITY.waiting) continue;
    if (canServe(view, source, host)) swarm.setActivity(source, ACTIVITY.ready);
  }
}
