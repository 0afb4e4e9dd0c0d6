import type { HostAnnounced } from "@lacewing/contracts/gen/lacewing/events/v1/events.ts";
import { type InventoryEntry, inventoryDigest } from "@lacewing/contracts/inventory.ts";
import type { EventContext } from "./event-context.ts";
import { takenBy } from "./leases.ts";
import {
  FORMER_BOOTS_MAX,
  INVENTORY_MISMATCHES_MAX,
  SUSPECT_ASKED_MS,
  SUSPECT_MS,
} from "./limits.ts";
import {
  askFor,
  askForFullAnnounce,
  contain,
  endRequest,
  hostFor,
  markDirty,
  setKind,
  tell,
  touchHost,
  wakeHungryTasks,
} from "./ledger.ts";
import { speakAgain } from "./silence.ts";
import type { Host, State } from "./state.ts";
import { moveInSwarm, syncHost } from "./swarm/sync.ts";

const EMPTY_INVENTORY = inventoryDigest([]);

/** See `evolveMessage`. */
export function hearFrom(state: State, context: EventContext): void {
  const known = state.hosts.get(context.hostId);
  const host = known ?? hostFor(state, context.hostId, context.bootId, context.atMs);
  host.lastHeardAtMs = Math.max(host.lastHeardAtMs, context.atMs);
  if (host.suspectUntilMs !== 0) {
    host.suspectUntilMs = 0;
    clearSuspicion(state, host);
  }
  if (host.silenceCount !== 0 || host.hasMissedAnnounce) speakAgain(state, host, context.bootId);
  if (host.state === "lost") revive(state, host);
  if (known === undefined) askForFullAnnounce(state, host.hostId, "host unknown to the scheduler");
}

/** Folds what a host says about itself, and ends what it does not know of any more. */
export function announceHost(
  state: State,
  host: Host,
  value: HostAnnounced,
  context: EventContext,
): void {
  const isFirst = !host.isAnnounced;
  const placeBefore = `${host.idc}|${host.location}`;
  if (context.bootId !== host.bootId) startBoot(state, host, context.bootId);
  host.isAnnounced = true;
  setKind(state, host, value.kind === "seed" ? "seed" : "normal");
  host.transferAddress = value.transferAddress;
  host.idc = value.idc;
  host.location = value.location;
  host.uploadSlots = value.uploadSlots;
  host.freeBytes = value.freeBytes;
  host.quotaBytes = value.quotaBytes;
  host.announcedAtMs = context.atMs;
  if (host.state !== "alive") revive(state, host);
  if (placeBefore !== `${value.idc}|${value.location}`) moveInSwarms(state, host);
  if (isFirst) syncHost(host);
  endUnlistedRequests(state, host, value, context.sequence);
  repeatUnlistedLeases(state, host, value, context.atMs);
  if (value.full) {
    withdrawQuestion(state, host);
    host.isFullAnnounceDue = false;
    host.inventoryMismatchCount = 0;
    host.unknownRequestsCount = 0;
  } else if (host.isFullAnnounceDue) {
    askForFullAnnounce(state, host.hostId, "the full announce asked for has not come");
  } else {
    compareInventory(state, host, value, isFirst);
    compareRequests(state, host, value);
  }
  touchHost(state, host);
  wakeHungryTasks(state, host);
}

/** The host stops in order: its copies cannot be reached until it announces again. */
export function leaveHost(state: State, host: Host): void {
  host.state = "left";
  touchHost(state, host);
  syncHost(host);
  reviewLeases(state, host);
}

/** Has the next turns look at every lease from or to the host. */
export function reviewLeases(state: State, host: Host): void {
  for (const lease of [...takenBy(host), ...host.serving]) {
    const { task } = lease.child;
    task.leasesToReview.add(lease);
    markDirty(state, task);
  }
}

function revive(state: State, host: Host): void {
  host.state = "alive";
  touchHost(state, host);
  syncHost(host);
  for (const taskId of host.requests.values()) {
    const peer = host.peers.get(taskId);
    if (peer === undefined) continue;
    askFor(peer);
    markDirty(state, peer.task);
  }
  wakeHungryTasks(state, host);
}

/** It is asked for a word, and is no parent for a while when none has come in time. */
export function giveTimeToAnswer(host: Host, nowMs: number): void {
  host.suspectFromMs = nowMs + SUSPECT_ASKED_MS;
  host.suspectUntilMs = host.suspectFromMs + SUSPECT_MS;
}

/** It was asked for a word and gave none: nobody is sent to it any more. */
export function beginSuspicion(host: Host): void {
  host.isSuspect = true;
  syncHost(host);
}

/** It was heard of, or its time is over: its copies can be read again. */
export function clearSuspicion(state: State, host: Host): void {
  state.work.suspectIds.delete(host.hostId);
  if (!host.isSuspect) return;
  host.isSuspect = false;
  syncHost(host);
  wakeHungryTasks(state, host);
}

/** The host is in another idc or rack than before: its copies count there. */
function moveInSwarms(state: State, host: Host): void {
  for (const peer of host.peers.values()) {
    if (peer.task.swarm === undefined) continue;
    moveInSwarm(peer.task, peer);
    markDirty(state, peer.task);
  }
}

/** A new process: what its predecessor's clients waited for is over; what is on its disk is still there. */
function startBoot(state: State, host: Host, bootId: string): void {
  host.formerBootIds = [...host.formerBootIds, host.bootId].slice(-FORMER_BOOTS_MAX);
  host.bootId = bootId;
  for (const [requestId, taskId] of host.requests) {
    const peer = host.peers.get(taskId);
    if (peer === undefined) continue;
    if (peer.requests.get(requestId)?.bootId !== bootId) {
      endRequest(state, peer.task, peer, requestId);
    }
  }
  for (const lease of takenBy(host)) {
    // A request that overtook the announce belongs to the new process, and so does its lease.
    if (!host.requests.has(lease.requestId)) lease.isOrphaned = true;
  }
  reviewLeases(state, host);
}

/** A request that the host asked for before it wrote this list, and that is not on it, is over. */
function endUnlistedRequests(
  state: State,
  host: Host,
  value: HostAnnounced,
  sequence: number,
): void {
  const listed = new Set(value.liveRequestIds);
  for (const [requestId, taskId] of host.requests) {
    const peer = host.peers.get(taskId);
    const request = peer?.requests.get(requestId);
    if (peer === undefined || request === undefined) continue;
    if (!listed.has(requestId) && request.bootId === host.bootId && request.sequence < sequence) {
      endRequest(state, peer.task, peer, requestId);
    }
  }
}

/** How old a lease is before an announce that does not list it means that its assignment was lost, not that it is under way. */
const ASSIGNMENT_LOST_AFTER_MS = 2_000;

function repeatUnlistedLeases(state: State, host: Host, value: HostAnnounced, atMs: number): void {
  const listed = new Set(value.liveLeaseIds);
  for (const lease of takenBy(host)) {
    if (listed.has(lease.leaseId) || lease.isOrphaned) continue;
    if (atMs - lease.grantedAtMs < ASSIGNMENT_LOST_AFTER_MS) continue;
    tell(state, lease.slice, { kind: "lease", hostId: host.hostId, lease });
  }
}

function compareInventory(state: State, host: Host, value: HostAnnounced, isFirst: boolean): void {
  if (value.inventoryDigest === inventoryDigest(inventoryOf(host))) {
    host.inventoryMismatchCount = 0;
    return;
  }
  host.inventoryMismatchCount++;
  const isUnknownHolder = isFirst && value.inventoryDigest !== EMPTY_INVENTORY;
  if (!isUnknownHolder && host.inventoryMismatchCount < INVENTORY_MISMATCHES_MAX) return;
  contain(state, "inventory mismatch");
  host.inventoryMismatchCount = 0;
  askForFullAnnounce(state, host.hostId, "inventory differs from the scheduler's");
}

/** A listed request that we do not know may be under way; listed twice, its event was lost. */
function compareRequests(state: State, host: Host, value: HostAnnounced): void {
  if (value.liveRequestIds.every((requestId) => host.requests.has(requestId))) {
    host.unknownRequestsCount = 0;
    return;
  }
  host.unknownRequestsCount++;
  if (host.unknownRequestsCount < INVENTORY_MISMATCHES_MAX) return;
  host.unknownRequestsCount = 0;
  contain(state, "request unknown");
  askForFullAnnounce(state, host.hostId, "requests unknown to the scheduler");
}

/** A full announce answers the question that may still wait to be sent. */
function withdrawQuestion(state: State, host: Host): void {
  for (const outbox of state.work.outbox) {
    const at = outbox.findIndex(
      (answer) => answer.kind === "announce_full" && answer.hostId === host.hostId,
    );
    if (at >= 0) outbox.splice(at, 1);
  }
}

function* inventoryOf(host: Host): Generator<InventoryEntry> {
  for (const { taskId, incarnation, held } of host.peers.values()) {
    yield { taskId, incarnation, heldPieceCount: held.count };
  }
}
