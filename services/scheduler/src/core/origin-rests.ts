import type { Peer, State, Task } from "./state.ts";

/** Origins that ask to be left alone and are remembered; of more the one told first is forgotten. */
const ORIGIN_RESTS_MAX = 1024;
/** A further refusal in the same rest moves its end by less than this: not worth looking through all tasks again. */
const REST_SLACK_MS = 1_000;

/**
 * An origin is left alone for no longer than this, however long it asks for: its clients wait that it answered before, and those
 * such as git-lfs give up after 30 s without a byte.
 */
const ORIGIN_REST_MS_MAX = 20_000;

/**
 * The origin asked to be left alone (`Retry-After`): nobody is given a lease of it until then, whatever the task. It may have
 * spoken to one client only, whose account is used up, and goes on speaking: so every request is delayed at most once.
 */
export function restOrigin(state: State, task: Task, atMs: number, retryAfterMs: number): void {
  const origin = originOf(task);
  const untilMs = atMs + Math.min(retryAfterMs, ORIGIN_REST_MS_MAX);
  const known = state.originRests.get(origin) ?? 0;
  if (origin === "" || untilMs < known + REST_SLACK_MS) return;
  state.originRests.delete(origin);
  state.originRests.set(origin, untilMs);
  const oldest = state.originRests.keys().next();
  if (state.originRests.size > ORIGIN_RESTS_MAX && oldest.done !== true)
    state.originRests.delete(oldest.value);
  for (const other of state.tasks.values()) {
    if (other.needyIds.size === 0 || originOf(other) !== origin) continue;
    for (const hostId of other.needyIds) delayReads(other.peers.get(hostId), atMs, untilMs);
  }
}

/** Until when a new request for the task may not read its origin. */
export function originRestOf(state: State, task: Task): number {
  return state.originRests.size === 0 ? 0 : (state.originRests.get(originOf(task)) ?? 0);
}

/** The origin answered the host's own request well: no rest that began before delays its reads. */
export function originAnswered(peer: Peer, atMs: number): void {
  for (const request of peer.requests.values()) {
    // What was refused itself waits for its own next try.
    if (request.originRefusalCount > 0) continue;
    request.originRefusedUntilMs = Math.min(request.originRefusedUntilMs, atMs);
  }
}

/**
 * An answer that is open already is no further request to the origin. A request that was delayed or refused before is not
 * delayed again, and none for longer than its client waits.
 */
function delayReads(peer: Peer | undefined, atMs: number, untilMs: number): void {
  if (peer === undefined) return;
  const sinceMs = peer.leases.length > 0 ? atMs : peer.waitingSinceMs;
  for (const request of peer.requests.values()) {
    if (request.isOriginOpen || request.originRefusedUntilMs > 0) continue;
    request.originRefusedUntilMs = Math.min(untilMs, sinceMs + ORIGIN_REST_MS_MAX);
  }
}

/** Scheme, host and port; empty when the URL is not known. */
function originOf({ url }: Pick<Task, "url">): string {
  return /^[a-z]+:\/\/[^/?#]+/i.exec(url)?.[0].toLowerCase() ?? "";
}
