/** Bytes of its host's uploads that a peer has had, by the weight of its task: it only grows. */
interface Sharer {
  readonly uploadShare: number;
}

interface Entry<Peer> {
  readonly peer: Peer;
  /** Of the peer when it was put here. */
  share: number;
  /** Who came first of those with equal shares. */
  readonly turn: number;
}

/**
 * The peers of one host that wait for an upload slot, least served first: a host may hold thousands of small tasks of which all
 * wait. A binary heap; what does not wait any more is left out when it comes up, and all such at once now and then.
 */
export class SlotWaiters<Peer extends Sharer> {
  readonly #isWaiting: (peer: Peer) => boolean;
  #heap: Entry<Peer>[] = [];
  readonly #known = new Set<Peer>();
  #nextTurn = 0;
  /** Peers taken since what does not wait was thrown out. */
  #takenCount = 0;

  /** @param isWaiting whether a peer that was added waits still. */
  constructor(isWaiting: (peer: Peer) => boolean) {
    this.#isWaiting = isWaiting;
  }

  /** Waiting ones, and some that do not wait any more. */
  get size(): number {
    return this.#heap.length;
  }

  add(peer: Peer): void {
    if (this.#known.has(peer)) return;
    this.#known.add(peer);
    this.#heap.push({ peer, share: peer.uploadShare, turn: this.#nextTurn++ });
    this.#rise(this.#heap.length - 1);
  }

  /** Who has the next turn. */
  first(): Peer | undefined {
    for (;;) {
      const top = this.#heap[0];
      if (top === undefined) return undefined;
      if (!this.#isWaiting(top.peer)) this.#removeTop();
      else if (top.share < top.peer.uploadShare) {
        top.share = top.peer.uploadShare;
        this.#sink(0);
      } else return top.peer;
    }
  }

  /** Takes out who has the next turn. */
  take(): Peer | undefined {
    const first = this.first();
    if (first === undefined) return undefined;
    this.#removeTop();
    if (2 * ++this.#takenCount > this.#heap.length) this.#clean();
    return first;
  }

  #removeTop(): void {
    const [top] = this.#heap;
    const last = this.#heap.pop();
    if (top === undefined || last === undefined) return;
    this.#known.delete(top.peer);
    if (this.#heap.length === 0) return;
    this.#heap[0] = last;
    this.#sink(0);
  }

  #clean(): void {
    this.#takenCount = 0;
    const kept = this.#heap.filter(({ peer }) => this.#isWaiting(peer));
    if (kept.length === this.#heap.length) return;
    this.#heap = kept;
    this.#known.clear();
    for (const { peer } of kept) this.#known.add(peer);
    for (let at = (kept.length >> 1) - 1; at >= 0; at--) this.#sink(at);
  }

  #rise(start: number): void {
    for (let at = start; at > 0;) {
      const above = (at - 1) >> 1;
      if (!this.#swapIfBefore(at, above)) return;
      at = above;
    }
  }

  #sink(start: number): void {
    for (let at = start; ;) {
      const left = 2 * at + 1;
      if (left >= this.#heap.length) return;
      const isRight = left + 1 < this.#heap.length && this.#isBefore(left + 1, left);
      const below = isRight ? left + 1 : left;
      if (!this.#swapIfBefore(below, at)) return;
      at = below;
    }
  }

  #swapIfBefore(below: number, above: number): boolean {
    if (!this.#isBefore(below, above)) return false;
    const heap = this.#heap;
    const [a, b] = [heap[below], heap[above]];
    if (a === undefined || b === undefined) return false;
    heap[above] = a;
    heap[below] = b;
    return true;
  }

  #isBefore(at: number, other: number): boolean {
    const a = this.#heap[at];
    const b = this.#heap[other];
    if (a === undefined || b === undefined) return false;
    return a.share < b.share || (a.share === b.share && a.turn < b.turn);
  }
}
