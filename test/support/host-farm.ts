import type { Event } from "@lacewing/contracts/gen/lacewing/events/v1/events.ts";
import { countOf } from "@lacewing/contracts/pieces.ts";
import type { Lease } from "@lacewing/scheduler/core/lease.ts";
import { announcement, description, digestsOf, requestBy, TASK } from "./scheduler-world.ts";

/** What a farm consists of. */
export interface FarmSpec {
  readonly hostCount: number;
  readonly pieceCount: number;
  readonly pieceBytes: number;
  readonly zoneCount: number;
  /** Of the pieces, at random: what each host holds from the start. Host 0 holds all. */
  readonly heldShare: number;
  /** Each host sends one lease after the other, in the order in which they were granted. */
  readonly upBytesPerMs: number;
  readonly random: () => number;
}

/** What a host says at a time. */
export interface FarmMessage {
  readonly hostId: string;
  readonly sequence: number;
  readonly kinds: readonly NonNullable<Event["kind"]>[];
}

/**
 * Pieces that arrive in one millisecond, in columns: hundreds of thousands are under way, and an object for each would be a part of the
 * garbage whose collection is counted as the core's.
 */
class Arrivals {
  readonly hosts: number[] = [];
  readonly pieces: number[] = [];
  /** Of the lease that ends with the piece; "" when none does. */
  readonly leaseIds: string[] = [];
  readonly pieceCounts: number[] = [];
  readonly durationsMs: number[] = [];
}

const ASSIGNMENT_MS = 1;

/**
 * Very many hosts that download one content and do nothing else: in memory they are a bitmap and the pieces on their way, so that
 * what a process with them needs is what the scheduler's core needs. Host 0 has the content.
 */
export class HostFarm {
  readonly #spec: FarmSpec;
  readonly #bitmapBytes: number;
  readonly #held: Uint8Array;
  readonly #heldCounts: Uint32Array;
  readonly #sequences: Uint32Array;
  /** When the uplink of each host has sent all that was granted. */
  readonly #freeAtMs: Float64Array;
  /** By millisecond. */
  readonly #arrivals = new Map<number, Arrivals>();
  finishedCount = 0;

  constructor(spec: FarmSpec) {
    this.#spec = spec;
    this.#bitmapBytes = Math.ceil(spec.pieceCount / 8);
    this.#held = new Uint8Array(spec.hostCount * this.#bitmapBytes);
    this.#heldCounts = new Uint32Array(spec.hostCount);
    this.#sequences = new Uint32Array(spec.hostCount);
    this.#freeAtMs = new Float64Array(spec.hostCount);
  }

  /** Announces of all hosts, then what they hold, then their requests. */
  *start(): Generator<FarmMessage> {
    const { hostCount, pieceCount, pieceBytes, zoneCount, heldShare, random } = this.#spec;
    for (let host = 0; host < hostCount; host++) {
      const idc = `idc-${host % zoneCount}`;
      const value = announcement(`host-${host}`, { idc, uploadSlots: 16 });
      yield this.#message(host, [{ $case: "hostAnnounced", value }]);
    }
    const described = description({
      lengthBytes: pieceCount * pieceBytes,
      pieceLengthBytes: pieceBytes,
    });
    for (let piece = 0; piece < pieceCount; piece++) this.#hold(0, piece);
    const all = Array.from({ length: pieceCount }, (_, piece) => piece);
    yield this.#message(0, [
      { $case: "taskDescribed", value: described },
      this.#availability(0, [], digestsOf(all)),
    ]);
    for (let host = 1; host < hostCount; host++) {
      for (let piece = 0; piece < pieceCount && heldShare > 0; piece++) {
        if (random() < heldShare) this.#hold(host, piece);
      }
      // Of very many that hold nearly everything, some hold all.
      if (this.#heldCounts[host] === pieceCount) this.finishedCount++;
      const request = requestBy(`host-${host}`, { canReadOrigin: false });
      const asks = { $case: "taskRequested", value: request } as const;
      yield this.#message(
        host,
        heldShare === 0 ? [asks] : [this.#availability(host, [], []), asks],
      );
    }
  }

  /** Has the lease's pieces arrive, one after the other, when its parent's uplink is free. */
  take(lease: Lease, nowMs: number): void {
    const { pieceBytes, upBytesPerMs } = this.#spec;
    const pieceMs = pieceBytes / upBytesPerMs;
    const host = numberOf(lease.childHostId);
    const parent = numberOf(lease.parentHostId);
    const startedAtMs = Math.max(nowMs + ASSIGNMENT_MS, this.#freeAtMs[parent] ?? 0);
    let at = 0;
    const pieceCount = countOf(lease.pieces);
    for (const range of lease.pieces) {
      for (let piece = range.start; piece < range.start + range.count; piece++) {
        const arrivesAtMs = startedAtMs + ++at * pieceMs;
        const arrivals = this.#arrivalsAt(Math.ceil(arrivesAtMs));
        arrivals.hosts.push(host);
        arrivals.pieces.push(piece);
        arrivals.leaseIds.push(at < pieceCount ? "" : lease.leaseId);
        arrivals.pieceCounts.push(pieceCount);
        arrivals.durationsMs.push(Math.round(arrivesAtMs - nowMs));
      }
    }
    this.#freeAtMs[parent] = startedAtMs + pieceCount * pieceMs;
  }

  /** What hosts say in this millisecond: each message about one piece, made when it is asked for. */
  *due(nowMs: number): Generator<FarmMessage> {
    const arrivals = this.#arrivals.get(nowMs);
    if (arrivals === undefined) return;
    this.#arrivals.delete(nowMs);
    for (let at = 0; at < arrivals.hosts.length; at++) yield this.#arrive(arrivals, at);
  }

  get isFinished(): boolean {
    return this.finishedCount >= this.#spec.hostCount - 1;
  }

  #arrive(arrivals: Arrivals, at: number): FarmMessage {
    const host = arrivals.hosts[at] ?? 0;
    this.#hold(host, arrivals.pieces[at] ?? 0);
    const leaseId = arrivals.leaseIds[at] ?? "";
    const bytes = (arrivals.pieceCounts[at] ?? 0) * this.#spec.pieceBytes;
    const durationMs = arrivals.durationsMs[at] ?? 0;
    const leasesEnded = leaseId === "" ? [] : [{ leaseId, bytes, durationMs }];
    const available = this.#availability(host, leasesEnded, []);
    if (this.#heldCounts[host] !== this.#spec.pieceCount) return this.#message(host, [available]);
    this.finishedCount++;
    const requestId = `request-of-host-${host}`;
    return this.#message(host, [
      available,
      { $case: "requestEnded", value: { taskId: TASK, requestId } },
      { $case: "taskVerified", value: { taskId: TASK, incarnation: 1, digest: "sha256:whole" } },
    ]);
  }

  #availability(
    host: number,
    leasesEnded: readonly { leaseId: string; bytes: number; durationMs: number }[],
    digests: ReturnType<typeof digestsOf>,
  ) {
    const start = host * this.#bitmapBytes;
    const bitmap = this.#held.slice(start, start + this.#bitmapBytes);
    const value = { taskId: TASK, incarnation: 1, bitmap, digests, leasesEnded: [...leasesEnded] };
    return { $case: "piecesAvailable", value } as const;
  }

  #message(host: number, kinds: FarmMessage["kinds"]): FarmMessage {
    const sequence = (this.#sequences[host] ?? 0) + 1;
    this.#sequences[host] = sequence;
    return { hostId: `host-${host}`, sequence, kinds };
  }

  #hold(host: number, piece: number): void {
    const at = host * this.#bitmapBytes + (piece >> 3);
    const before = this.#held[at] ?? 0;
    const after = before | (1 << (piece & 7));
    if (after === before) return;
    this.#held[at] = after;
    this.#heldCounts[host] = (this.#heldCounts[host] ?? 0) + 1;
  }

  #arrivalsAt(atMs: number): Arrivals {
    const known = this.#arrivals.get(atMs);
    if (known !== undefined) return known;
    const arrivals = new Arrivals();
    this.#arrivals.set(atMs, arrivals);
    return arrivals;
  }
}

function numberOf(hostId: string): number {
  return Number(hostId.slice("host-".length));
}
