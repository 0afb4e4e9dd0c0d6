import { Copy } from "./copy.ts";
import { EventQueue } from "./event-queue.ts";
import type { Job } from "./links.ts";
import { type Figures, figuresOf } from "./metrics.ts";
import { type Endpoint, Network } from "./network.ts";
import { Progress } from "./progress.ts";
import { childCapacity, RivalGraph, type RivalPeer } from "./rival-graph.ts";
import { pieceCountOfTask, type Scenario } from "./scenario.ts";
import { seededRandom } from "../../support/scheduler-world.ts";

/**
 * The rule of the best-known system of this kind, Dragonfly 2.5 (scheduler/scheduling, client task.rs), on the same network:
 * parents are chosen for a peer, not for a piece. A random 15 of the task's peers, the 3 best by score, no cycle among peers; no
 * parent found is tried again after 500 ms, after 4 tries the peer reads the origin. A child takes pieces in the order in which
 * its parents report them, 8 at a time, and keeps its parents until one fails.
 *
 * Charitable where the real one is not: load figures are always fresh, the control plane has no faults and no CPU, no admission
 * delay, no limit on a parent's connections, finished hosts are found at once, stalls are not punished.
 */
const CONCURRENT_PIECES = 8;
const RETRY_MS = 500;
const RETRY_JITTER = 0.25;
const TRIES_BEFORE_ORIGIN = 4;
/** Peers of a task that are sent to the origin because they found no parent; others try once more, and go there unasked. */
const ORIGIN_READERS_MAX = 200;
const TRIES_BEFORE_ALONE = 5;
/** A piece that not all parents have reported is taken up after so long. */
const COLLECT_MS = 100;

/** @param order of pieces: as reported, or drawn, as a kinder client would */
export function runRival(
  scenario: Scenario,
  order: "arrival" | "random",
): { readonly figures: Figures; readonly progress: Progress } {
  const swarm = new RivalSwarm(scenario, order);
  return { figures: swarm.run(), progress: swarm.progress };
}

/** One transfer of one piece. */
interface Transfer {
  readonly piece: number;
  readonly from: RivalPeer | undefined;
  readonly bytes: number;
  job: Job;
}

class RivalSwarm {
  readonly progress: Progress;
  readonly #scenario: Scenario;
  readonly #order: "arrival" | "random";
  readonly #queue = new EventQueue();
  readonly #random: () => number;
  readonly #network: Network;
  readonly #graph: RivalGraph;
  readonly #transfers = new Map<RivalPeer, Set<Transfer>>();
  readonly #pieceBytes: number;
  readonly #pieceCount: number;
  readonly #failures = new Map<string, number>();
  #originReaderCount = 0;
  #openCount = 0;
  #wastedBytes = 0;
  #isOriginUp = true;

  constructor(scenario: Scenario, order: "arrival" | "random") {
    this.#order = order;
    const [task] = scenario.tasks;
    if (task === undefined || scenario.tasks.length > 1) {
      throw new RangeError("the rival's rule is simulated for one content");
    }
    this.#scenario = scenario;
    this.#random = seededRandom(scenario.prngSeed);
    // Independent connections over one uplink: all share it.
    const network = { ...scenario.network, servingMax: Infinity };
    this.#network = new Network(this.#queue, { ...scenario, network });
    this.#graph = new RivalGraph(this.#random);
    this.#pieceBytes = task.pieceBytes;
    this.#pieceCount = pieceCountOfTask(task);
    this.progress = new Progress(this.#queue, scenario);
  }

  run(): Figures {
    const copies: Copy[] = [];
    for (const [host, endpoint] of this.#network.endpoints.entries()) {
      for (const { atMs } of endpoint.spec.wants) {
        this.#openCount++;
        const copy = new Copy(0, host, this.#pieceCount, atMs);
        copies.push(copy);
        this.#queue.at(atMs, () => this.#register(endpoint, copy));
      }
      this.#planFaults(endpoint);
    }
    const { downFromMs } = this.#scenario.origin;
    if (downFromMs !== undefined) {
      this.#queue.at(downFromMs, () => this.#closeOrigin());
    }
    this.#queue.run(this.#scenario.untilMs, () => this.#openCount === 0);
    return figuresOf(this.#scenario, {
      scheduler: this.#order === "arrival" ? "rival" : "rival, random order",
      startMs: 0,
      endMs: this.#queue.nowMs,
      isFinished: this.#openCount === 0,
      copies,
      isGone: (host) => this.#network.endpoints[host]?.isAlive === false,
      originBytes: this.#network.originBytes,
      zoneBytes: this.#network.zoneBytes,
      sentBytes: this.#network.endpoints.map(({ uplink }) => uplink.sentBytes),
      wastedBytes: this.#wastedBytes,
      aloneCount: 0,
      failures: this.#failures,
      messages: { sent: 0, lost: 0 },
    });
  }

  #register(endpoint: Endpoint, copy: Copy): void {
    if (!endpoint.isAlive) {
      this.#openCount--;
      return;
    }
    const isFirst = this.#graph.size === 0;
    const peer = this.#graph.add(endpoint, copy);
    this.#transfers.set(peer, new Set());
    if (isFirst) this.#readOrigin(peer);
    else this.#schedule(peer);
  }

  #schedule(peer: RivalPeer): void {
    if (!peer.endpoint.isAlive || peer.copy.isFull || peer.isReadingOrigin) return;
    const parents = this.#graph.chooseParents(peer);
    if (parents.length > 0) {
      peer.tries = 0;
      for (const parent of parents) this.#subscribe(peer, parent);
      return;
    }
    peer.tries++;
    const isAllowed = this.#originReaderCount < ORIGIN_READERS_MAX;
    const mayReadOrigin = peer.tries > (isAllowed ? TRIES_BEFORE_ORIGIN : TRIES_BEFORE_ALONE);
    if (mayReadOrigin && this.#isOriginUp) {
      this.#readOrigin(peer);
      return;
    }
    const jitter = 1 + RETRY_JITTER * (2 * this.#random() - 1);
    this.#queue.after(RETRY_MS * jitter, () => this.#schedule(peer));
  }

  /** Everything that is missing, one piece after another in one stream. */
  #readOrigin(peer: RivalPeer): void {
    if (!peer.isReadingOrigin) this.#originReaderCount++;
    peer.isReadingOrigin = true;
    let piece = 0;
    while (piece < this.#pieceCount && (peer.copy.has(piece) || peer.isClaimed(piece))) piece++;
    if (piece < this.#pieceCount) this.#fetch(peer, piece, undefined);
  }

  #subscribe(child: RivalPeer, parent: RivalPeer): void {
    this.#graph.connect(child, parent);
    for (let piece = 0; piece < this.#pieceCount; piece++) {
      if (parent.copy.has(piece)) this.#report(child, piece);
    }
  }

  /** A parent has a piece: the child takes it up when all parents have it, or a little later. */
  #report(child: RivalPeer, piece: number): void {
    if (child.copy.has(piece) || child.isQueued(piece)) return;
    const haveCount = [...child.parents].filter(({ copy }) => copy.has(piece)).length;
    if (haveCount >= child.parents.size) {
      child.enqueue(piece);
      this.#pull(child);
      return;
    }
    if (haveCount > 1) return;
    this.#queue.after(COLLECT_MS, () => {
      child.enqueue(piece);
      this.#pull(child);
    });
  }

  #pull(child: RivalPeer): void {
    const transfers = this.#transfers.get(child);
    if (transfers === undefined || !child.endpoint.isAlive) return;
    const random = this.#order === "random" ? this.#random : undefined;
    while (transfers.size < CONCURRENT_PIECES) {
      const piece = child.dequeue((wanted) => this.#parentFor(child, wanted) !== undefined, random);
      if (piece === undefined) return;
      const parent = this.#parentFor(child, piece);
      if (parent !== undefined) this.#fetch(child, piece, parent);
    }
  }

  /** Drawn by what a parent's uplink seems to have left. */
  #parentFor(child: RivalPeer, piece: number): RivalPeer | undefined {
    const holders = [...child.parents].filter(
      ({ copy, endpoint }) => endpoint.isAlive && copy.has(piece),
    );
    const weights = holders.map(childCapacity);
    let draw = this.#random() * weights.reduce((total, weight) => total + weight, 0);
    for (const [at, weight] of weights.entries()) {
      draw -= weight;
      if (draw <= 0) return holders[at];
    }
    return holders.at(-1);
  }

  #fetch(child: RivalPeer, piece: number, from: RivalPeer | undefined): void {
    const bytes = this.#pieceBytes;
    child.claim(piece);
    const source = from?.endpoint ?? this.#network.origin;
    const job = this.#network.carry(source, child.endpoint, bytes, () => {
      this.#transfers.get(child)?.delete(transfer);
      child.release(piece);
      if (child.endpoint.isAlive) this.#arrived(child, piece, from);
    });
    const transfer: Transfer = { piece, from, bytes, job };
    this.#transfers.get(child)?.add(transfer);
  }

  #arrived(child: RivalPeer, piece: number, from: RivalPeer | undefined): void {
    const isCorrupt = from?.endpoint.spec.faults.some(({ kind }) => kind === "corrupts") === true;
    if (isCorrupt) {
      this.#wastedBytes += this.#pieceBytes;
      this.#fail(child, piece, "digest_mismatch");
      return;
    }
    if (child.copy.add(piece, this.#queue.nowMs)) this.#note(child, piece);
    else this.#wastedBytes += this.#pieceBytes;
    const { latencyMs } = this.#scenario.network;
    this.#queue.after(latencyMs, () => {
      for (const grandchild of child.children) this.#report(grandchild, piece);
    });
    if (child.copy.isFull) this.#complete(child);
    else if (child.isReadingOrigin) this.#readOrigin(child);
    else this.#pull(child);
  }

  #note(child: RivalPeer, piece: number): void {
    this.progress.note(child.copy, piece);
    const isOver = this.#scenario.origin.isDownWhenOut === true && this.progress.isOut;
    if (isOver) this.#closeOrigin();
  }

  #closeOrigin(): void {
    this.#isOriginUp = false;
    this.#network.origin.uplink.setRate(0);
  }

  /** Every candidate of before is blocked, also the good ones, and new parents are asked for. */
  #fail(child: RivalPeer, piece: number, reason: string): void {
    this.#failures.set(reason, (this.#failures.get(reason) ?? 0) + 1);
    child.forget(piece);
    for (const parent of child.parents) child.blocked.add(parent);
    this.#graph.disconnect(child);
    this.#schedule(child);
  }

  #complete(peer: RivalPeer): void {
    this.#openCount--;
    const { lingerMs } = peer.endpoint.spec;
    if (lingerMs !== undefined) this.#queue.after(lingerMs, () => this.#kill(peer.endpoint));
  }

  #planFaults(endpoint: Endpoint): void {
    for (const fault of endpoint.spec.faults) {
      if (fault.kind === "dies") this.#queue.at(fault.atMs, () => this.#kill(endpoint));
      if (fault.kind !== "stalls") continue;
      this.#queue.at(fault.atMs, () => endpoint.uplink.setRate(0));
      this.#queue.at(fault.untilMs, () => endpoint.uplink.setRate(endpoint.spec.upBytesPerMs));
    }
  }

  #kill(endpoint: Endpoint): void {
    if (!endpoint.isAlive) return;
    endpoint.isAlive = false;
    const peer = this.#graph.peerAt(endpoint);
    if (peer === undefined) return;
    if (!peer.copy.isFull) this.#openCount--;
    for (const transfer of this.#transfers.get(peer) ?? []) this.#cancel(transfer);
    for (const child of peer.children) {
      const broken = [...(this.#transfers.get(child) ?? [])].filter(({ from }) => from === peer);
      for (const transfer of broken) {
        this.#cancel(transfer);
        this.#transfers.get(child)?.delete(transfer);
        child.release(transfer.piece);
        child.requeue(transfer.piece);
      }
      child.parents.delete(peer);
      if (child.parents.size === 0) this.#schedule(child);
      else this.#pull(child);
    }
    this.#graph.remove(peer);
  }

  #cancel({ job, from, bytes }: Transfer): void {
    this.#wastedBytes += bytes - job.remainingBytes;
    (from?.endpoint ?? this.#network.origin).uplink.cancel(job);
  }
}
