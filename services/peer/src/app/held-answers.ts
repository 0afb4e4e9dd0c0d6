import type { Clock } from "@lacewing/runtime/clock.ts";
import { headerOf } from "../core/http-headers.ts";
import type { Flow } from "./download-answers.ts";
import { type DownloadTarget, wantsWhole } from "./download-target.ts";
import { HIT_STATUS, type HitSubject, type HitTally, TALLIED_BYTES_MAX } from "./hit-tally.ts";
import type { PoisonedTasks } from "./poisoned-tasks.ts";
import type {
  ClientRequest,
  DownloadAnswer,
  PieceStore,
  RepeatableAnswer,
  RepeatedAnswer,
  StoredTask,
} from "./ports.ts";

interface HeldAnswersOptions {
  readonly store: PieceStore;
  readonly poisoned: PoisonedTasks;
  readonly tally: HitTally;
  readonly clock: Clock;
}

/** Whole answers from what this host holds: which of them are summed up, and which can be given again as they are. */
export class HeldAnswers {
  readonly #options: HeldAnswersOptions;

  constructor(options: HeldAnswersOptions) {
    this.#options = options;
  }

  /** Where a request is summed up that will be a hit as far as anybody can tell; `undefined`: it is recorded by itself. */
  tallyOf(request: ClientRequest, { anchoredTaskId }: DownloadTarget): HitTally | undefined {
    const stored =
      anchoredTaskId === undefined ? undefined : this.#options.store.get(anchoredTaskId);
    if (stored === undefined || stored.description.lengthBytes > TALLIED_BYTES_MAX)
      return undefined;
    const isHit = stored.isVerified && stored.held.isFull && wantsWhole(request);
    // Who traces his request looks for it.
    if (!isHit || headerOf(request.headers, "traceparent") !== undefined) return undefined;
    return this.#options.tally.takeRecord() ? undefined : this.#options.tally;
  }

  /** The answer with a way to give it again, where everybody may have it and all of it is in memory. */
  repeatable(flow: Flow, stored: StoredTask, answer: DownloadAnswer): DownloadAnswer {
    const { request, target } = flow;
    const isForAll = target.rule.access === "public" && answer.status === HIT_STATUS;
    if (!isForAll || !wantsWhole(request) || !stored.isVerified) return answer;
    if (stored.inMemory?.() === undefined) return answer;
    return { ...answer, again: new HeldAnswer(this.#options, stored, target) };
  }
}

/** One whole content in memory for whoever asks, as long as it is the very copy that was answered with before. */
class HeldAnswer implements RepeatableAnswer {
  readonly #options: HeldAnswersOptions;
  readonly #stored: StoredTask;
  readonly #incarnation: number;
  readonly #subject: HitSubject;

  constructor(options: HeldAnswersOptions, stored: StoredTask, target: DownloadTarget) {
    this.#options = options;
    this.#stored = stored;
    this.#incarnation = stored.incarnation;
    const { tag, application, priority } = target.rule;
    const { taskId, lengthBytes: contentLengthBytes } = stored.description;
    this.#subject = {
      taskId,
      url: target.shownUrl,
      contentLengthBytes,
      tag,
      application,
      priority,
    };
  }

  begin(receivedAtMs: number): RepeatedAnswer | undefined {
    const { tally, clock } = this.#options;
    const content = tally.hasRecord ? undefined : this.#content();
    if (content === undefined) return undefined;
    const unpin = this.#stored.pin();
    const elapsedMs = (): number => Math.max(0, Math.round(clock.monotonic() - receivedAtMs));
    const startedAtMs = Math.round(clock.now());
    const ttfbMs = elapsedMs();
    return {
      content,
      ended: (end, deliveredBytes) => {
        unpin();
        const outcome = end === "complete" ? "finished" : "client_gone";
        const costMs = elapsedMs();
        tally.add(this.#subject, { outcome, deliveredBytes, startedAtMs, ttfbMs, costMs });
      },
    };
  }

  #content(): Uint8Array | undefined {
    const { store, poisoned } = this.#options;
    const { taskId } = this.#subject;
    const isSame =
      store.get(taskId) === this.#stored && this.#stored.incarnation === this.#incarnation;
    if (!isSame || !this.#stored.isVerified || poisoned.has(taskId)) return undefined;
    return this.#stored.inMemory?.();
  }
}
