import type { ByteSpan } from "@lacewing/contracts/pieces.ts";
import { isCovered } from "../core/fetch-plan.ts";
import type { AttachedRequest, AttachedRequests } from "./attached-requests.ts";
import { BACKGROUND_MS_MAX } from "./background.ts";
import type { DownloadServices } from "./download-services.ts";
import { type ReadableTask, TaskReader } from "./task-reader.ts";

/** Requests of one task whose clients are gone, and which the background goes on with. */
export class Heirs {
  readonly #task: ReadableTask;
  readonly #requests: AttachedRequests;
  readonly #services: DownloadServices;
  /** Each with what ends the watch over its time. */
  readonly #watches = new Map<TaskReader, AbortController>();

  constructor(task: ReadableTask, requests: AttachedRequests, services: DownloadServices) {
    this.#task = task;
    this.#requests = requests;
    this.#services = services;
  }

  /** @returns whether the background takes over from a client that leaves; it is detached later then. */
  takeOver(reader: TaskReader, isComplete: boolean): boolean {
    const left = this.#requests.get(reader);
    const heir = left === undefined ? undefined : heirOf(left, isComplete, this.#task);
    if (left === undefined || heir === undefined || this.#task.failure !== undefined) return false;
    if (this.#requests.isBequeathed(heir.reader.spans)) return false;
    const { background, link, log } = this.#services;
    const { taskId: task } = this.#task.stored.description;
    if (!background.begin()) {
      log.info("not completed in the background: enough is", { task });
      return false;
    }
    this.#requests.replace(left, heir);
    this.#watch(heir.reader);
    log.info("completing in the background", { task, request: heir.asked.requestId });
    if (heir.asked !== left.asked) {
      heir.isAsked = true;
      link.request([{ request: heir.asked, traceparent: heir.traceparent }]);
    }
    return true;
  }

  /** Closes the accounts of what the background has brought, or will not bring. */
  settle(): void {
    const isOver = this.#task.failure !== undefined;
    for (const reader of this.#watches.keys())
      if (isOver || isHeld(reader.spans, this.#task)) this.#end(reader, !isOver);
  }

  /** Whether or not anything comes meanwhile. */
  #watch(reader: TaskReader): void {
    const watch = new AbortController();
    this.#watches.set(reader, watch);
    this.#services.clock.sleep(BACKGROUND_MS_MAX, watch.signal).then(
      () => this.#end(reader, false),
      () => undefined,
    );
  }

  #end(reader: TaskReader, isComplete: boolean): void {
    const watch = this.#watches.get(reader);
    if (watch === undefined) return;
    this.#watches.delete(reader);
    watch.abort("ended");
    this.#services.background.ended();
    reader.detach(isComplete);
  }
}

/**
 * What a client that leaves bequeaths to the background, as its rule says: what it had begun to get when it broke off, or the
 * whole content when it got a part of it. The request's account, credentials and name go with it.
 *
 * @returns `undefined` when nothing is to be done.
 */
function heirOf(
  left: AttachedRequest,
  isComplete: boolean,
  task: ReadableTask,
): AttachedRequest | undefined {
  if (left.isBackground === true || left.isPlace === true) return undefined;
  const { lengthBytes } = task.stored.layout;
  const isMore = left.prefetch === true;
  if (!isMore && (isComplete || left.keepOnAbort !== true)) return undefined;
  const spans = isMore ? [{ start: 0, end: lengthBytes }] : left.reader.spans;
  if (isHeld(spans, task)) return undefined;
  const signal = new AbortController().signal;
  return {
    ...left,
    reader: new TaskReader({ spans, task, withheldFrom: undefined, signal }),
    asked: isMore
      ? { ...left.asked, wantedStart: 0, wantedEnd: lengthBytes, originOpen: false }
      : left.asked,
    isBackground: true,
  };
}

/** Whether everything that a request is for is here. */
function isHeld(spans: readonly ByteSpan[], { stored }: ReadableTask): boolean {
  return spans.every((span) => isCovered(stored.layout, stored.held, span));
}
