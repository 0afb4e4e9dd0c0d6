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

/** The origin asked to be left alone (`Retry-After`): nobody is given a lease of it until then, whatever the task. */
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
    for (const hostId of other.needyIds) delayReads(other.peers.get(hostId), untilMs);
  }
}

/** Until when a new request for the task may not read its origin. */
export function originRestOf(state: State, task: Task): number {
  return state.originRests.size === 0 ? 0 : (state.originRests.get(originOf(task)) ?? 0);
}

/** An answer that is open already is no further request to the origin. */
function delayReads(peer: Peer | undefined, untilMs: number): void {
  for (const request of peer?.requests.values() ?? []) {
    if (request.isOriginOpen) continue;
    request.originRefusedUntilMs = Math.max(request.originRefusedUntilMs, untilMs);
  }
}

/** Scheme, host and port; empty when the URL is not known. */
function originOf({ url }: Pick<Task, "url">): string {
  return /^[a-z]+:\/\/[^/?#]+/i.exec(url)?.[0].toLowerCase() ?? "";
}
