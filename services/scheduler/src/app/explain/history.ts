import type { DecisionMessage } from "@lacewing/contracts/gen/lacewing/decisions/v1/decisions.ts";
import type {
  DecisionPosition,
  Lease,
  StoryEvent,
} from "@lacewing/contracts/gen/lacewing/scheduler/v1/scheduler.ts";
import type { Clock } from "@lacewing/runtime/clock.ts";
import { PortError } from "@lacewing/runtime/errors.ts";
import type { LeaseRow } from "../ports.ts";
import { HISTORY_MARGIN_MS, HISTORY_MESSAGES_MAX, HISTORY_MS_MAX } from "./limits.ts";
import type { DownloadSpan, LogHistory, TaskFacts } from "./ports.ts";
import { storyOfDecisions, storyOfEvents } from "./story.ts";

/** What the two logs tell beyond the rows. They keep less than the database, and are read within limits. */
export class History {
  readonly #log: LogHistory;
  readonly #clock: Clock;
  readonly #note: (text: string) => void;

  /** @param note takes what the reader of the explanation has to know. */
  constructor(log: LogHistory, clock: Clock, note: (text: string) => void) {
    this.#log = log;
    this.#clock = clock;
    this.#note = note;
  }

  /** Where the decision that granted a lease stands in the logs. */
  async positionOf(lease: LeaseRow): Promise<DecisionPosition | undefined> {
    let found: DecisionPosition | undefined;
    const untilMs = lease.grantedAtMs + HISTORY_MARGIN_MS;
    await this.#read(
      this.#log.decisions(lease.slice, lease.grantedAtMs - HISTORY_MARGIN_MS),
      (stored) => {
        if (!hasGrant(stored.message, lease.leaseId)) return stored.message.decidedAtMs > untilMs;
        found = {
          decisionsSequence: stored.streamSequence,
          eventsSequence: stored.message.eventsSequence,
          decidedAtMs: stored.message.decidedAtMs,
        };
        return true;
      },
    );
    if (found === undefined) this.#note("the decision log no longer keeps the grant");
    return found;
  }

  /** What hosts said of the task, and what was decided of it besides leases. */
  async storyOf(task: TaskFacts): Promise<readonly StoryEvent[]> {
    const fromMs = task.createdAtMs - HISTORY_MARGIN_MS;
    const events: StoryEvent[] = [];
    await this.#read(this.#log.events(task.slice, fromMs), (stored) => {
      events.push(...storyOfEvents(stored, task.taskId));
      return false;
    });
    await this.#read(this.#log.decisions(task.slice, fromMs), (stored) => {
      events.push(...storyOfDecisions(stored.message, task.taskId));
      return false;
    });
    return events;
  }

  /** What the download's host said of it and of its leases while it ran. */
  async storyOfDownload(
    task: TaskFacts,
    span: DownloadSpan,
    leases: readonly Lease[],
  ): Promise<readonly StoryEvent[]> {
    const leaseIds = new Set(leases.map((lease) => lease.leaseId));
    const events: StoryEvent[] = [];
    await this.#read(this.#log.events(task.slice, span.fromMs), (stored) => {
      if (stored.storedAtMs > span.toMs + HISTORY_MARGIN_MS) return true;
      for (const event of storyOfEvents(stored, task.taskId)) {
        if (event.hostId !== span.hostId || event.kind === "dropped") continue;
        const isOfOtherLease = event.leaseId !== "" && !leaseIds.has(event.leaseId);
        const isOfOtherRequest = event.requestId !== "" && event.requestId !== span.downloadId;
        if (!isOfOtherLease && !isOfOtherRequest) events.push(event);
      }
      return false;
    });
    return events;
  }

  /** Reads until `take` has enough, the log ends, or a limit is met. A broker that is away leaves a note, nothing else. */
  async #read<Stored>(
    log: AsyncIterable<Stored>,
    take: (stored: Stored) => boolean,
  ): Promise<void> {
    const deadlineMs = this.#clock.monotonic() + HISTORY_MS_MAX;
    let count = 0;
    try {
      for await (const stored of log) {
        if (take(stored)) return;
        if (++count < HISTORY_MESSAGES_MAX && this.#clock.monotonic() < deadlineMs) continue;
        this.#note(`the log was read for ${count} messages only: later ones are left out`);
        return;
      }
    } catch (error) {
      if (!(error instanceof PortError)) throw error;
      this.#note("the broker's logs could not be read: what only they keep is missing");
    }
  }
}

function hasGrant(message: DecisionMessage, leaseId: string): boolean {
  return message.decisions.some(
    ({ kind }) => kind?.$case === "leaseGranted" && kind.value.leaseId === leaseId,
  );
}
