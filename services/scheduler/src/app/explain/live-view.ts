import type { PassedOver, Wait } from "@lacewing/contracts/gen/lacewing/scheduler/v1/scheduler.ts";
import { remainingOf, takenBy } from "../../core/leases.ts";
import { originReader } from "../../core/matching/origin.ts";
import { policyFor } from "../../core/matching/policy.ts";
import { hasFreeSlot } from "../../core/matching/view.ts";
import { isUsableHolder, whyWaiting } from "../../core/matching/why-waiting.ts";
import type { Host, Peer, State, Task } from "../../core/state.ts";
import { wantedPieces } from "../../core/wanted.ts";
import { leaseRow, taskRow } from "../rows.ts";
import { HOLDERS_ASKED_MAX, PASSED_OVER_NAMES_MAX, WANTED_ASKED_MAX } from "./limits.ts";
import type { LiveView } from "./ports.ts";

/** What the state of the scheduler that decides says now. Nothing of the state is changed. */
export function liveViewOf(state: State, nowMs: number): LiveView {
  return {
    lease: (leaseId) => {
      const lease = state.leases.get(leaseId) ?? state.touched.leases.get(leaseId);
      if (lease === undefined) return undefined;
      const remaining = lease.outcome === "live" ? remainingOf(lease) : [];
      return { row: leaseRow(lease), remaining };
    },
    task: (taskId, waitsMax) => {
      const task = state.tasks.get(taskId);
      if (task === undefined) return undefined;
      const waiting = waitingPeers(state, task);
      const { pieceDigests: _, ...facts } = taskRow(task);
      return {
        task: facts,
        leases: leasesOf(state, task).map(leaseRow),
        waits: waiting.slice(0, waitsMax).map((peer) => waitOf({ state, task, nowMs }, peer)),
        waitCount: waiting.length,
      };
    },
    request: (requestId) => {
      for (const { hostId, requests } of state.hosts.values()) {
        const taskId = requests.get(requestId);
        if (taskId !== undefined) return { hostId, taskId };
      }
      return undefined;
    },
    hostLoad: (hostId) => {
      const host = state.hosts.get(hostId);
      return host === undefined
        ? undefined
        : {
            servingLeaseCount: host.serving.length,
            takingLeaseCount: takenBy(host).length,
            taskCount: host.peers.size,
          };
    },
  };
}

interface View {
  readonly state: State;
  readonly task: Task;
  readonly nowMs: number;
}

function leasesOf(state: State, task: Task) {
  const live = [...task.peers.values()].flatMap((peer) => peer.leases);
  const ended = [...state.touched.leases.values()].filter(
    (lease) => lease.taskId === task.taskId && lease.outcome !== "live",
  );
  return [...live, ...ended];
}

/** Children that want something and are given nothing now. */
function waitingPeers(state: State, task: Task): readonly Peer[] {
  if (task.state === "retired") return [];
  const waiting: Peer[] = [];
  for (const hostId of task.needyIds) {
    const peer = task.peers.get(hostId);
    if (peer === undefined || peer.leases.length > 0) continue;
    if (state.hosts.get(hostId)?.state === "alive") waiting.push(peer);
  }
  return waiting;
}

function waitOf(view: View, child: Peer): Wait {
  const { task } = view;
  if (task.layout === undefined) {
    return {
      hostId: child.hostId,
      wantedPieceCount: 0,
      reason: undescribedReason(view, child),
      passedOver: [],
    };
  }
  const wanted = [...wantedPieces(task, child)];
  return {
    hostId: child.hostId,
    wantedPieceCount: wanted.length,
    reason: whyWaiting(view, child),
    passedOver: passedOverNow(view, child, wanted.slice(0, WANTED_ASKED_MAX)),
  };
}

function undescribedReason(view: View, child: Peer): string {
  const { state, task, nowMs } = view;
  const opening = state.leases.get(task.openLeaseId ?? "");
  if (opening !== undefined)
    return `content not described yet: ${opening.childHostId} reads it under lease ${opening.leaseId}`;
  return originReader(child, nowMs) === undefined
    ? "content not described yet, and none of the host's requests may read the origin now"
    : "content not described yet";
}

/** Holders that cannot serve the child now, by why. */
function passedOverNow(view: View, child: Peer, wanted: readonly number[]): PassedOver[] {
  const byReason = new Map<string, PassedOver>();
  let asked = 0;
  for (const hostId of view.task.holderIds) {
    if (hostId === child.hostId) continue;
    if (++asked > HOLDERS_ASKED_MAX) break;
    const reason = unfitReason(view, child, hostId, wanted);
    if (reason === undefined) continue;
    const counted = byReason.get(reason) ?? { reason, count: 0, hostIds: [] };
    counted.count++;
    if (counted.hostIds.length < PASSED_OVER_NAMES_MAX) counted.hostIds.push(hostId);
    byReason.set(reason, counted);
  }
  return [...byReason.values()].toSorted((a, b) => b.count - a.count);
}

function unfitReason(
  view: View,
  child: Peer,
  hostId: string,
  wanted: readonly number[],
): string | undefined {
  const { state, task, nowMs } = view;
  const host = state.hosts.get(hostId);
  const holder = task.peers.get(hostId);
  if (host === undefined || holder === undefined) return "unknown";
  if (!isUsableHolder(view, hostId)) return unusableReason(host, holder);
  if ((child.avoided?.get(hostId)?.untilMs ?? 0) > nowMs) return "failed this child a moment ago";
  if (!hasFreeSlot(host, task, policyFor(task))) return "all its upload slots are taken";
  for (const piece of wanted) if (holder.held.has(piece)) return undefined;
  return "holds nothing that the child wants";
}

function unusableReason(host: Host, holder: Peer): string {
  if (host.state !== "alive") return host.state === "left" ? "stopped" : "lost";
  if (!host.isAnnounced) return "has not announced itself yet";
  if (host.isSuspect) return "could not be reached a moment ago";
  if (holder.isApart) return "was given content of another length by its origin";
  return holder.isStruck
    ? "sent several hosts wrong bytes, or not what it reported"
    : "cannot be used";
}
