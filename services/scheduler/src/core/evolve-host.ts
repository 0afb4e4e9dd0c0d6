import type { HostAnnounced } from "@lacewing/contracts/gen/lacewing/events/v1/events.ts";
import { type InventoryEntry, inventoryDigest } from "@lacewing/contracts/inventory.ts";
import type { EventContext } from "./event-context.ts";
import { FORMER_BOOTS_MAX, INVENTORY_MISMATCHES_MAX } from "./limits.ts";
import {
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
import type { Host, State } from "./state.ts";
import { moveInSwarm, syncHost } from "./swarm/sync.ts";

const EMPTY_INVENTORY = inventoryDigest([]);

/** See `evolveMessage`. */
export function hearFrom(state: State, context: EventContext): void {
  const isNew = !state.hosts.has(context.hostId);
  const host = hostFor(state, context.hostId, context.bootId, context.atMs);
  host.lastHeardAtMs = Math.max(host.lastHeardAtMs, context.atMs);
  host.suspectUntilMs = 0;
  if (host.isSuspect) clearSuspicion(state, host);
  if (host.state === "lost") revive(state, host);
  if (isNew) askForFullAnnounce(state, host.hostId, "host unknown to the scheduler");
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
  if (isFirst) syncHost(state, host);
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
  syncHost(state, host);
  reviewLeases(state, host);
}

/** Has the next turns look at every lease from or to the host. */
export function reviewLeases(state: State, host: Host): void {
  for (const leaseId of [...host.takingLeaseIds, ...host.servingLeaseIds]) {
    const task = state.tasks.get(state.leases.get(leaseId)?.taskId ?? "");
    task?.leaseIdsToReview.add(leaseId);
    if (task !== undefined) markDirty(state, task);
  }
}

function revive(state: State, host: Host): void {
  host.state = "alive";
  touchHost(state, host);
  syncHost(state, host);
  for (const taskId of host.requests.values()) {
    const task = state.tasks.get(taskId);
    if (task === undefined) continue;
    task.askingIds.add(host.hostId);
    markDirty(state, task);
  }
  wakeHungryTasks(state, host);
}

/** It was heard of, or its time is over: its copies can be read again. */
export function clearSuspicion(state: State, host: Host): void {
  host.isSuspect = false;
  state.work.suspectIds.delete(host.hostId);
  syncHost(state, host);
  wakeHungryTasks(state, host);
}

/** The host is in another idc or rack than before: its copies count there. */
function moveInSwarms(state: State, host: Host): void {
  for (const taskId of host.taskIds) {
    const task = state.tasks.get(taskId);
    const peer = task?.peers.get(host.hostId);
    if (task?.swarm === undefined || peer === undefined) continue;
    moveInSwarm(state, task, peer, host);
    markDirty(state, task);
  }
}

/** A new process: what its predecessor's clients waited for is over; what is on its disk is still there. */
function startBoot(state: State, host: Host, bootId: string): void {
  host.formerBootIds.push(host.bootId);
  if (host.formerBootIds.length > FORMER_BOOTS_MAX) host.formerBootIds.shift();
  host.bootId = bootId;
  for (const [requestId, taskId] of host.requests) {
    const task = state.tasks.get(taskId);
    const peer = task?.peers.get(host.hostId);
    if (task === undefined || peer === undefined) continue;
    if (peer.requests.get(requestId)?.bootId !== bootId) endRequest(state, task, peer, requestId);
  }
  for (const leaseId of host.takingLeaseIds) {
    const lease = state.leases.get(leaseId);
    // A request that overtook the announce belongs to the new process, and so does its lease.
    if (lease === undefined || host.requests.has(lease.requestId)) continue;
    lease.isOrphaned = true;
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
    const task = state.tasks.get(taskId);
    const peer = task?.peers.get(host.hostId);
    const request = peer?.requests.get(requestId);
    if (task === undefined || peer === undefined || request === undefined) continue;
    if (!listed.has(requestId) && request.bootId === host.bootId && request.sequence < sequence) {
      endRequest(state, task, peer, requestId);
    }
  }
}

/** How old a lease is before an announce that does not list it means that its assignment was lost, not that it is under way. */
const ASSIGNMENT_LOST_AFTER_MS = 2_000;

function repeatUnlistedLeases(state: State, host: Host, value: HostAnnounced, atMs: number): void {
  const listed = new Set(value.liveLeaseIds);
  for (const leaseId of host.takingLeaseIds) {
    const lease = state.leases.get(leaseId);
    if (lease === undefined || listed.has(leaseId) || lease.isOrphaned) continue;
    if (atMs - lease.grantedAtMs < ASSIGNMENT_LOST_AFTER_MS) continue;
    tell(state, lease.slice, { kind: "lease", hostId: host.hostId, lease });
  }
}

function compareInventory(state: State, host: Host, value: HostAnnounced, isFirst: boolean): void {
  if (value.inventoryDigest === inventoryDigest(inventoryOf(state, host))) {
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

function* inventoryOf(state: State, host: Host): Generator<InventoryEntry> {
  for (const taskId of host.taskIds) {
    const peer = state.tasks.get(taskId)?.peers.get(host.hostId);
    if (peer === undefined) continue;
    yield { taskId, incarnation: peer.incarnation, heldPieceCount: peer.held.count };
  }
}
