import type {
  Explanation,
  Host,
  StoryEvent,
} from "@lacewing/contracts/gen/lacewing/scheduler/v1/scheduler.ts";
import { rangesOf } from "@lacewing/contracts/pieces.ts";
import type { Clock } from "@lacewing/runtime/clock.ts";
import { PortError } from "@lacewing/runtime/errors.ts";
import type { DownloadRow, LeaseRow } from "../ports.ts";
import { History } from "./history.ts";
import {
  CLOCK_MARGIN_MS,
  DOWNLOADS_TOLD_MAX,
  LEASES_TOLD_MAX,
  PEERS_TOLD_MAX,
  WAITS_TOLD_MAX,
} from "./limits.ts";
import {
  downloadMessage,
  hostMessage,
  leaseMessage,
  peerMessage,
  pieceCountOfTask,
  taskMessage,
} from "./messages.ts";
import type { LiveView, LogHistory, StoredFacts, TaskFacts } from "./ports.ts";
import { readReason } from "./reasons.ts";
import { inOrder, storyOfRows } from "./story.ts";
import { findSubject, type Refusal } from "./subject.ts";
import { downloadVerdict, leaseVerdict, taskVerdict } from "./verdicts.ts";

export interface ExplainerPorts {
  readonly facts: StoredFacts;
  readonly history: LogHistory;
  /** Undefined while this scheduler does not decide. */
  readonly live: () => LiveView | undefined;
  readonly clock: Clock;
}

/**
 * Answers "why" from stored facts: the rows of the projection, the two logs, and, of the scheduler that decides, its state. What
 * cannot be asked is left out and noted.
 */
export class Explainer {
  readonly #ports: ExplainerPorts;

  constructor(ports: ExplainerPorts) {
    this.#ports = ports;
  }

  /** @throws {PortError} retryable when the database does not answer and memory alone cannot. */
  async explain(id: string): Promise<Explanation | Refusal> {
    const { facts } = this.#ports;
    const live = this.#ports.live();
    const subject = await findSubject(id, facts, live);
    const telling = new Telling(this.#ports, live);
    switch (subject.kind) {
      case "refused":
        return subject;
      case "lease":
        return telling.lease(subject.lease);
      case "task":
        return telling.task(subject.task, subject.notes ?? []);
      case "download":
        return telling.download(subject.download, subject.others);
      default:
        return subject satisfies never;
    }
  }
}

/** One explanation under way. */
class Telling {
  readonly #facts: StoredFacts;
  readonly #live: LiveView | undefined;
  readonly #history: History;
  readonly #notes: string[] = [];

  constructor(ports: ExplainerPorts, live: LiveView | undefined) {
    this.#facts = ports.facts;
    this.#live = live;
    this.#history = new History(ports.history, ports.clock, (note) => this.#note(note));
    if (live === undefined)
      this.#note("this scheduler does not decide now: the answer is from stored facts only");
  }

  async lease(row: LeaseRow): Promise<Explanation> {
    const live = this.#live?.lease(row.leaseId);
    const lease = leaseMessage(live?.row ?? row);
    const remaining = rangesOf(live?.remaining ?? []);
    const task = await this.#stored(() => this.#facts.task(row.taskId), undefined);
    const hosts = await this.#hosts([row.childHostId, row.parentHostId]);
    const position = await this.#history.positionOf(row);
    return this.#explanation(leaseVerdict(lease, live?.remaining.length ?? 0), {
      $case: "lease",
      value: {
        lease,
        task: task === undefined ? undefined : taskMessage(task),
        child: hosts.get(row.childHostId),
        parent: hosts.get(row.parentHostId),
        position,
        passedOver: [...readReason(lease.reason).passedOver],
        remaining,
      },
    });
  }

  async task(found: TaskFacts, notes: readonly string[]): Promise<Explanation> {
    for (const note of notes) this.#note(note);
    const live = this.#live?.task(found.taskId, WAITS_TOLD_MAX);
    const facts = live?.task ?? found;
    const { taskId } = facts;
    const task = taskMessage(facts);
    const rows = await this.#stored(() => this.#facts.leasesOfTask(taskId, LEASES_TOLD_MAX), []);
    const leases = newest(rows, live?.leases ?? []).map(leaseMessage);
    const sums = await this.#stored(() => this.#facts.leaseSums(taskId), undefined);
    const page = { after: "", limit: PEERS_TOLD_MAX };
    const peers = await this.#stored(() => this.#facts.peers(taskId, page), []);
    const peerSums = await this.#stored(
      () => this.#facts.peerSums(taskId, pieceCountOfTask(facts)),
      undefined,
    );
    const downloads = await this.#stored(
      () => this.#facts.downloadsOfTask(taskId, DOWNLOADS_TOLD_MAX),
      [],
    );
    const told = await this.#history.storyOf(facts);
    this.#noteCut(sums?.leaseCount ?? 0, leases.length, "leases", "newest");
    this.#noteCut(peerSums?.peerCount ?? 0, peers.length, "peers", "first");
    this.#noteCut(live?.waitCount ?? 0, live?.waits.length ?? 0, "waiting hosts", "first");
    const story = {
      task,
      peers: peers.map(peerMessage),
      peerCount: peerSums?.peerCount ?? 0,
      completePeerCount: peerSums?.completePeerCount ?? 0,
      gonePeerCount: peerSums?.gonePeerCount ?? 0,
      holderCount: peerSums?.holderCount ?? 0,
      goneCompletePeerCount: peerSums?.goneCompletePeerCount ?? 0,
      goneHolderCount: peerSums?.goneHolderCount ?? 0,
      inFlight: leases.filter((lease) => lease.outcome === "live"),
      totals: sums,
      originCopies: copies(sums?.backToSourceBytes ?? 0, facts.lengthBytes ?? 0),
      waits: [...(live?.waits ?? [])],
      story: this.#ordered([...told, ...storyOfRows(task, leases, downloads.map(downloadMessage))]),
    };
    return this.#explanation(taskVerdict(story, task, this.#live !== undefined), {
      $case: "task",
      value: story,
    });
  }

  async download(row: DownloadRow, others: readonly DownloadRow[]): Promise<Explanation> {
    const download = downloadMessage(row);
    const { downloadId, taskId, hostId, startedAtMs, costMs } = download;
    const span = {
      downloadId,
      taskId,
      hostId,
      fromMs: startedAtMs - CLOCK_MARGIN_MS,
      toMs: startedAtMs + costMs + CLOCK_MARGIN_MS,
    };
    const rows = taskId === "" ? [] : await this.#facts.leasesOfDownload(span, LEASES_TOLD_MAX + 1);
    const leases = rows.slice(0, LEASES_TOLD_MAX).map(leaseMessage);
    if (rows.length > leases.length)
      this.#note(`only the first ${leases.length} leases of this download are told`);
    if (others.length > 0)
      this.#note(
        `the trace has more downloads: ${others.map((other) => other.download.downloadId).join(", ")}`,
      );
    const task =
      taskId === "" ? undefined : await this.#stored(() => this.#facts.task(taskId), undefined);
    const told = task === undefined ? [] : await this.#history.storyOfDownload(task, span, leases);
    return this.#explanation(downloadVerdict(download, leases), {
      $case: "download",
      value: {
        download,
        leases,
        leaseCount: leases.length,
        story: this.#ordered([...told, ...storyOfRows(undefined, leases, [download])]),
      },
    });
  }

  #explanation(verdict: string, subject: NonNullable<Explanation["subject"]>): Explanation {
    return { verdict, notes: this.#notes, isLive: this.#live !== undefined, subject };
  }

  #ordered(events: readonly StoryEvent[]): StoryEvent[] {
    const { story, leftOutCount } = inOrder(events);
    if (leftOutCount > 0)
      this.#note(`${leftOutCount} entries in the middle of the story are left out`);
    return story;
  }

  async #hosts(hostIds: readonly string[]): Promise<ReadonlyMap<string, Host>> {
    const named = hostIds.filter((hostId) => hostId !== "");
    const rows = await this.#stored(() => this.#facts.hostsNamed(named), []);
    return new Map(
      rows.map((row) => [row.hostId, hostMessage(row, this.#live?.hostLoad(row.hostId))]),
    );
  }

  /** What the database says; without it, what is known anyway. */
  async #stored<Result, Without>(
    read: () => Promise<Result>,
    without: Without,
  ): Promise<Result | Without> {
    try {
      return await read();
    } catch (error) {
      if (!(error instanceof PortError) || !error.retryable) throw error;
      this.#note("the database does not answer: what only it knows is missing");
      return without;
    }
  }

  #noteCut(count: number, toldCount: number, what: string, which: string): void {
    if (count > toldCount) this.#note(`of ${count} ${what} the ${which} ${toldCount} are told`);
  }

  #note(note: string): void {
    if (!this.#notes.includes(note)) this.#notes.push(note);
  }
}

/** The projection lags behind the state by a moment: what both know, the state knows better. */
function newest(stored: readonly LeaseRow[], live: readonly LeaseRow[]): readonly LeaseRow[] {
  const byId = new Map<string, LeaseRow>(stored.map((row) => [row.leaseId, row]));
  for (const row of live) byId.set(row.leaseId, row);
  return [...byId.values()]
    .toSorted((a, b) => a.grantedAtMs - b.grantedAtMs)
    .slice(-LEASES_TOLD_MAX);
}

function copies(bytes: number, lengthBytes: number): number {
  return lengthBytes === 0 ? 0 : bytes / lengthBytes;
}
