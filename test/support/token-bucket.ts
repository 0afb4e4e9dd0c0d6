import type { Clock } from "@lacewing/runtime/clock.ts";

/** How often waiting readers get their share: short enough to look like a smooth link, long enough to cost no CPU. */
const STEP_MS = 10;
/** Credit that an idle link keeps, as the buffers of a real path would. */
const IDLE_CREDIT_MS = 50;
/** A timer that fires late is made up for, but a process that was stopped does not burst afterwards. */
const LATENESS_MS_MAX = 250;

/**
 * A link of limited rate shared by everybody who sends over it, first come first served.
 *
 * Fair between connections that ask for equal small amounts: each goes to the end of the queue after its grant. Time
 * in which somebody waits is credited in full, so timer lateness does not lower the rate; idle time is credited only
 * up to {@link IDLE_CREDIT_MS}.
 */
export class TokenBucket {
  readonly #clock: Clock;
  #bytesPerSecond: number | undefined;
  #tokens = 0;
  #creditedAt: number;
  readonly #waiting: { readonly wanted: number; readonly grant: (bytes: number) => void }[] = [];
  #isPumping = false;

  /** @param bytesPerSecond `undefined` = no limit. */
  constructor(bytesPerSecond: number | undefined, clock: Clock) {
    this.#bytesPerSecond = bytesPerSecond;
    this.#clock = clock;
    this.#creditedAt = clock.monotonic();
  }

  get bytesPerSecond(): number | undefined {
    return this.#bytesPerSecond;
  }

  /** Takes effect at once, also for those who wait. */
  set bytesPerSecond(value: number | undefined) {
    this.#credit(this.#waiting.length > 0);
    this.#bytesPerSecond = value;
    if (value === undefined) this.#tokens = 0;
  }

  /** Waits for a turn and resolves with how many bytes may be sent now: 1 to `wanted`. */
  async take(wanted: number): Promise<number> {
    if (this.#bytesPerSecond === undefined && this.#waiting.length === 0) return wanted;
    return new Promise<number>((grant) => {
      // What a moment brings is left for the next step: a link that is asked all the time would else grant byte by byte.
      const isIdle = this.#waiting.length === 0 && this.#sinceCreditMs() >= STEP_MS;
      if (isIdle) this.#credit(false);
      this.#waiting.push({ wanted, grant });
      if (!this.#isPumping) void this.#pump();
    });
  }

  async #pump(): Promise<void> {
    this.#isPumping = true;
    this.#serve();
    while (this.#waiting.length > 0) {
      await this.#clock.sleep(STEP_MS);
      this.#credit(true);
      this.#serve();
    }
    this.#isPumping = false;
  }

  #sinceCreditMs(): number {
    return this.#clock.monotonic() - this.#creditedAt;
  }

  #serve(): void {
    for (let next = this.#waiting[0]; next !== undefined; next = this.#waiting[0]) {
      const isLimited = this.#bytesPerSecond !== undefined;
      const bytes = isLimited ? Math.min(next.wanted, Math.floor(this.#tokens)) : next.wanted;
      if (bytes < 1) return;
      if (isLimited) this.#tokens -= bytes;
      this.#waiting.shift();
      next.grant(bytes);
    }
  }

  #credit(isBusy: boolean): void {
    const now = this.#clock.monotonic();
    const elapsedMs = Math.min(now - this.#creditedAt, LATENESS_MS_MAX);
    this.#creditedAt = now;
    const perMs = (this.#bytesPerSecond ?? 0) / 1000;
    const credited = this.#tokens + elapsedMs * perMs;
    // Tokens that were already there are kept: only the idle time's own credit is cut.
    this.#tokens = isBusy
      ? credited
      : Math.max(this.#tokens, Math.min(credited, IDLE_CREDIT_MS * perMs));
  }
}
