import type { Host } from "../state.ts";
import { Rarity } from "./rarity.ts";

/** Hosts that share an idc. */
export interface Zone {
  readonly idc: string;
  readonly number: number;
  /** Copies in the zone, of each piece. */
  readonly rarity: Rarity;
  memberCount: number;
  /** Live leases that bring pieces into the zone from another one. */
  inboundCount: number;
  /** Likewise, out of it. */
  outboundCount: number;
}

/**
 * Cells (zones x pieces) of the counts by zone of one task: 48 MiB. A zone beyond them shares the last one's counts, which costs
 * locality and nothing else.
 */
const ZONE_CELLS_MAX = 2 ** 22;

/** The zones and racks of one task's peers, numbered as they are met. */
export class Places {
  readonly zones: Zone[] = [];
  readonly #pieceCount: number;
  readonly #prngSeed: number;
  readonly #zoneByIdc = new Map<string, number>();
  readonly #rackByName = new Map<string, number>();

  constructor(pieceCount: number, prngSeed: number) {
    this.#pieceCount = pieceCount;
    this.#prngSeed = prngSeed;
  }

  zoneFor(idc: string): number {
    const known = this.#zoneByIdc.get(idc);
    if (known !== undefined) return known;
    const cells = (this.zones.length + 1) * this.#pieceCount;
    const hasRoom = this.zones.length === 0 || cells <= ZONE_CELLS_MAX;
    const number = hasRoom ? this.zones.length : this.zones.length - 1;
    if (hasRoom) {
      const rarity = new Rarity(this.#pieceCount, this.#prngSeed + number + 1);
      this.zones.push({ idc, number, rarity, memberCount: 0, inboundCount: 0, outboundCount: 0 });
    }
    this.#zoneByIdc.set(idc, number);
    return number;
  }

  /** The first two parts of a location, `region|rack`, name the rack; 0 when there is none. */
  rackFor(host: Host): number {
    if (host.location === "") return 0;
    const name = `${host.idc}|${host.location.split("|", 2).join("|")}`;
    const known = this.#rackByName.get(name);
    if (known !== undefined) return known;
    const number = this.#rackByName.size + 1;
    this.#rackByName.set(name, number);
    return number;
  }
}
