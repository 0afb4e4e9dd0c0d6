import { PLANNED_BITS } from "../swarm/rows.ts";
import type { Groups } from "../swarm/groups.ts";
import { pieceMs } from "./pacing.ts";
import type { MatchView } from "./view.ts";

/** Parts of a piece's time by which the waits of two children differ when it matters. */
const WAIT_STEPS = 16;
/** Longer waits are all alike: some minutes of a piece that takes seconds. */
const WAIT_STEPS_MAX = 4_096;
/** One wait step counts more than any number of pieces. */
const STEP = 2 ** PLANNED_BITS;

/**
 * Children drawn for one grant, each with its need. All of them are looked up before any is judged: places in memory that do not depend on
 * one another are fetched together, where one after the other each would be waited for.
 */
export class DrawnChildren {
  #children = new Uint32Array(16);
  #needs = new Float64Array(16);
  #beginsAtMs = 0;
  #stepsPerMs = 0;

  childAt = (draw: number): number => this.#children[draw] ?? 0;
  needAt = (draw: number): number => this.#needs[draw] ?? 0;

  /**
   * Draws at random; as many as there are: all of them from `first` on.
   *
   * @param beginsAtMs when an upload to one of them would begin
   */
  draw(
    view: MatchView,
    from: { readonly groups: Groups; readonly group: number; readonly first: number },
    count: number,
    beginsAtMs: number,
  ): void {
    const { groups, group, first } = from;
    const size = groups.sizeOf(group);
    this.#beginsAtMs = beginsAtMs;
    this.#stepsPerMs = WAIT_STEPS / pieceMs(view.task);
    if (this.#children.length < count) {
      this.#children = new Uint32Array(count);
      this.#needs = new Float64Array(count);
    }
    for (let draw = 0; draw < count; draw++) {
      const place = count === size ? (first + draw) % size : Math.floor(view.random() * size);
      this.#children[draw] = groups.at(group, place);
    }
    for (let draw = 0; draw < count; draw++)
      this.#needs[draw] = this.needOf(view, this.#children[draw] ?? 0);
  }

  /** The lower, the more a child needs a lease: its link is free sooner, or at the same time and it has less. */
  needOf({ swarm, policy }: MatchView, child: number): number {
    if (!policy.isPaced) return swarm.rows.needOf(child);
    // How long an upload that begins then would share the child's link with what is on its way to it.
    const waitMs = swarm.timetable.takenAtMs(child) - this.#beginsAtMs;
    const steps = waitMs <= 0 ? 0 : Math.ceil(waitMs * this.#stepsPerMs);
    return Math.min(WAIT_STEPS_MAX, steps) * STEP + swarm.planCountOf(child);
  }
}
