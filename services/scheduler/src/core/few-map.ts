const NO_KEY = "";

/**
 * A map by text that nearly always has one entry, or none, and is made hundreds of thousands of times: its only entry lies in fields of its
 * own, where a `Map` would take six times the memory and three more looks at it. Several entries are in a `Map`, in the order in which they
 * came. Whoever walks it may take out what he meets.
 */
export class FewMap<Value> {
  #key = NO_KEY;
  #value: Value | undefined;
  /** From the second entry on, until it is empty again. */
  #many: Map<string, Value> | undefined;

  get size(): number {
    if (this.#many !== undefined) return this.#many.size;
    return this.#value === undefined ? 0 : 1;
  }

  /** The value of the only entry; undefined when there is none, or several. Nothing is made for it, unlike for a walk. */
  get only(): Value | undefined {
    return this.#many === undefined ? this.#value : undefined;
  }

  get(key: string): Value | undefined {
    if (this.#many !== undefined) return this.#many.get(key);
    return this.#value !== undefined && this.#key === key ? this.#value : undefined;
  }

  has(key: string): boolean {
    return this.get(key) !== undefined;
  }

  set(key: string, value: Value): void {
    if (this.#many !== undefined) {
      this.#many.set(key, value);
      return;
    }
    if (this.#value === undefined || this.#key === key) {
      this.#key = key;
      this.#value = value;
      return;
    }
    this.#many = new Map([
      [this.#key, this.#value],
      [key, value],
    ]);
    this.#forgetOnly();
  }

  /** @returns whether it was there. */
  delete(key: string): boolean {
    if (this.#many !== undefined) {
      const wasThere = this.#many.delete(key);
      if (this.#many.size === 0) this.#many = undefined;
      return wasThere;
    }
    if (!this.has(key)) return false;
    this.#forgetOnly();
    return true;
  }

  keys(): Iterable<string> {
    if (this.#many !== undefined) return this.#many.keys();
    return this.#value === undefined ? NOTHING : [this.#key];
  }

  values(): Iterable<Value> {
    if (this.#many !== undefined) return this.#many.values();
    return this.#value === undefined ? NOTHING : [this.#value];
  }

  [Symbol.iterator](): Iterator<[string, Value]> {
    if (this.#many !== undefined) return this.#many[Symbol.iterator]();
    const entries: [string, Value][] = this.#value === undefined ? [] : [[this.#key, this.#value]];
    return entries[Symbol.iterator]();
  }

  #forgetOnly(): void {
    this.#key = NO_KEY;
    this.#value = undefined;
  }
}

/** The empty list that all share who have nothing. */
export const NOTHING: readonly never[] = [];
