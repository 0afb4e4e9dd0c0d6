import { setImmediate as letOthersRun } from "node:timers/promises";
import { PieceDigests } from "../core/digests.ts";
import { addLease, addRequest, hostFor, peerFor, setKind, updateNeed } from "../core/ledger.ts";
import { newState, newTask, type Request, type State } from "../core/state.ts";
import { leaseNumberOf } from "../core/lease-index.ts";
import { PieceTable } from "../core/piece-sets.ts";
import { Lease } from "../core/lease.ts";
import { isGrantedAhead } from "../core/matching/relays.ts";
import { takeTouched } from "../core/touched.ts";
import { pieceCountOf } from "@lacewing/contracts/pieces.ts";
import type {
  HostRow,
  LeaseRow,
  LiveRequest,
  PeerRow,
  ProjectionSnapshot,
  TaskRow,
} from "./ports.ts";
import { ROWS_PER_TURN_MAX } from "./limits.ts";
import { parsePieces } from "./rows.ts";

/**
 * The state that a projection stands for. What it does not keep (strikes, back-offs, what was said before a description) is
 * forgotten: it costs a retry, and full announces repair the rest.
 *
 * @param nowMs of the scheduler's own time.
 */
export async function stateFromRows(
  snapshot: ProjectionSnapshot,
  nextLeaseNumbers: readonly number[],
  nowMs: number,
): Promise<State> {
  const state = newState(nextLeaseNumbers);
  await eachInTurns(snapshot.hosts, (row) => addHost(state, row, nowMs));
  await eachInTurns(snapshot.tasks, (row) => addTask(state, row));
  await eachInTurns(snapshot.peers, (row) => addPeer(state, row));
  await eachInTurns(snapshot.liveLeases, (row) => addLiveLease(state, row));
  // Nothing of this has changed since it was projected.
  takeTouched(state);
  for (const dirty of state.work.dirtyTaskIds) dirty.clear();
  return state;
}

/** The ownership has to be renewed while hundreds of thousands of rows are read. */
async function eachInTurns<Row>(rows: readonly Row[], add: (row: Row) => void): Promise<void> {
  for (const [at, row] of rows.entries()) {
    add(row);
    if (at % ROWS_PER_TURN_MAX === ROWS_PER_TURN_MAX - 1) await letOthersRun();
  }
}

function addHost(state: State, row: HostRow, nowMs: number): void {
  // Written by a clock that was ahead of ours, it would keep a host alive that is silent for ever.
  const heardAtMs = Math.min(row.announcedAtMs, nowMs);
  const host = hostFor(state, row.hostId, row.bootId, heardAtMs);
  host.isAnnounced = row.transferAddress !== "";
  setKind(state, host, row.kind);
  host.transferAddress = row.transferAddress;
  host.idc = row.idc;
  host.location = row.location;
  host.uploadSlots = row.uploadSlots;
  host.freeBytes = row.freeBytes;
  host.quotaBytes = row.quotaBytes;
  host.state = row.state;
  host.announcedAtMs = row.announcedAtMs;
}

function addTask(state: State, row: TaskRow): void {
  const task = newTask(row.taskId, row.slice, row.createdAtMs);
  task.url = row.url;
  task.sharingDomain = row.sharingDomain;
  task.anchor = row.anchor;
  task.tag = row.tag;
  task.application = row.application;
  task.priority = row.priority;
  task.etag = row.etag;
  task.contentType = row.contentType;
  task.state = row.state;
  task.retiredReason = row.retiredReason;
  task.isCreated = true;
  if (row.lengthBytes !== undefined && row.pieceLengthBytes !== undefined) {
    task.layout = { lengthBytes: row.lengthBytes, pieceLengthBytes: row.pieceLengthBytes };
    task.pieces = new PieceTable(pieceCountOf(task.layout));
    // Nobody asks for the digests of a retired task, and they are not loaded.
    if (row.state !== "retired")
      task.digests = new PieceDigests(pieceCountOf(task.layout), row.pieceDigests);
  }
  state.tasks.set(task.taskId, task);
}

function addPeer(state: State, row: PeerRow): void {
  const task = state.tasks.get(row.taskId);
  if (task === undefined) return;
  const host = hostFor(state, row.hostId, "", 0);
  const peer = peerFor(state, task, host);
  peer.incarnation = row.incarnation;
  peer.held.addBytes(row.bitmap);
  peer.isVerified = row.isVerified;
  peer.isSeeding = row.isSeeding;
  peer.isApart = row.isApart;
  // A copy of a retired task was given up under an incarnation above the host's: when it speaks of it, it is told to drop it.
  peer.isVoided = task.state === "retired" && row.incarnation > 0;
  for (const live of row.requests) {
    addRequest(peer, requestFrom(live, host.bootId));
  }
  if (peer.held.count > 0) task.holderIds.add(host.hostId);
  updateNeed(task, peer);
}

function requestFrom(live: LiveRequest, bootId: string): Request {
  return {
    ...live,
    isOriginOpen: false,
    bootId,
    // Older than every announce that follows the checkpoint.
    sequence: 0,
    originRefusalCount: 0,
    originRefusedUntilMs: 0,
    needsAnswer: true,
    nextAnswerAtMs: 0,
  };
}

function addLiveLease(state: State, row: LeaseRow): void {
  const task = state.tasks.get(row.taskId);
  const child = task?.peers.get(row.childHostId);
  if (task === undefined || child === undefined) return;
  const parent = row.parentHostId === "" ? undefined : hostFor(state, row.parentHostId, "", 0);
  const number = leaseNumberOf(row.leaseId);
  if (!Number.isSafeInteger(number)) return;
  const lease = new Lease({
    number,
    decided: { slice: row.slice, epoch: row.epoch, decidedAtMs: row.grantedAtMs },
    child,
    parent,
    pieces: parsePieces(row.pieces),
    isOpen: row.isOpen,
    requestId: row.requestId,
    reason: row.reason,
    candidateCount: row.candidateCount,
    durationMs: row.durationMs,
    traceparent: row.traceparent,
    isAhead: isGrantedAhead(row.reason),
  });
  lease.bytes = row.bytes;
  lease.transferMs = row.transferMs;
  addLease(state, task, lease);
}
