import type { Groups } from "./groups.ts";
import type { Rows } from "./rows.ts";

/** Sources that left a zone's union before it is made anew: few beside those that are looked through for it. */
const LEFT_MIN = 16;

/**
 * Which pieces the idle sources of each zone hold together, or held a moment ago: a child that lacks none of them need not look at any of
 * those sources. Most children that look find nothing, and each source looked at is a place in memory of its own.
 */
export class Offers {
  readonly #rows: Rows;
  readonly #idleByZone: Groups;
  readonly #unions: Uint32Array[] = [];
  /** Of each zone: sources that are idle no more, whose pieces are still in the union. */
  readonly #leftCounts: number[] = [];

  constructor(rows: Rows, idleByZone: Groups) {
    this.#rows = rows;
    this.#idleByZone = idleByZone;
  }

  /** Call it when the source is among the idle ones. */
  add(zone: number, source: number): void {
    while (this.#unions.length <= zone) {
      this.#unions.push(new Uint32Array(this.#rows.words));
      this.#leftCounts.push(0);
    }
    this.#join(zone, source);
  }

  /** Call it when the source is among the idle ones no more. */
  remove(zone: number): void {
    const leftCount = (this.#leftCounts[zone] ?? 0) + 1;
    this.#leftCounts[zone] = leftCount;
    const size = this.#idleByZone.sizeOf(zone);
    if (leftCount <= Math.max(LEFT_MIN, size)) return;
    this.#leftCounts[zone] = 0;
    this.#unions[zone]?.fill(0);
    for (let place = 0; place < size; place++) this.#join(zone, this.#idleByZone.at(zone, place));
  }

  /** False when certainly no idle source of the zone holds a piece that the child wants and lacks. */
  mayHelp(zone: number, child: number): boolean {
    const union = this.#unions[zone];
    if (union === undefined) return false;
    const { data, words } = this.#rows;
    const missing = this.#rows.missingAt(child);
    for (let at = 0; at < words; at++) {
      if (((union[at] ?? 0) & (data[missing + at] ?? 0)) !== 0) return true;
    }
    return false;
  }

  #join(zone: number, source: number): void {
    const union = this.#unions[zone];
    if (union === undefined) return;
    const { data, words } = this.#rows;
    const have = this.#rows.haveAt(source);
    for (let at = 0; at < words; at++) union[at] = (union[at] ?? 0) | (data[have + at] ?? 0);
  }
}
