import type { Rarity } from "../swarm/rarity.ts";
import { clearBit, hasBit, lowestBit, popcount } from "../swarm/words.ts";
import type { MatchView } from "./view.ts";

/** Places of the rarity order walked for one piece before the useful ones are counted through instead. */
const WALK_MAX = 64;
/** Up to so many useful pieces are counted through at once: cheaper than a walk past many useless ones. */
const SCAN_MAX = 24;

/** Whether the source holds anything that the child wants. */
export function isUseful(view: MatchView, source: number, child: number): boolean {
  const { known, rows, words } = view.swarm;
  const { data } = rows;
  const have = rows.haveAt(source);
  const missing = rows.missingAt(child);
  for (let at = 0; at < words; at++) {
    const offered = (data[have + at] ?? 0) & (known[at] ?? 0);
    if ((offered & (data[missing + at] ?? 0)) !== 0) return true;
  }
  return false;
}

/** False when the source certainly has nothing for anybody: each of its pieces is held by, or on its way to, all that want it. */
export function isAnyMissed({ swarm }: MatchView, source: number): boolean {
  const { data, demand } = swarm.rows;
  const have = swarm.rows.haveAt(source);
  for (let at = 0; at < swarm.words; at++) {
    const offered = (data[have + at] ?? 0) & (swarm.known[at] ?? 0);
    if ((offered & (demand.missed[at] ?? 0)) !== 0) return true;
  }
  return false;
}

/**
 * The pieces that a source holds and a child wants: loaded for a pair, then picked from. One object serves all pairs, so that
 * looking at one allocates nothing.
 */
export class Useful {
  #words = new Uint32Array(8);
  #wordCount = 0;
  #count = 0;

  /** @param lackedBy only pieces of which these counts know no copy */
  load(view: MatchView, source: number, child: number, lackedBy?: Rarity): number {
    const { swarm } = view;
    const { data } = swarm.rows;
    const have = swarm.rows.haveAt(source);
    const missing = swarm.rows.missingAt(child);
    if (this.#words.length < swarm.words) this.#words = new Uint32Array(swarm.words);
    this.#wordCount = swarm.words;
    this.#count = 0;
    for (let at = 0; at < swarm.words; at++) {
      let word = (data[have + at] ?? 0) & (swarm.known[at] ?? 0) & (data[missing + at] ?? 0);
      if (lackedBy !== undefined && word !== 0) word = withoutCopies(word, at, lackedBy);
      this.#words[at] = word;
      if (word !== 0) this.#count += popcount(word);
    }
    return this.#count;
  }

  /** What the source holds of a set, whoever wants it. */
  loadHeld(view: MatchView, source: number, among: Uint32Array): number {
    const { swarm } = view;
    const { data } = swarm.rows;
    const have = swarm.rows.haveAt(source);
    if (this.#words.length < swarm.words) this.#words = new Uint32Array(swarm.words);
    this.#wordCount = swarm.words;
    this.#count = 0;
    for (let at = 0; at < swarm.words; at++) {
      const word = (data[have + at] ?? 0) & (swarm.known[at] ?? 0) & (among[at] ?? 0);
      this.#words[at] = word;
      if (word !== 0) this.#count += popcount(word);
    }
    return this.#count;
  }

  has(piece: number): boolean {
    return hasBit(this.#words, 0, piece);
  }

  /** Takes a piece out, so that the next pick finds another. */
  remove(piece: number): void {
    if (!this.has(piece)) return;
    clearBit(this.#words, 0, piece);
    this.#count--;
  }

  /** A piece that comes before all others: one that failed, or that a blocked reader waits for; -1 when there is none. */
  urgent(view: MatchView, child: number): number {
    // Of most children it is known without a look at the peer itself.
    if (!view.swarm.rows.isUrgent(child)) return -1;
    const peer = view.swarm.peers[child];
    if (peer === undefined) return -1;
    if (peer.retryFirst !== undefined) {
      for (const piece of peer.retryFirst) if (this.has(piece)) return piece;
    }
    if (peer.blockedUntilMs <= view.nowMs) return -1;
    const end = Math.min(view.swarm.pieceCount, peer.blockedAtPiece + view.policy.readerWindow);
    for (let piece = peer.blockedAtPiece; piece < end; piece++) if (this.has(piece)) return piece;
    return -1;
  }

  /** The lowest index of all, or of those in a set; -1 when there is none. */
  lowest(among?: Uint32Array): number {
    for (let at = 0; at < this.#wordCount; at++) {
      const all = this.#words[at] ?? 0;
      const word = among === undefined ? all : all & (among[at] ?? 0);
      if (word !== 0) return at * 32 + lowestBit(word);
    }
    return -1;
  }

  /** A piece of which there are fewest copies, any of them; -1 when nothing is left. */
  rarest(rarity: Rarity, random: () => number): number {
    if (this.#count === 0) return -1;
    const walked = this.#count <= SCAN_MAX ? -1 : this.#walk(rarity, random);
    return walked >= 0 ? walked : this.#scan(rarity, random);
  }

  #walk(rarity: Rarity, random: () => number): number {
    let rest = WALK_MAX;
    let size = 0;
    // From one group of equals to the next: of a content that is everywhere there are tens of thousands of counts with no piece.
    for (let start = rarity.startOf(1); start < rarity.pieceCount && rest > 0; start += size) {
      size = rarity.startOf(rarity.countOf(rarity.at(start)) + 1) - start;
      const first = Math.floor(random() * size);
      for (let step = 0; step < size && rest > 0; step++, rest--) {
        const piece = rarity.at(start + ((first + step) % size));
        if (this.has(piece)) return piece;
      }
    }
    return -1;
  }

  #scan(rarity: Rarity, random: () => number): number {
    let best = -1;
    let bestCount = Infinity;
    let ties = 0;
    for (let at = 0; at < this.#wordCount; at++) {
      let word = this.#words[at] ?? 0;
      while (word !== 0) {
        const piece = at * 32 + lowestBit(word);
        word &= word - 1;
        const count = rarity.countOf(piece);
        if (count > bestCount) continue;
        if (count < bestCount) ties = 0;
        bestCount = count;
        ties++;
        if (ties === 1 || random() * ties < 1) best = piece;
      }
    }
    return best;
  }
}

function withoutCopies(word: number, at: number, counts: Rarity): number {
  let kept = word;
  let rest = word;
  while (rest !== 0) {
    const bit = rest & -rest;
    rest &= rest - 1;
    if (counts.countOf(at * 32 + lowestBit(bit)) > 0) kept &= ~bit;
  }
  return kept;
}
