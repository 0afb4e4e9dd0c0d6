import type { Lease } from "../lease.ts";
import type { Host, Peer } from "../state.ts";
import type { PieceSet } from "../piece-sets.ts";
import { Groups } from "./groups.ts";
import { MeanPace } from "./mean-pace.ts";
import { Offers } from "./offers.ts";
import { Places, type Zone } from "./places.ts";
import { Rarity } from "./rarity.ts";
import { Rows } from "./rows.ts";
import { Timetable } from "./timetable.ts";
import { type Wants, wantedWord } from "./wants.ts";
import { clearBit, grown, hasBit, lowestBit, setBit } from "./words.ts";

/** What a peer may do as a source now. */
export const ACTIVITY = {
  /** It serves nobody: its host cannot be reached, or its copy is void. */
  off: 0,
  /** Its next lease has to be looked for. */
  ready: 1,
  /** It had nothing for anybody when it was looked at last, and has a free slot. */
  idle: 2,
  /** All upload slots of its host are taken. */
  waiting: 3,
} as const;

const NEED = { none: 0, needy: 1, starved: 2 } as const;

/**
 * Index of one described task for matching: who holds, gets and wants which piece, as typed arrays over the ordinals of its peers.
 * It follows from the folded state (see `sync.ts`), is kept by the ledger change by change, and decides nothing.
 *
 * `plan` is what a peer holds or has on its way: a piece in flight counts as a copy at once.
 */
export class Swarm {
  readonly pieceCount: number;
  readonly words: number;
  /** Copies of each piece anywhere: held by peers that can serve, or on their way to somebody. */
  readonly rarity: Rarity;
  /** Leases of each piece that are under way. */
  readonly inFlight: Uint32Array;
  /** Pieces whose digest is known: only these may come from a peer. */
  readonly known: Uint32Array;
  /** Pieces of which there is exactly one copy. */
  readonly sole: Uint32Array;
  /** Of each piece: sources that hold it while its digest is not known; they count as soon as it is. */
  readonly unknownHeld: Uint32Array;
  /** Of each piece: how many zones have no copy. */
  readonly lackingZoneCounts: Uint32Array;
  /** Pieces of which some zone has no copy. */
  readonly lacking: Uint32Array;
  readonly zones: readonly Zone[];
  /** Peers that can take a lease, by zone, by rack, all, and those of them that have none, all and by zone. */
  readonly needyByZone = new Groups();
  readonly needyByRack = new Groups();
  readonly needy = new Groups();
  readonly starved = new Groups();
  readonly starvedByZone = new Groups();
  /** Peers in activity "idle", by zone and all. */
  readonly idleByZone = new Groups();
  readonly idle = new Groups();
  /** What the idle ones of each zone hold together. */
  readonly offers: Offers;
  /** Peers in activity "ready", in the order in which they became so; may hold some that no longer are. */
  ready: number[] = [];
  /** Peers that may be given something by an idle source or the origin; may hold some that cannot. */
  fresh: number[] = [];
  /** When idle sources and starved peers were last looked at without a cause. */
  retriedAtMs = 0;
  /** When a piece last arrived anywhere. */
  progressAtMs = 0;
  /** Live leases from the origin. */
  readonly originLeases = new Set<Lease>();
  /** Bytes per millisecond of finished leases, smoothed; 0 before the first. */
  bytesPerMs = 0;
  /** Likewise of finished leases from the origin: what it gives one of its readers. */
  originBytesPerMs = 0;
  readonly hostPace = new MeanPace();

  readonly rows: Rows;
  readonly timetable: Timetable;
  readonly peers: (Peer | undefined)[] = [];
  readonly hosts: (Host | undefined)[] = [];
  readonly wants: (Wants | undefined)[] = [];
  #isSource = new Uint8Array(16);
  #canTake = new Uint8Array(16);
  #activity = new Uint8Array(16);
  #isFresh = new Uint8Array(16);
  #needs = new Uint8Array(16);
  /** 0: no rack is known. */
  #rackOf = new Uint32Array(16);
  readonly #freeOrdinals: number[] = [];
  readonly #places: Places;

  constructor(pieceCount: number, prngSeed: number) {
    this.pieceCount = pieceCount;
    this.rows = new Rows(pieceCount);
    this.words = this.rows.words;
    this.timetable = new Timetable(this.rows);
    this.offers = new Offers(this.rows, this.idleByZone);
    this.rarity = new Rarity(pieceCount, prngSeed);
    this.inFlight = new Uint32Array(pieceCount);
    this.known = new Uint32Array(this.words);
    this.sole = new Uint32Array(this.words);
    this.unknownHeld = new Uint32Array(pieceCount);
    this.lackingZoneCounts = new Uint32Array(pieceCount);
    this.lacking = new Uint32Array(this.words);
    this.#places = new Places(pieceCount, prngSeed);
    this.zones = this.#places.zones;
  }

  isSource = (peer: number): boolean => this.#isSource[peer] === 1;
  activityOf = (peer: number): number => this.#activity[peer] ?? ACTIVITY.off;
  /** As above, or of the origin as long as no host is known to send anything. */
  get usualBytesPerMs(): number {
    return this.bytesPerMs || this.originBytesPerMs;
  }
  planCountOf = (peer: number): number => this.rows.planCountOf(peer);
  leaseCountOf = (peer: number): number => this.rows.leaseCountOf(peer);
  missingCountOf = (peer: number): number => this.rows.missingCountOf(peer);
  zoneOf = (peer: number): number => this.rows.zoneOf(peer);
  rackOf = (peer: number): number => this.#rackOf[peer] ?? 0;
  holds = (peer: number, piece: number): boolean =>
    hasBit(this.rows.data, this.rows.haveAt(peer), piece);
  plans = (peer: number, piece: number): boolean =>
    hasBit(this.rows.data, this.rows.planAt(peer), piece);

  /** Whether the peer wants the piece, held or not. */
  isWanted(peer: number, piece: number): boolean {
    const wants = this.wants[peer] ?? "nothing";
    return wants === "all" || (wants !== "nothing" && hasBit(wants, 0, piece));
  }

  /** Takes a peer in; its copies count when it is made a source. */
  join(peer: Peer, host: Host, held: PieceSet, leased: PieceSet): void {
    const ordinal = this.#freeOrdinals.pop() ?? this.peers.length;
    this.#ensure(ordinal);
    peer.ordinal = ordinal;
    this.peers[ordinal] = peer;
    this.hosts[ordinal] = host;
    this.wants[ordinal] = "nothing";
    const { rows } = this;
    rows.clear(ordinal);
    this.timetable.clear(ordinal);
    rows.setLeaseCount(ordinal, peer.leases.length);
    rows.setZone(ordinal, this.#places.zoneFor(host.idc));
    this.#rackOf[ordinal] = this.#places.rackFor(host);
    rows.setHeld(ordinal, held);
    const zone = this.zones[this.zoneOf(ordinal)];
    if (zone !== undefined && ++zone.memberCount === 1) this.#countLacking(zone, 1);
    for (let at = 0; at < this.words && leased.count > 0; at++) {
      for (let word = leased.wordAt(at); word !== 0; word &= word - 1)
        this.lease(ordinal, at * 32 + lowestBit(word));
    }
  }

  /** Forgets a peer and its copies. */
  leave(peer: Peer): void {
    const ordinal = peer.ordinal;
    if (ordinal < 0) return;
    this.setSource(ordinal, false);
    for (let piece = 0; piece < this.pieceCount; piece++) {
      if (this.plans(ordinal, piece) && !this.holds(ordinal, piece)) this.unlease(ordinal, piece);
    }
    this.setWants(ordinal, "nothing");
    this.setCanTake(ordinal, false);
    const zone = this.zones[this.zoneOf(ordinal)];
    if (zone !== undefined && --zone.memberCount === 0) this.#countLacking(zone, -1);
    this.peers[ordinal] = undefined;
    this.hosts[ordinal] = undefined;
    this.wants[ordinal] = undefined;
    this.#freeOrdinals.push(ordinal);
    peer.ordinal = -1;
  }

  /** Whether its held pieces can be read by others; they count as copies only then. */
  setSource(ordinal: number, isSource: boolean): void {
    if (this.isSource(ordinal) === isSource) return;
    this.#isSource[ordinal] = isSource ? 1 : 0;
    const have = this.rows.haveAt(ordinal);
    for (let at = 0; at < this.words; at++) {
      let word = this.rows.data[have + at] ?? 0;
      while (word !== 0) {
        const piece = at * 32 + 31 - Math.clz32(word & -word);
        word &= word - 1;
        if (isSource) this.#addHeld(ordinal, piece);
        else this.#removeHeld(ordinal, piece);
      }
    }
    const holdsSomething = (this.peers[ordinal]?.held.count ?? 0) > 0;
    this.setActivity(ordinal, isSource && holdsSomething ? ACTIVITY.ready : ACTIVITY.off);
  }

  setWants(ordinal: number, wants: Wants): void {
    // A set may say something else than the one before, a word does not.
    if (this.wants[ordinal] !== wants || typeof wants !== "string") {
      this.wants[ordinal] = wants;
      this.rows.setMissing(ordinal, (at) => wantedWord(wants, this.pieceCount, at));
    }
    this.#updateNeedy(ordinal);
  }

  setLeaseCount(ordinal: number, count: number): void {
    this.rows.setLeaseCount(ordinal, count);
  }

  /** Whether its host can be told anything and has room for one more lease. */
  setCanTake(ordinal: number, canTake: boolean): void {
    this.#canTake[ordinal] = canTake ? 1 : 0;
    this.#updateNeedy(ordinal);
  }

  setActivity(ordinal: number, activity: number): void {
    const before = this.#activity[ordinal] ?? ACTIVITY.off;
    if (before === activity) return;
    this.#activity[ordinal] = activity;
    if (before === ACTIVITY.idle) {
      this.idle.delete(0, ordinal);
      this.idleByZone.delete(this.zoneOf(ordinal), ordinal);
      this.offers.remove(this.zoneOf(ordinal));
    }
    if (activity === ACTIVITY.idle) {
      this.idle.add(0, ordinal);
      this.idleByZone.add(this.zoneOf(ordinal), ordinal);
      this.offers.add(this.zoneOf(ordinal), ordinal);
    }
    if (activity === ACTIVITY.ready) this.ready.push(ordinal);
  }

  /** Has the next turn look for something for the peer. */
  freshen(ordinal: number): void {
    if (this.#isFresh[ordinal] === 1 || this.#needs[ordinal] === NEED.none) return;
    this.#isFresh[ordinal] = 1;
    this.fresh.push(ordinal);
  }

  takeFresh(): readonly number[] {
    const { fresh } = this;
    this.fresh = [];
    for (const ordinal of fresh) this.#isFresh[ordinal] = 0;
    return fresh;
  }

  takeReady(): readonly number[] {
    const { ready } = this;
    this.ready = [];
    return ready;
  }

  /** A piece is on its way to the peer. */
  lease(ordinal: number, piece: number): void {
    this.#addToPlan(ordinal, piece);
    this.inFlight[piece] = (this.inFlight[piece] ?? 0) + 1;
    this.#addCopy(ordinal, piece);
    this.#removeMissing(ordinal, piece);
  }

  /** A piece that was on its way will not come. */
  unlease(ordinal: number, piece: number): void {
    this.#removeFromPlan(ordinal, piece);
    this.inFlight[piece] = (this.inFlight[piece] ?? 1) - 1;
    this.#removeCopy(ordinal, piece);
    if (this.isWanted(ordinal, piece)) this.#addMissing(ordinal, piece);
  }

  /** The peer holds a piece, whether it was on its way or not. */
  hold(ordinal: number, piece: number): void {
    if (this.holds(ordinal, piece)) return;
    setBit(this.rows.data, this.rows.haveAt(ordinal), piece);
    const isSource = this.isSource(ordinal);
    if (this.plans(ordinal, piece)) {
      this.inFlight[piece] = (this.inFlight[piece] ?? 1) - 1;
      if (!isSource || !hasBit(this.known, 0, piece)) {
        this.#removeCopy(ordinal, piece);
        if (isSource) this.#addHeld(ordinal, piece);
      }
    } else {
      this.#addToPlan(ordinal, piece);
      if (isSource) this.#addHeld(ordinal, piece);
      this.#removeMissing(ordinal, piece);
    }
    const activity = this.activityOf(ordinal);
    const isAsleep = activity === ACTIVITY.idle || activity === ACTIVITY.off;
    if (isSource && isAsleep) this.setActivity(ordinal, ACTIVITY.ready);
  }

  /** The digest of a piece is known from now on: it may come from a peer. */
  learn(piece: number): void {
    if (piece >= this.pieceCount || hasBit(this.known, 0, piece)) return;
    setBit(this.known, 0, piece);
    if ((this.unknownHeld[piece] ?? 0) === 0) return;
    this.unknownHeld[piece] = 0;
    for (let ordinal = 0; ordinal < this.peers.length; ordinal++) {
      if (!this.isSource(ordinal) || !this.holds(ordinal, piece)) continue;
      this.#addCopy(ordinal, piece);
      if (this.activityOf(ordinal) === ACTIVITY.idle) this.setActivity(ordinal, ACTIVITY.ready);
    }
  }

  /** The peer does not hold a piece any more. */
  unhold(ordinal: number, piece: number): void {
    if (!this.holds(ordinal, piece)) return;
    clearBit(this.rows.data, this.rows.haveAt(ordinal), piece);
    this.#removeFromPlan(ordinal, piece);
    if (this.isSource(ordinal)) this.#removeHeld(ordinal, piece);
    if (this.isWanted(ordinal, piece)) this.#addMissing(ordinal, piece);
  }

  /** The peer holds nothing any more. */
  unholdAll(ordinal: number): void {
    for (let piece = 0; piece < this.pieceCount; piece++) this.unhold(ordinal, piece);
  }

  #addHeld(ordinal: number, piece: number): void {
    if (hasBit(this.known, 0, piece)) this.#addCopy(ordinal, piece);
    else this.unknownHeld[piece] = (this.unknownHeld[piece] ?? 0) + 1;
  }

  #removeHeld(ordinal: number, piece: number): void {
    if (hasBit(this.known, 0, piece)) this.#removeCopy(ordinal, piece);
    else this.unknownHeld[piece] = (this.unknownHeld[piece] ?? 1) - 1;
  }

  #addCopy(ordinal: number, piece: number): void {
    const count = this.rarity.increment(piece);
    if (count === 1) setBit(this.sole, 0, piece);
    else if (count === 2) clearBit(this.sole, 0, piece);
    const zone = this.zones[this.zoneOf(ordinal)];
    if (zone?.rarity.increment(piece) === 1) this.#addLacking(piece, -1);
  }

  #removeCopy(ordinal: number, piece: number): void {
    const count = this.rarity.decrement(piece);
    if (count === 1) setBit(this.sole, 0, piece);
    else if (count === 0) clearBit(this.sole, 0, piece);
    const zone = this.zones[this.zoneOf(ordinal)];
    if (zone?.rarity.decrement(piece) === 0) this.#addLacking(piece, 1);
  }

  #addToPlan(ordinal: number, piece: number): void {
    setBit(this.rows.data, this.rows.planAt(ordinal), piece);
    this.rows.setPlanCount(ordinal, this.planCountOf(ordinal) + 1);
  }

  #removeFromPlan(ordinal: number, piece: number): void {
    clearBit(this.rows.data, this.rows.planAt(ordinal), piece);
    this.rows.setPlanCount(ordinal, this.planCountOf(ordinal) - 1);
  }

  #addMissing(ordinal: number, piece: number): void {
    if (this.rows.isMissing(ordinal, piece)) return;
    if (this.rows.addMissing(ordinal, piece) === 1) this.#updateNeedy(ordinal);
  }

  #removeMissing(ordinal: number, piece: number): void {
    if (!this.rows.isMissing(ordinal, piece)) return;
    if (this.rows.removeMissing(ordinal, piece) === 0) this.#updateNeedy(ordinal);
  }

  #updateNeedy(ordinal: number): void {
    const isNeedy = this.#canTake[ordinal] === 1 && this.missingCountOf(ordinal) > 0;
    const isStarved = isNeedy && this.leaseCountOf(ordinal) === 0;
    const need = isStarved ? NEED.starved : isNeedy ? NEED.needy : NEED.none;
    if (need === this.#needs[ordinal]) return;
    this.#needs[ordinal] = need;
    const zone = this.zoneOf(ordinal);
    const rack = this.rackOf(ordinal);
    this.needy.put(0, ordinal, isNeedy);
    this.needyByZone.put(zone, ordinal, isNeedy);
    if (rack > 0) this.needyByRack.put(rack, ordinal, isNeedy);
    this.starved.put(0, ordinal, isStarved);
    this.starvedByZone.put(zone, ordinal, isStarved);
  }

  /** A zone with members, or without any more: the pieces that it has no copy of lack one zone more, or less. */
  #countLacking(zone: Zone, change: number): void {
    for (let piece = 0; piece < this.pieceCount; piece++) {
      if (zone.rarity.countOf(piece) === 0) this.#addLacking(piece, change);
    }
  }

  #addLacking(piece: number, change: number): void {
    const count = (this.lackingZoneCounts[piece] ?? 0) + change;
    this.lackingZoneCounts[piece] = count;
    if (count > 0) setBit(this.lacking, 0, piece);
    else clearBit(this.lacking, 0, piece);
  }

  #ensure(ordinal: number): void {
    this.rows.ensure(ordinal);
    if (ordinal < this.#isSource.length) return;
    const capacity = this.#isSource.length * 2;
    this.#isSource = grown(this.#isSource, new Uint8Array(capacity));
    this.#canTake = grown(this.#canTake, new Uint8Array(capacity));
    this.#activity = grown(this.#activity, new Uint8Array(capacity));
    this.#isFresh = grown(this.#isFresh, new Uint8Array(capacity));
    this.#needs = grown(this.#needs, new Uint8Array(capacity));
    this.#rackOf = grown(this.#rackOf, new Uint32Array(capacity));
  }
}
