import { PENDING_NEXT_BY_MS_MAX } from "@lacewing/contracts/limits.ts";
import type { Clock } from "@lacewing/runtime/clock.ts";
import { BlockedReader } from "../core/blocked-reader.ts";

/** After a lease ended or new demand arose, the scheduler has this long to say what comes next. */
const NEXT_WORD_MS = 1000;
/** How long a repeated request waits before silence is concluded; a quarter more or less, so that hosts do not move together. */
const ASK_AGAIN_MS = 800;
/** A second answer is waited for so many times as long while the scheduler says other things: it is behind then, not away. */
export const BUSY_WAIT_COUNT_MAX = 6;
/** Promises alone, without a lease, are believed for so long: the first reader of a slow origin may need its time for a piece. */
const PROMISES_MS_MAX = 120_000;
/** A client that waits for a piece that nothing brings looks again after so long, and says so again. */
const LOOK_AGAIN_MS = 1000;
/** A promise may be this late. */
const PROMISE_SLACK_MS = 300;

/** Who is asked what when an answer is overdue. */
export interface AnswerWatchActions {
  /** Somebody waits for pieces that nobody fetches. */
  isWaiting(): boolean;
  /** An answer can be expected at all. */
  isResponsive(): boolean;
  /** Messages of the scheduler so far, about whatever. */
  heardCount(): number;
  askAgain(): void;
  goOnAlone(): void;
  /** The scheduler is to hear that a client is held up by this piece. */
  tellBlocked(pieceIndex: number): void;
  /** Clients look again whether what they wait for is there. */
  lookAgain(): void;
}

/**
 * No wait without a deadline: while somebody waits for pieces that nobody fetches, the scheduler's next word is due by a
 * certain time. When it is overdue the request is repeated once; when that stays unanswered the host goes on alone.
 */
export class AnswerWatch {
  readonly #actions: AnswerWatchActions;
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #reader = new BlockedReader();
  #dueAtMs = 0;
  #hasAskedAgain = false;
  #heardCount = 0;
  /** Waits that are left after the second question. */
  #busyWaitCount = 0;
  #promisedSinceMs: number | undefined;
  #timer: NodeJS.Timeout | undefined;
  #lookTimer: NodeJS.Timeout | undefined;
  #isStopped = false;

  constructor(
    options: AnswerWatchActions & { readonly clock: Clock; readonly random: () => number },
  ) {
    this.#actions = options;
    this.#clock = options.clock;
    this.#random = options.random;
  }

  /** The scheduler spoke: whatever was overdue is not any more. */
  heard(): void {
    this.#promisedSinceMs = undefined;
    this.#hasAskedAgain = false;
    this.expectSoon();
  }

  /** The scheduler knows enough to give the next word; one that is known to be silent is not waited for. */
  expectSoon(): void {
    this.#expectBy(this.#actions.isResponsive() ? NEXT_WORD_MS : 0);
  }

  /** Somebody joined: a deadline that runs already stays, or a stream of newcomers would put it off for ever. */
  joined(): void {
    if (this.#timer === undefined) this.expectSoon();
  }

  /** The scheduler promised its next word within `ms`. */
  promised(ms: number): void {
    this.#promisedSinceMs ??= this.#clock.monotonic();
    if (this.#clock.monotonic() - this.#promisedSinceMs > PROMISES_MS_MAX) {
      this.expectNothing();
      return;
    }
    this.#hasAskedAgain = false;
    this.#expectBy(Math.min(ms, PENDING_NEXT_BY_MS_MAX) + PROMISE_SLACK_MS);
  }

  /** Nothing is to be expected: look at once. */
  expectNothing(): void {
    this.#hasAskedAgain = true;
    this.#busyWaitCount = 0;
    this.#expectBy(0);
  }

  /** A client waits for a piece that nothing brings. */
  lacks(pieceIndex: number): void {
    this.check();
    if (this.#isStopped) return;
    if (this.#reader.waits(pieceIndex, this.#clock.monotonic()))
      this.#actions.tellBlocked(pieceIndex);
    // Also where nothing at all arrives that would wake it.
    this.#lookTimer ??= setTimeout(() => {
      this.#lookTimer = undefined;
      this.#actions.lookAgain();
    }, LOOK_AGAIN_MS);
  }

  /** Makes sure that the deadline is watched. */
  check(): void {
    if (this.#isStopped || this.#timer !== undefined) return;
    const waitMs = Math.max(0, this.#dueAtMs - this.#clock.monotonic());
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#look();
    }, waitMs);
  }

  stop(): void {
    this.#isStopped = true;
    clearTimeout(this.#lookTimer);
    clearTimeout(this.#timer);
  }

  #expectBy(ms: number): void {
    this.#dueAtMs = this.#clock.monotonic() + ms;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.check();
  }

  #look(): void {
    if (!this.#actions.isWaiting()) return;
    if (this.#actions.isResponsive() && !this.#hasAskedAgain) {
      this.#hasAskedAgain = true;
      this.#busyWaitCount = BUSY_WAIT_COUNT_MAX - 1;
      this.#actions.askAgain();
      this.#waitForSecondAnswer();
      return;
    }
    if (this.#busyWaitCount > 0 && this.#actions.heardCount() !== this.#heardCount) {
      this.#busyWaitCount--;
      this.#waitForSecondAnswer();
      return;
    }
    this.#hasAskedAgain = false;
    this.#promisedSinceMs = undefined;
    this.#actions.goOnAlone();
  }
  #waitForSecondAnswer(): void {
    this.#heardCount = this.#actions.heardCount();
    this.#expectBy(ASK_AGAIN_MS * (0.75 + this.#random() / 2));
  }
}
