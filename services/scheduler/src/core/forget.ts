import type { Decision } from "@lacewing/contracts/gen/lacewing/decisions/v1/decisions.ts";
import {
  HOST_FORGOTTEN_AFTER_MS,
  RETIRED_TASKS_MAX,
  SWARM_IDLE_MS,
  TASK_FORGOTTEN_AFTER_MS,
  TASK_REMEMBERED_MS,
} from "./limits.ts";
import { takenBy } from "./leases.ts";
import { endRequest, markDirty, touchHost, touchPeer } from "./ledger.ts";
import type { Host, State, Task } from "./state.ts";
import { dropSwarm } from "./swarm/sync.ts";

/** Reason of the `taskRetired` that forgets a task instead of quarantining it: nobody holds, wants or is sent any of it. */
export const UNUSED = "unused";

/**
 * Finds tasks that have been of no use to anybody for long, and has the next turns of their slices forget them. Walks all tasks:
 * for once a minute.
 */
export function sweepTasks(state: State, nowMs: number): void {
  const retired: Task[] = [];
  for (const task of state.tasks.values()) {
    if (task.state === "retired") retired.push(task);
    noteUse(state, task, nowMs);
    const isIdle = task.swarm !== undefined && task.needyIds.size === 0 && task.leaseCount === 0;
    if (isIdle && nowMs - (task.swarm?.retriedAtMs ?? nowMs) > SWARM_IDLE_MS) dropSwarm(task);
  }
  if (retired.length <= RETIRED_TASKS_MAX) return;
  const oldestFirst = retired.toSorted((a, b) => retiredAtMs(a) - retiredAtMs(b));
  for (const task of oldestFirst.slice(0, retired.length - RETIRED_TASKS_MAX)) {
    task.unusedSinceMs = 0;
    task.isForgettable = true;
    markDirty(state, task);
  }
}

/** Whether the task can be forgotten now: a use since the sweep keeps it. */
export function isForgettable(task: Task): boolean {
  return task.isForgettable && (task.state === "retired" || isUnused(task));
}

/** The decision that forgets the task. */
export function forgetting(task: Task): Decision {
  return { kind: { $case: "taskRetired", value: { taskId: task.taskId, reason: UNUSED } } };
}

/** Takes a task that nobody uses out of the state; its rows are marked so by the projection. */
export function forgetTask(state: State, task: Task): void {
  for (const peer of task.peers.values()) {
    for (const requestId of peer.requests.keys()) endRequest(state, task, peer, requestId);
    peer.host.peers.delete(task.taskId);
    touchPeer(state, peer);
  }
  dropSwarm(task);
  state.tasks.delete(task.taskId);
  state.touched.taskIds.add(task.taskId);
  state.work.hungryTaskIds.delete(task.taskId);
  state.work.dirtyTaskIds[task.slice]?.delete(task.taskId);
}

/** Whether a host that is lost or left was silent for so long that its return is not counted on. */
export function isHostForgettable(host: Host, nowMs: number): boolean {
  return (
    host.state !== "alive" &&
    nowMs - host.lastHeardAtMs > HOST_FORGOTTEN_AFTER_MS &&
    host.serving.length === 0 &&
    takenBy(host).length === 0
  );
}

/** Takes a host and its copies out of the state. When it comes back after all it is a new one, and is asked for everything. */
export function forgetHost(state: State, host: Host): void {
  for (const peer of host.peers.values()) {
    const { task } = peer;
    for (const requestId of peer.requests.keys()) endRequest(state, task, peer, requestId);
    task.swarm?.leave(peer);
    task.peers.delete(host.hostId);
    task.holderIds.delete(host.hostId);
    task.needyIds.delete(host.hostId);
    peer.isAsking = false;
    task.promised.delete(peer);
    // Normally it has none: what a lease looks at must not become another peer's.
    if (peer.leases.length === 0) {
      task.pieces.release(peer.held);
      task.pieces.release(peer.leased);
    }
    touchPeer(state, peer);
  }
  state.hosts.delete(host.hostId);
  state.seedIds.delete(host.hostId);
  state.work.suspectIds.delete(host.hostId);
  state.work.silentIds.delete(host.hostId);
  touchHost(state, host);
}

function noteUse(state: State, task: Task, nowMs: number): void {
  const isRetired = task.state === "retired";
  if (!isRetired && !isUnused(task)) {
    task.unusedSinceMs = 0;
    task.isForgettable = false;
    return;
  }
  if (task.unusedSinceMs === 0) task.unusedSinceMs = nowMs;
  const isOld = isRetired
    ? nowMs - retiredAtMs(task) > TASK_REMEMBERED_MS
    : nowMs - task.unusedSinceMs > TASK_FORGOTTEN_AFTER_MS;
  if (!isOld) return;
  task.isForgettable = true;
  markDirty(state, task);
}

/** Nobody holds anything of it, wants it, or has a lease. A request of a lost host counts until the host is forgotten. */
function isUnused(task: Task): boolean {
  if (task.holderIds.size > 0 || task.leaseCount > 0 || task.condemnedReason !== undefined) {
    return false;
  }
  for (const peer of task.peers.values()) if (peer.requests.size > 0) return false;
  return true;
}

/** After a restart the time of retirement is not known, but that of the creation is. */
function retiredAtMs(task: Task): number {
  return Math.max(task.retiredAtMs, task.createdAtMs);
}
