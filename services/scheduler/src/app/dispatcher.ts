import {
  type Assignment,
  AssignmentMessage,
  type TaskInfo,
} from "@lacewing/contracts/gen/lacewing/assignments/v1/assignments.ts";
import { parseHostId } from "@lacewing/contracts/ids.ts";
import { indexesOf, rangesOf } from "@lacewing/contracts/pieces.ts";
import { HOST_SLICE } from "@lacewing/contracts/slices.ts";
import type { Clock } from "@lacewing/runtime/clock.ts";
import type { Answer } from "../core/answer.ts";
import { delegateOf } from "../core/delegate.ts";
import type { Lease } from "../core/lease.ts";
import type { State, Task } from "../core/state.ts";
import {
  ASSIGNMENT_MESSAGE_BYTES_MAX,
  RECEIPTS_PER_MESSAGE_MAX,
  AHEAD_TOKEN_GRACE_MS,
  TOKEN_GRACE_MS,
} from "./limits.ts";
import type { AssignmentSender, DownloadRow, LeaseSigner } from "./ports.ts";
import type { ScheduleSpans } from "./schedule-spans.ts";

/** The format of assignment messages that this code writes. */
export const ASSIGNMENT_VERSION = 1;

/** Turns answers into assignments and sends them, packed by host. */
export class Dispatcher {
  readonly #state: State;
  readonly #ports: {
    readonly sender: AssignmentSender;
    readonly signer: LeaseSigner;
    readonly clock: Clock;
  };
  readonly #spans: ScheduleSpans;

  constructor(
    state: State,
    ports: {
      readonly sender: AssignmentSender;
      readonly signer: LeaseSigner;
      readonly clock: Clock;
    },
    spans: ScheduleSpans,
  ) {
    this.#state = state;
    this.#ports = ports;
    this.#spans = spans;
  }

  /** Call it when the decisions that the answers rest on are in the log. */
  send(slice: number, epoch: number, answers: readonly Answer[]): void {
    const packs = new Map<string, Assignment[]>();
    for (const answer of answers) {
      const assignment = this.#assignment(answer);
      if (assignment === undefined) continue;
      const pack = packs.get(answer.hostId);
      if (pack === undefined) packs.set(answer.hostId, [assignment]);
      else pack.push(assignment);
    }
    for (const [hostId, list] of packs) this.#sendPack(slice, epoch, hostId, list);
    for (const answer of answers) this.#spans.end(answer);
  }

  /** Tells hosts which download facts are safe in Postgres. */
  sendReceipts(epoch: number, downloads: readonly DownloadRow[]): void {
    const byHost = Map.groupBy(downloads, (row) => row.hostId);
    for (const [hostId, rows] of byHost) {
      for (let at = 0; at < rows.length; at += RECEIPTS_PER_MESSAGE_MAX) {
        const downloadIds = rows
          .slice(at, at + RECEIPTS_PER_MESSAGE_MAX)
          .map((row) => row.download.downloadId);
        const list: Assignment[] = [{ kind: { $case: "receipts", value: { downloadIds } } }];
        this.#sendPack(HOST_SLICE, epoch, hostId, list);
      }
    }
  }

  /** A message travels under the trace of its first lease; each lease names its own. */
  #sendPack(slice: number, epoch: number, to: string, list: readonly Assignment[]): void {
    const hostId = parseHostId(to);
    if (hostId === undefined) return;
    const message: AssignmentMessage = {
      version: ASSIGNMENT_VERSION,
      slice,
      epoch,
      assignments: [...list],
    };
    const isSmall =
      list.length < 2 ||
      AssignmentMessage.encode(message).finish().length <= ASSIGNMENT_MESSAGE_BYTES_MAX;
    if (isSmall) {
      this.#ports.sender.send(hostId, message, traceparentOf(list));
      return;
    }
    const middle = list.length >> 1;
    this.#sendPack(slice, epoch, to, list.slice(0, middle));
    this.#sendPack(slice, epoch, to, list.slice(middle));
  }

  #assignment(answer: Answer): Assignment | undefined {
    switch (answer.kind) {
      case "lease":
        // It may have ended while its decision was on its way to the log.
        return answer.lease.outcome === "live" ? this.#lease(answer.lease) : undefined;
      case "pending": {
        const { kind: _kind, hostId: _hostId, ...value } = answer;
        return { kind: { $case: "pending", value } };
      }
      case "lease_end": {
        const { leaseId, taskId, reason } = answer;
        return { kind: { $case: "leaseEnd", value: { leaseId, taskId, reason } } };
      }
      case "recheck":
        return {
          kind: {
            $case: "recheck",
            value: { taskId: answer.taskId, pieceIndexes: [...answer.pieceIndexes] },
          },
        };
      case "drop_task": {
        const { taskId, reason, lengthBytes } = answer;
        return { kind: { $case: "dropTask", value: { taskId, reason, lengthBytes } } };
      }
      case "digests":
        return this.#digests(answer.taskId, answer.pieceIndexes);
      case "announce_full":
        return { kind: { $case: "announceFull", value: { reason: answer.reason } } };
      default:
        return answer satisfies never;
    }
  }

  #digests(taskId: string, pieceIndexes: readonly number[]): Assignment | undefined {
    const known = this.#state.tasks.get(taskId)?.digests;
    if (known === undefined) return undefined;
    const value = {
      taskId,
      pieces: rangesOf(pieceIndexes),
      digests: known.concatenated(pieceIndexes),
    };
    return { kind: { $case: "pieceDigests", value } };
  }

  #lease(lease: Lease): Assignment {
    const task = this.#state.tasks.get(lease.taskId);
    const parent = this.#state.hosts.get(lease.parentHostId);
    const isFromOrigin = lease.parentHostId === "";
    const { leaseId, taskId, childHostId, parentHostId, durationMs, reason } = lease;
    const pieces = [...lease.pieces];
    const graceMs = lease.isAhead ? AHEAD_TOKEN_GRACE_MS : TOKEN_GRACE_MS;
    const expiresAtMs = Math.round(this.#ports.clock.now()) + durationMs + graceMs;
    const claims = {
      leaseId,
      taskId,
      childHostId,
      parentHostId,
      pieces,
      expiresAtMs,
      degraded: false,
      ahead: lease.isAhead,
    };
    return {
      kind: {
        $case: "lease",
        value: {
          leaseId,
          taskId,
          parentHostId,
          parentAddress: parent?.transferAddress ?? "",
          pieces,
          open: lease.isOpen,
          pieceDigests: isFromOrigin
            ? new Uint8Array()
            : (task?.digests?.concatenated(indexesOf(pieces)) ?? new Uint8Array()),
          lengthBytes: task?.layout?.lengthBytes ?? 0,
          pieceLengthBytes: task?.layout?.pieceLengthBytes ?? 0,
          durationMs,
          reason,
          token: isFromOrigin ? "" : this.#ports.signer.sign(claims),
          traceparent: lease.traceparent,
          requestId: lease.requestId,
          task: task === undefined ? undefined : taskInfo(task),
          delegateTo: isFromOrigin ? delegateOf(this.#state, lease) : undefined,
          ahead: lease.isAhead,
        },
      },
    };
  }
}

/** What a host has to know of a task that no client of its own asked for. */
function taskInfo(task: Task): TaskInfo {
  const { url, sharingDomain, anchor, etag, contentType, tag, application, priority } = task;
  return { url, sharingDomain, anchor, etag, contentType, tag, application, priority };
}

function traceparentOf(list: readonly Assignment[]): string {
  const lease = list.find(({ kind }) => kind?.$case === "lease" && kind.value.traceparent !== "");
  return lease?.kind?.$case === "lease" ? lease.kind.value.traceparent : "";
}
