import type { Digest } from "@lacewing/contracts/ids.ts";
import { AnchorMismatch } from "./download-errors.ts";
import type { DownloadServices } from "./download-services.ts";
import type { StoredTask } from "./ports.ts";

/** What the check of a content tells its owner. */
export interface ContentCheckEvents {
  /** It could not be hashed. */
  failed(error: unknown): void;
  /** It is not what its anchor says, and was given up. */
  mismatched(error: AnchorMismatch): void;
  /** The check is over, however it ended. */
  ended(): void;
}

/** Hashes the whole content once it is complete, and gives it up when it is not what its anchor says. */
export class ContentCheck {
  readonly #stored: StoredTask;
  readonly #services: DownloadServices;
  readonly #events: ContentCheckEvents;
  #isRunning = false;

  constructor(stored: StoredTask, services: DownloadServices, events: ContentCheckEvents) {
    this.#stored = stored;
    this.#services = services;
    this.#events = events;
  }

  get isRunning(): boolean {
    return this.#isRunning;
  }

  /** Begins when everything is here and was not checked yet. */
  whenComplete(): void {
    const { held, isVerified } = this.#stored;
    if (!held.isFull || isVerified || this.#isRunning) return;
    this.#isRunning = true;
    this.#check()
      .catch((error: unknown) => this.#events.failed(error))
      .finally(() => {
        this.#isRunning = false;
        this.#events.ended();
      });
  }

  async #check(): Promise<void> {
    const { taskId, anchor } = this.#stored.description;
    const digest = await this.#stored.contentDigest();
    if (anchor !== undefined && digest !== anchor) {
      this.#giveUp(anchor, digest);
      return;
    }
    await this.#stored.markVerified();
    const { poisoned, link, apart } = this.#services;
    poisoned.forgive(taskId);
    // What others had by this name may be gone by now: it was not what the anchor says.
    if (apart.delete(this.#stored)) link.offerAgain(this.#stored);
    else link.taskVerified(this.#stored, digest);
  }

  #giveUp(anchor: Digest, digest: Digest): void {
    const { log, poisoned, link, forget, apart } = this.#services;
    const { taskId } = this.#stored.description;
    log.error("content does not agree with its anchor", { task: taskId, anchor, digest });
    poisoned.note(taskId);
    if (!apart.has(this.#stored)) link.taskPoisoned(taskId, anchor, digest);
    const text = `the content has digest ${digest}, its anchor is ${anchor}`;
    this.#events.mismatched(new AnchorMismatch(text));
    forget(this.#stored);
  }
}
