/** Virtual time in milliseconds, and what happens when. Equal times keep the order in which they were asked for. */
export class EventQueue {
  nowMs = 0;
  /** Things that happened so far. */
  count = 0;
  #order = 0;
  // A binary heap in three columns: plain numbers stay unboxed, and millions of entries cost little.
  readonly #times: number[] = [];
  readonly #orders: number[] = [];
  readonly #actions: (() => void)[] = [];

  get size(): number {
    return this.#times.length;
  }

  /** Has `action` run at `atMs`, or now when that is past. */
  at(atMs: number, action: () => void): void {
    const time = Math.max(atMs, this.nowMs);
    const order = this.#order++;
    let index = this.#times.length;
    this.#times.push(time);
    this.#orders.push(order);
    this.#actions.push(action);
    while (index > 0) {
      const above = (index - 1) >> 1;
      if (!this.#isBefore(time, order, above)) break;
      this.#move(above, index);
      index = above;
    }
    this.#put(index, time, order, action);
  }

  after(ms: number, action: () => void): void {
    this.at(this.nowMs + ms, action);
  }

  /** Lets time pass until `isOver` or until nothing is left to happen before `untilMs`. */
  run(untilMs: number, isOver: () => boolean): void {
    while (this.#times.length > 0 && !isOver()) {
      const next = this.#times[0] ?? Infinity;
      if (next > untilMs) {
        this.nowMs = untilMs;
        return;
      }
      this.nowMs = next;
      this.count++;
      this.#pop()();
    }
  }

  #pop(): () => void {
    const first = this.#actions[0];
    const time = this.#times.pop();
    const order = this.#orders.pop();
    const action = this.#actions.pop();
    if (first === undefined || time === undefined || order === undefined || action === undefined) {
      throw new RangeError("the event queue is empty");
    }
    if (this.#times.length > 0) this.#sink(time, order, action);
    return first;
  }

  #sink(time: number, order: number, action: () => void): void {
    const size = this.#times.length;
    let index = 0;
    for (;;) {
      let below = 2 * index + 1;
      if (below >= size) break;
      if (below + 1 < size && this.#isFirst(below + 1, below)) below++;
      if (this.#isBefore(time, order, below)) break;
      this.#move(below, index);
      index = below;
    }
    this.#put(index, time, order, action);
  }

  #isBefore(time: number, order: number, index: number): boolean {
    const other = this.#times[index] ?? Infinity;
    return time < other || (time === other && order < (this.#orders[index] ?? Infinity));
  }

  #isFirst(a: number, b: number): boolean {
    return this.#isBefore(this.#times[a] ?? Infinity, this.#orders[a] ?? Infinity, b);
  }

  #move(from: number, to: number): void {
    const action = this.#actions[from];
    if (action === undefined) return;
    this.#put(to, this.#times[from] ?? 0, this.#orders[from] ?? 0, action);
  }

  #put(index: number, time: number, order: number, action: () => void): void {
    this.#times[index] = time;
    this.#orders[index] = order;
    this.#actions[index] = action;
  }
}
