/**
 * How many copies there are of each piece, and the pieces in order of it: `order` is sorted by count, and `starts[r]` is where the
 * pieces with r copies or more begin. One copy more or less moves a piece across one border: O(1).
 *
 * Inside a bucket a piece takes a random place, because equals must not be chosen in the same order by everybody: that alone
 * decides between 99 % and 21 % of the possible speed. The randomness is the object's own; an order of equals is of no
 * consequence to a replay.
 */
export class Rarity {
  readonly pieceCount: number;
  readonly #counts: Uint32Array;
  readonly #order: Uint32Array;
  readonly #places: Uint32Array;
  /** `starts[0]` is 0; one entry more than the highest count there ever was, and that one is `pieceCount`. */
  readonly #starts: number[];
  #seed: number;

  constructor(pieceCount: number, prngSeed: number) {
    this.pieceCount = pieceCount;
    this.#counts = new Uint32Array(pieceCount);
    this.#order = new Uint32Array(pieceCount);
    this.#places = new Uint32Array(pieceCount);
    this.#starts = [0, pieceCount];
    this.#seed = (prngSeed ^ 0x9e3779b9) >>> 0 || 1;
    for (let piece = 0; piece < pieceCount; piece++) {
      this.#order[piece] = piece;
      this.#places[piece] = piece;
    }
  }

  countOf(piece: number): number {
    return this.#counts[piece] ?? 0;
  }

  /** Where the pieces with `count` copies or more begin. */
  startOf(count: number): number {
    return this.#starts[count] ?? this.pieceCount;
  }

  /** The piece at a place of the order. */
  at(place: number): number {
    return this.#order[place] ?? 0;
  }

  /** @returns the new count. */
  increment(piece: number): number {
    const count = this.#counts[piece] ?? 0;
    const starts = this.#starts;
    if (count + 2 > starts.length - 1) starts.push(this.pieceCount);
    const border = (starts[count + 1] ?? this.pieceCount) - 1;
    this.#swap(this.#places[piece] ?? 0, border);
    starts[count + 1] = border;
    this.#counts[piece] = count + 1;
    this.#scatter(border, border, starts[count + 2] ?? this.pieceCount);
    return count + 1;
  }

  /** @returns the new count. */
  decrement(piece: number): number {
    const count = this.#counts[piece] ?? 0;
    if (count === 0) return 0;
    const starts = this.#starts;
    const border = starts[count] ?? 0;
    this.#swap(this.#places[piece] ?? 0, border);
    starts[count] = border + 1;
    this.#counts[piece] = count - 1;
    this.#scatter(border, starts[count - 1] ?? 0, border + 1);
    return count - 1;
  }

  /** Counts of all pieces, for comparison. */
  toCounts(): readonly number[] {
    return [...this.#counts];
  }

  #scatter(place: number, from: number, to: number): void {
    // xorshift32
    let seed = this.#seed;
    seed ^= seed << 13;
    seed ^= seed >>> 17;
    seed ^= seed << 5;
    this.#seed = seed >>> 0;
    this.#swap(place, from + (this.#seed % (to - from)));
  }

  #swap(a: number, b: number): void {
    if (a === b) return;
    const pieceOfA = this.#order[a] ?? 0;
    const pieceOfB = this.#order[b] ?? 0;
    this.#order[a] = pieceOfB;
    this.#order[b] = pieceOfA;
    this.#places[pieceOfA] = b;
    this.#places[pieceOfB] = a;
  }
}
