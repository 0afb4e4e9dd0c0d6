/** Things by the time at which they are due, the earliest first: put in and taken out in O(log n), without an object for each. */
export class Agenda<Thing> {
  // A binary heap in two columns.
  readonly #dueAtMs: number[] = [];
  readonly #things: Thing[] = [];

  /** Infinity when there is nothing. */
  get nextDueAtMs(): number {
    return this.#dueAtMs[0] ?? Infinity;
  }

  add(thing: Thing, atMs: number): void {
    let index = this.#dueAtMs.length;
    this.#dueAtMs.push(atMs);
    this.#things.push(thing);
    while (index > 0) {
      const above = (index - 1) >> 1;
      if ((this.#dueAtMs[above] ?? 0) <= atMs) break;
      this.#move(above, index);
      index = above;
    }
    this.#put(index, atMs, thing);
  }

  /** @returns the first thing that is due, taken out; undefined when there is none. */
  takeDue(nowMs: number): Thing | undefined {
    const first = this.#things[0];
    if (first === undefined || this.nextDueAtMs > nowMs) return undefined;
    const atMs = this.#dueAtMs.pop() ?? Infinity;
    const thing = this.#things.pop();
    if (thing !== undefined && this.#things.length > 0) this.#sink(atMs, thing);
    return first;
  }

  #sink(atMs: number, thing: Thing): void {
    let index = 0;
    for (;;) {
      let below = 2 * index + 1;
      const left = this.#dueAtMs[below] ?? Infinity;
      const right = this.#dueAtMs[below + 1] ?? Infinity;
      if (right < left) below++;
      if (Math.min(left, right) >= atMs) break;
      this.#move(below, index);
      index = below;
    }
    this.#put(index, atMs, thing);
  }

  #move(from: number, to: number): void {
    const thing = this.#things[from];
    if (thing !== undefined) this.#put(to, this.#dueAtMs[from] ?? 0, thing);
  }

  #put(index: number, atMs: number, thing: Thing): void {
    this.#dueAtMs[index] = atMs;
    this.#things[index] = thing;
  }
}

/** An agenda on which each thing stands once, at the time that was set last. */
export class Alarms<Thing> {
  readonly #agenda = new Agenda<{ readonly thing: Thing; readonly atMs: number }>();
  readonly #atMs = new Map<Thing, number>();

  get size(): number {
    return this.#atMs.size;
  }

  set(thing: Thing, atMs: number): void {
    if (this.#atMs.get(thing) === atMs) return;
    this.#atMs.set(thing, atMs);
    this.#agenda.add({ thing, atMs }, atMs);
  }

  /** @returns the first thing whose time has come, its alarm over; undefined when there is none. */
  takeDue(nowMs: number): Thing | undefined {
    for (;;) {
      const entry = this.#agenda.takeDue(nowMs);
      if (entry === undefined) return undefined;
      // Of those that were set again the earlier entry is left behind.
      if (this.#atMs.get(entry.thing) !== entry.atMs) continue;
      this.#atMs.delete(entry.thing);
      return entry.thing;
    }
  }
}
