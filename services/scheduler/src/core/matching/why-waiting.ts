import type { Peer, State, Task } from "../state.ts";
import { hasEnoughLeases } from "../swarm/sync.ts";
import { wantedPieces } from "../wanted.ts";
import { originReader } from "./origin.ts";
import { isSending } from "./pacing.ts";
import { policyFor } from "./policy.ts";
import { hasFreeSlot } from "./view.ts";

/** Holders looked at for one answer. */
const HOLDERS_MAX = 512;
/** Wanted pieces looked for at each of them: an answer must not hold up decisions, and the first are wanted first. */
const WANTED_MAX = 1_024;

/** Whether the host's copy of the task can be read now. */
export function isUsableHolder(
  view: { readonly state: State; readonly task: Task; readonly nowMs: number },
  hostId: string,
): boolean {
  const host = view.state.hosts.get(hostId);
  const peer = view.task.peers.get(hostId);
  return (
    host !== undefined &&
    peer !== undefined &&
    host.state === "alive" &&
    host.isAnnounced &&
    !host.isSuspect &&
    !peer.isStruck &&
    !peer.isApart
  );
}

/** Why a child of a described task is not being given what it wants. Changes nothing. */
export function whyWaiting(
  view: { readonly state: State; readonly task: Task; readonly nowMs: number },
  child: Peer,
): string {
  const { state, task, nowMs } = view;
  if (child.isApart) return "its origin gave the host content of another length";
  if (hasEnoughLeases(child)) return "enough leases are live";
  if (child.host.isSilent) return "the host let its last lease run out without a word";
  if (child.host.hasMissedAnnounce) return "the host has missed an announce";
  const wanted = [...wantedPieces(task, child).take(WANTED_MAX)];
  let holderCount = 0;
  let lookedCount = 0;
  for (const hostId of task.holderIds) {
    if (++lookedCount > HOLDERS_MAX) break;
    const host = state.hosts.get(hostId);
    const holder = task.peers.get(hostId);
    if (host === undefined || holder === undefined || !isUsableHolder(view, hostId)) continue;
    if ((child.avoided?.get(hostId)?.untilMs ?? 0) > nowMs) continue;
    if (!wanted.some((piece) => holder.held.has(piece) && task.digests?.has(piece) === true))
      continue;
    holderCount++;
    const policy = policyFor(task);
    const isFree = hasFreeSlot(host, task, policy);
    if (isFree && !isSending(task, policy, holder.ordinal, host, nowMs))
      return "due in the next turn: a parent is free";
  }
  if (holderCount > 0) {
    return holderCount === 1
      ? "the one parent with a wanted piece is busy"
      : `all ${holderCount} parents with a wanted piece are busy`;
  }
  const isInFlight = wanted.some((piece) => (task.swarm?.inFlight[piece] ?? 0) > 0);
  if (isInFlight) return "a copy is in flight";
  return originReader(child, nowMs) === undefined
    ? "no free parent, and no request that may read the origin"
    : "no free parent; the origin is next";
}
