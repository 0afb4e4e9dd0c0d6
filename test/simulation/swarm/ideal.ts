import { Copy } from "./copy.ts";
import { EventQueue } from "./event-queue.ts";
import { type Endpoint, Network, type Source } from "./network.ts";
import { pieceCountOfTask, type Scenario } from "./scenario.ts";
import { seededRandom } from "../../support/scheduler-world.ts";

/** Children looked at for one transfer. More hardly finds better ones. */
const CHILDREN_SAMPLED = 8;

/**
 * What a scheduler reaches that knows everything at once and whose word is a deed: rarest piece to the neediest of some children,
 * each uplink and each child busy with one piece at a time. Checks the network model against closed forms, and shows how much of
 * the distance to a bound is not the real scheduler's to win.
 *
 * One content; the origin and every host that has a piece push.
 *
 * @param originRepeats whether the origin goes on when every piece is out, as the closed forms have it; ours gives each piece once.
 * @returns milliseconds until the last host holds everything.
 */
export function idealMakespanMs(scenario: Scenario, originRepeats = false): number {
  const queue = new EventQueue();
  const swarm = new IdealSwarm(queue, scenario, originRepeats);
  swarm.start();
  queue.run(scenario.untilMs, () => false);
  return swarm.lastAtMs;
}

class IdealSwarm {
  lastAtMs = 0;
  readonly #queue: EventQueue;
  readonly #network: Network;
  readonly #pieceBytes: number;
  readonly #pieceCount: number;
  readonly #random: () => number;
  readonly #copies: readonly Copy[];
  /** Held or on its way, by host. */
  readonly #planned: readonly Uint8Array[];
  readonly #plannedCounts: Int32Array;
  /** Copies of each piece, held or on their way. */
  readonly #copyCounts: Int32Array;
  readonly #isTaking: Uint8Array;
  /** Children that take nothing now and want something, for drawing. */
  readonly #free: number[] = [];
  readonly #freeAt: Int32Array;
  /** Sources that found nobody to give anything. */
  readonly #idle = new Set<number>();
  readonly #originRepeats: boolean;
  #isWakeDue = false;

  constructor(queue: EventQueue, scenario: Scenario, originRepeats: boolean) {
    this.#originRepeats = originRepeats;
    const [task] = scenario.tasks;
    if (task === undefined) throw new RangeError("an ideal needs a content");
    this.#queue = queue;
    this.#network = new Network(queue, scenario);
    this.#pieceBytes = task.pieceBytes;
    this.#pieceCount = pieceCountOfTask(task);
    this.#random = seededRandom(scenario.prngSeed);
    const hostCount = scenario.hosts.length;
    this.#copies = scenario.hosts.map((_, host) => new Copy(0, host, this.#pieceCount, 0));
    this.#planned = scenario.hosts.map(() => new Uint8Array(this.#pieceCount));
    this.#plannedCounts = new Int32Array(hostCount);
    this.#copyCounts = new Int32Array(this.#pieceCount);
    this.#isTaking = new Uint8Array(hostCount);
    this.#freeAt = new Int32Array(hostCount).fill(-1);
    for (let host = 0; host < hostCount; host++) this.#release(host);
  }

  start(): void {
    this.#idle.add(ORIGIN);
    this.#wakeSoon();
  }

  /** Everything that happens at one time is known before anything is decided: equal rounds stay rounds. */
  #wakeSoon(): void {
    if (this.#isWakeDue) return;
    this.#isWakeDue = true;
    this.#queue.after(0, () => {
      this.#isWakeDue = false;
      // The origin first: what only it has holds everybody up.
      const sources = [...this.#idle].toSorted((a, b) => a - b);
      for (const source of sources) if (this.#give(source)) this.#idle.delete(source);
    });
  }

  #give(source: number): boolean {
    const child = source === ORIGIN ? this.#anyFree() : this.#neediest(source);
    if (child === undefined) return false;
    const piece = this.#rarest(source, child);
    if (piece === undefined) return false;
    this.#take(child);
    this.#plan(child, piece);
    this.#network.carry(this.#source(source), this.#endpoint(child), this.#pieceBytes, () => {
      this.#copies[child]?.add(piece, this.#queue.nowMs);
      this.lastAtMs = this.#queue.nowMs;
      this.#idle.add(source).add(child);
      if (this.#copies[child]?.isFull === false) this.#release(child);
      this.#wakeSoon();
    });
    return true;
  }

  #neediest(source: number): number | undefined {
    let best: number | undefined;
    for (let draw = 0; draw < CHILDREN_SAMPLED; draw++) {
      const child = this.#anyFree();
      if (child === undefined || child === source) continue;
      const isNeedier =
        best === undefined || (this.#plannedCounts[child] ?? 0) < (this.#plannedCounts[best] ?? 0);
      if (isNeedier && this.#rarest(source, child) !== undefined) best = child;
    }
    return best ?? this.#free.find((child) => this.#rarest(source, child) !== undefined);
  }

  #rarest(source: number, child: number): number | undefined {
    const planned = this.#planned[child];
    const copy = source === ORIGIN ? undefined : this.#copies[source];
    let best: number | undefined;
    let bestCount = Infinity;
    let tieCount = 0;
    for (let piece = 0; piece < this.#pieceCount; piece++) {
      if (planned?.[piece] !== 0) continue;
      const count = this.#copyCounts[piece] ?? 0;
      // The origin gives what nobody has first, in order.
      if (copy === undefined && count === 0) return piece;
      if (copy === undefined && !this.#originRepeats) continue;
      if (count > bestCount || copy?.has(piece) === false) continue;
      tieCount = count < bestCount ? 1 : tieCount + 1;
      if (this.#random() * tieCount < 1) best = piece;
      bestCount = count;
    }
    return best;
  }

  #plan(child: number, piece: number): void {
    const planned = this.#planned[child];
    if (planned === undefined) return;
    planned[piece] = 1;
    this.#plannedCounts[child] = (this.#plannedCounts[child] ?? 0) + 1;
    this.#copyCounts[piece] = (this.#copyCounts[piece] ?? 0) + 1;
  }

  #anyFree(): number | undefined {
    return this.#free[Math.floor(this.#random() * this.#free.length)];
  }

  #take(child: number): void {
    this.#isTaking[child] = 1;
    const at = this.#freeAt[child] ?? -1;
    const last = this.#free.pop();
    if (last === undefined || at < 0) return;
    if (last !== child) {
      this.#free[at] = last;
      this.#freeAt[last] = at;
    }
    this.#freeAt[child] = -1;
  }

  #release(child: number): void {
    this.#isTaking[child] = 0;
    this.#freeAt[child] = this.#free.length;
    this.#free.push(child);
  }

  #source(source: number): Source {
    return source === ORIGIN ? this.#network.origin : this.#endpoint(source);
  }

  #endpoint(host: number): Endpoint {
    const endpoint = this.#network.endpoints[host];
    if (endpoint === undefined) throw new RangeError(`no host ${host}`);
    return endpoint;
  }
}

const ORIGIN = -1;
