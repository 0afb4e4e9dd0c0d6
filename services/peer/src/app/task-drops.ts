import { CONTENT_DIFFERS } from "@lacewing/contracts/events/reasons.ts";
import type { DropTask } from "@lacewing/contracts/gen/lacewing/assignments/v1/assignments.ts";
import { parseTaskId, type TaskId } from "@lacewing/contracts/ids.ts";
import { messageOf } from "@lacewing/runtime/errors.ts";
import { DownloadFailure } from "./download-errors.ts";
import type { SharedServices } from "./download-services.ts";
import type { PieceStore, StoredTask } from "./ports.ts";
import type { RecentDigests } from "./recent-digests.ts";
import type { TaskDownload } from "./task-download.ts";
import type { UnhurriedLeases } from "./unhurried-leases.ts";

/** A copy that is said to differ, and does not as far as its host sees, is offered again so often; then its host goes on by itself. */
const OFFERED_AGAIN_COUNT_MAX = 3;

/** What the cluster gives up of this host's content, and what the host gives up by itself. */
export class TaskDrops {
  readonly #store: PieceStore;
  readonly #services: Pick<SharedServices, "link" | "log" | "poisoned">;
  readonly #apart: WeakSet<StoredTask>;
  readonly #recentDigests: RecentDigests;
  readonly #offeredAgainCounts = new WeakMap<StoredTask, number>();

  constructor(options: {
    readonly store: PieceStore;
    readonly services: Pick<SharedServices, "link" | "log" | "poisoned">;
    readonly apart: WeakSet<StoredTask>;
    readonly recentDigests: RecentDigests;
  }) {
    this.#store = options.store;
    this.#services = options.services;
    this.#apart = options.apart;
    this.#recentDigests = options.recentDigests;
  }

  /** Obeys the scheduler, but for what its word cannot be about. */
  drop(
    { taskId: text, reason, lengthBytes }: DropTask,
    under: {
      readonly downloads: ReadonlyMap<TaskId, TaskDownload>;
      readonly unhurried: UnhurriedLeases;
    },
  ): void {
    const taskId = parseTaskId(text);
    if (taskId === undefined) return;
    const { log, link, poisoned } = this.#services;
    const stored = this.#store.get(taskId);
    const download = under.downloads.get(taskId);
    if (
      reason === CONTENT_DIFFERS &&
      stored !== undefined &&
      this.#mayBeSame(stored, lengthBytes)
    ) {
      // What differed is gone: this is the others' content.
      this.#offerAgain(stored);
      download?.askAnew();
      return;
    }
    if (stored?.isVerified === true && stored.description.anchor !== undefined) {
      // Its digest was checked here: what others were sent under its name says nothing about it.
      log.warn("verified copy kept", { task: taskId, reason });
      // And it is what others lack, once their content of another length is given up.
      if (reason !== CONTENT_DIFFERS && isOther(stored, lengthBytes)) link.offerAgain(stored);
      else link.withdraw(stored);
      return;
    }
    if (reason === CONTENT_DIFFERS) {
      if (stored !== undefined) this.#part(stored, download);
      return;
    }
    // The scheduler speaks of what others had by this name.
    if (stored !== undefined && this.#apart.has(stored)) return;
    if (stored?.description.anchor !== undefined && isOther(stored, lengthBytes)) {
      log.warn("dropped content was another", { task: taskId, reason, lengthBytes });
      download?.askAnew();
      return;
    }
    // Nobody got on with it, or the origin has something else for some client now: that is no reason to break off those who are here.
    if (reason === "validator_changed" && stored?.description.anchor !== undefined)
      if (download?.stored === stored && download.standApart()) return;
    if (reason === "poisoned") poisoned.note(taskId);
    log.warn("task dropped", { task: taskId, reason });
    under.unhurried.drop(taskId);
    download?.fail(new DownloadFailure(`the task was dropped: ${reason}`));
    if (stored !== undefined) this.forget(stored);
  }

  /** Gives the copy up, unless another has taken its place. */
  forget(stored: StoredTask): void {
    const { taskId } = stored.description;
    if (this.#store.get(taskId) !== stored) return;
    this.#recentDigests.forget(taskId);
    this.#store.remove(taskId).catch((error: unknown) => {
      const text = messageOf(error);
      this.#services.log.error("task could not be removed", { task: taskId, error: text });
    });
  }

  /** Not for ever: host and scheduler may differ in more than the length that they tell each other. */
  #mayBeSame(stored: StoredTask, lengthBytes: number): boolean {
    const count = this.#offeredAgainCounts.get(stored) ?? 0;
    return stored.layout.lengthBytes === lengthBytes && count < OFFERED_AGAIN_COUNT_MAX;
  }

  #offerAgain(stored: StoredTask): void {
    this.#offeredAgainCounts.set(stored, (this.#offeredAgainCounts.get(stored) ?? 0) + 1);
    this.#apart.delete(stored);
    this.#services.link.offerAgain(stored);
  }

  /** What is here stays for this host's own clients: the digest of the whole will tell who is right. */
  #part(stored: StoredTask, download: TaskDownload | undefined): void {
    if (download?.stored === stored) download.standApart();
    else {
      this.#apart.add(stored);
      this.#services.link.withdraw(stored);
    }
  }
}

function isOther({ layout }: StoredTask, lengthBytes: number): boolean {
  return lengthBytes > 0 && lengthBytes !== layout.lengthBytes;
}
