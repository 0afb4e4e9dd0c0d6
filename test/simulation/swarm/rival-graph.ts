import type { Copy } from "./copy.ts";
import type { Endpoint } from "./network.ts";

const SAMPLED_PEERS = 15;
const PARENTS = 3;
/** Parts of a location that count, and weights of the score (evaluator_base.go, v2.4). */
const LOCATION_PARTS = 5;
const WEIGHTS = { idc: 0.2, location: 0.1, load: 0.6, kind: 0.1 } as const;
const NORMAL_HOST_SCORE = 0.5;
/** A parent that seems to have nothing left is still drawn now and then. */
const LEAST_CAPACITY = 0.1;
/** A parent with so many pieces under way seems to have nothing left. */
const FULL_LOAD = 16;

/** One host's part in the content, as the rival's scheduler and client see it. */
export class RivalPeer {
  readonly endpoint: Endpoint;
  readonly copy: Copy;
  readonly parents = new Set<RivalPeer>();
  readonly children = new Set<RivalPeer>();
  readonly blocked = new Set<RivalPeer>();
  isReadingOrigin = false;
  tries = 0;
  /** Pieces that were taken up, in the order in which they were reported; those before `#at` are gone through. */
  readonly #order: number[] = [];
  #at = 0;
  readonly #queued: Uint8Array;
  readonly #claimed: Uint8Array;

  constructor(endpoint: Endpoint, copy: Copy) {
    this.endpoint = endpoint;
    this.copy = copy;
    this.#queued = new Uint8Array(copy.pieceCount);
    this.#claimed = new Uint8Array(copy.pieceCount);
  }

  isQueued(piece: number): boolean {
    return this.#queued[piece] === 1;
  }

  isClaimed(piece: number): boolean {
    return this.#claimed[piece] === 1;
  }

  enqueue(piece: number): void {
    if (this.#queued[piece] === 1) return;
    this.#queued[piece] = 1;
    this.#order.push(piece);
  }

  /** A piece whose transfer broke off. */
  requeue(piece: number): void {
    this.#order.push(piece);
  }

  forget(piece: number): void {
    this.#queued[piece] = 0;
  }

  /**
   * The first piece in order that can be had; one that cannot waits until it is reported again.
   *
   * @param random where given, any piece instead of the first
   */
  dequeue(canHave: (piece: number) => boolean, random?: () => number): number | undefined {
    while (this.#at < this.#order.length) {
      if (random !== undefined) this.#drawNext(random);
      const piece = this.#order[this.#at++];
      if (piece === undefined || this.copy.has(piece) || this.isClaimed(piece)) continue;
      if (canHave(piece)) return piece;
      this.#queued[piece] = 0;
    }
    return undefined;
  }

  #drawNext(random: () => number): void {
    const drawn = this.#at + Math.floor(random() * (this.#order.length - this.#at));
    const first = this.#order[this.#at];
    const other = this.#order[drawn];
    if (first === undefined || other === undefined) return;
    this.#order[this.#at] = other;
    this.#order[drawn] = first;
  }

  claim(piece: number): void {
    this.#claimed[piece] = 1;
  }

  release(piece: number): void {
    this.#claimed[piece] = 0;
  }
}

/** The acyclic graph of a task's peers. */
export class RivalGraph {
  readonly #peers: RivalPeer[] = [];
  readonly #byEndpoint = new Map<Endpoint, RivalPeer>();
  readonly #random: () => number;

  constructor(random: () => number) {
    this.#random = random;
  }

  get size(): number {
    return this.#peers.length;
  }

  add(endpoint: Endpoint, copy: Copy): RivalPeer {
    const peer = new RivalPeer(endpoint, copy);
    this.#peers.push(peer);
    this.#byEndpoint.set(endpoint, peer);
    return peer;
  }

  peerAt(endpoint: Endpoint): RivalPeer | undefined {
    return this.#byEndpoint.get(endpoint);
  }

  /** A random sample, what may serve of it, the best of that. The peer's edges of before are gone. */
  chooseParents(child: RivalPeer): readonly RivalPeer[] {
    this.disconnect(child);
    const candidates = new Set<RivalPeer>();
    for (let draw = 0; draw < SAMPLED_PEERS; draw++) {
      const peer = this.#peers[Math.floor(this.#random() * this.#peers.length)];
      if (peer !== undefined && mayServe(peer, child)) candidates.add(peer);
    }
    return [...candidates]
      .toSorted((a, b) => scoreOf(b, child) - scoreOf(a, child))
      .slice(0, PARENTS);
  }

  connect(child: RivalPeer, parent: RivalPeer): void {
    child.parents.add(parent);
    parent.children.add(child);
  }

  disconnect(child: RivalPeer): void {
    for (const parent of child.parents) parent.children.delete(child);
    child.parents.clear();
  }

  remove(peer: RivalPeer): void {
    this.disconnect(peer);
    const at = this.#peers.indexOf(peer);
    if (at >= 0) this.#peers.splice(at, 1);
  }
}

/** What a child's client thinks that a parent has left to give. */
export function childCapacity({ endpoint }: RivalPeer): number {
  return Math.max(LEAST_CAPACITY, 1 - endpoint.uplink.load / FULL_LOAD);
}

function mayServe(peer: RivalPeer, child: RivalPeer): boolean {
  if (peer === child || !peer.endpoint.isAlive || child.blocked.has(peer)) return false;
  // Who has no parents and does not read the origin has nothing and gets nothing.
  if (peer.parents.size === 0 && !peer.isReadingOrigin && !peer.copy.isFull) return false;
  return !isAncestor(child, peer);
}

/** Whether `peer` gets anything, directly or not, from `ancestor`. */
function isAncestor(ancestor: RivalPeer, peer: RivalPeer): boolean {
  if (ancestor.children.size === 0) return false;
  const seen = new Set<RivalPeer>();
  const stack = [peer];
  for (let next = stack.pop(); next !== undefined; next = stack.pop()) {
    if (next === ancestor) return true;
    for (const parent of next.parents) {
      if (!seen.has(parent)) stack.push(parent);
      seen.add(parent);
    }
  }
  return false;
}

function scoreOf(peer: RivalPeer, child: RivalPeer): number {
  const { spec } = peer.endpoint;
  const isNear = spec.idc === child.endpoint.spec.idc;
  return (
    WEIGHTS.idc * (isNear ? 1 : 0) +
    WEIGHTS.location * locationScore(spec.location, child.endpoint.spec.location) +
    WEIGHTS.load * (childCapacity(peer) - LEAST_CAPACITY) +
    WEIGHTS.kind * NORMAL_HOST_SCORE
  );
}

function locationScore(a: string, b: string): number {
  if (a === "" || b === "") return 0;
  const others = b.split("|");
  const parts = a.split("|");
  const differsAt = parts.findIndex((part, at) => part !== others[at]);
  return (differsAt < 0 ? parts.length : differsAt) / LOCATION_PARTS;
}
