import { dropOldest } from "../core/drop-oldest.ts";

/** Origins whose distance is known at once; the one that was asked the longest time ago is forgotten first. */
const ORIGIN_COUNT_MAX = 1000;
/** How much a longer answer than the shortest one counts: an origin that moves away is noticed after some dozens. */
const RISE = 1 / 16;

/** How long origins take to begin an answer, whatever this host is busy with meanwhile: about the shortest of the last ones. */
export class OriginDistance {
  readonly #msByOrigin = new Map<string, number>();

  note(url: URL, tookMs: number): void {
    const { origin } = url;
    const known = this.#msByOrigin.get(origin) ?? tookMs;
    this.#msByOrigin.delete(origin);
    this.#msByOrigin.set(origin, Math.min(tookMs, known + (tookMs - known) * RISE));
    dropOldest(this.#msByOrigin, ORIGIN_COUNT_MAX);
  }

  /** It asks to be left alone: what depends on its distance waits for its next answer. */
  forget(url: URL): void {
    this.#msByOrigin.delete(url.origin);
  }

  /** @returns milliseconds; `undefined` for an origin that was not asked yet. */
  of(url: URL): number | undefined {
    return this.#msByOrigin.get(url.origin);
  }
}
