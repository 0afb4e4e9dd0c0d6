import { SLICE_COUNT } from "@lacewing/contracts/slices.ts";
import { overdueAtMs } from "./leases.ts";
import type { Lease } from "./lease.ts";

/** Leases with numbers that follow one another share a block. A block with one lease left costs as much as some leases do. */
const BLOCK_LEASES = 128;

interface Block {
  readonly leases: (Lease | undefined)[];
  count: number;
  /** Nothing is to be done about any of them before this. */
  overdueAtMs: number;
}

/**
 * Leases by id. Hundreds of thousands come and go, nearly in the order of their numbers, and each is looked up several times: an array
 * by number, kept in blocks that are given up when they are empty, does that without hashing a text and without ever growing as a
 * whole.
 */
export class LeaseIndex {
  /** By slice and epoch, then by the number of the block. */
  readonly #blocks = new Map<number, Map<number, Block>>();
  #size = 0;
  /** The blocks that were asked for last: nearly all leases of a time are of one series. */
  #lastSeries = -1;
  #lastBlocks: Map<number, Block> | undefined;

  get size(): number {
    return this.#size;
  }

  get(leaseId: string): Lease | undefined {
    const [slice, epoch, number] = leaseId.split("-");
    const found = this.#at(Number(slice), Number(epoch), Number(number));
    // Hosts say what they like: `07-3-1e3` is no lease.
    return found?.leaseId === leaseId ? found : undefined;
  }

  has(slice: number, epoch: number, number: number): boolean {
    return this.#at(slice, epoch, number) !== undefined;
  }

  /** One that is there already, and was given less time than before, has to be added again. */
  add(lease: Lease): void {
    const block = this.#blockFor(lease);
    const place = lease.number % BLOCK_LEASES;
    if (block.leases[place] === undefined) {
      block.count++;
      this.#size++;
    }
    block.leases[place] = lease;
    block.overdueAtMs = Math.min(block.overdueAtMs, overdueAtMs(lease));
  }

  delete(lease: Lease): void {
    const blocks = this.#seriesAt(seriesOf(lease.slice, lease.epoch));
    const number = Math.floor(lease.number / BLOCK_LEASES);
    const block = blocks?.get(number);
    const place = lease.number % BLOCK_LEASES;
    if (blocks === undefined || block?.leases[place] !== lease) return;
    block.leases[place] = undefined;
    this.#size--;
    if (--block.count > 0) return;
    blocks.delete(number);
    if (blocks.size > 0) return;
    this.#blocks.delete(seriesOf(lease.slice, lease.epoch));
    this.#lastSeries = -1;
  }

  /** Leases about which something may have to be done. Looks only at blocks with such a one: most are empty before their time. */
  *due(nowMs: number): Generator<Lease> {
    for (const blocks of this.#blocks.values()) {
      for (const block of blocks.values()) {
        if (block.overdueAtMs > nowMs) continue;
        block.overdueAtMs = Infinity;
        for (const lease of block.leases) {
          if (lease === undefined) continue;
          block.overdueAtMs = Math.min(block.overdueAtMs, overdueAtMs(lease));
          if (overdueAtMs(lease) <= nowMs) yield lease;
        }
      }
    }
  }

  /** By slice and epoch, the oldest numbers first. */
  *values(): Generator<Lease> {
    for (const blocks of this.#blocks.values()) {
      for (const { leases } of blocks.values()) {
        for (const lease of leases) if (lease !== undefined) yield lease;
      }
    }
  }

  #at(slice: number, epoch: number, number: number): Lease | undefined {
    const block = this.#seriesAt(seriesOf(slice, epoch))?.get(Math.floor(number / BLOCK_LEASES));
    return block?.leases[number % BLOCK_LEASES];
  }

  #seriesAt(series: number): Map<number, Block> | undefined {
    if (series !== this.#lastSeries) {
      this.#lastSeries = series;
      this.#lastBlocks = this.#blocks.get(series);
    }
    return this.#lastBlocks;
  }

  #blockFor({ slice, epoch, number }: Lease): Block {
    const series = seriesOf(slice, epoch);
    let blocks = this.#seriesAt(series);
    if (blocks === undefined) {
      blocks = new Map();
      this.#blocks.set(series, blocks);
      this.#lastSeries = -1;
    }
    const blockNumber = Math.floor(number / BLOCK_LEASES);
    let block = blocks.get(blockNumber);
    if (block === undefined) {
      // No longer than its lease with the highest number: of small tasks one after the other each has a block to itself.
      block = { leases: [], count: 0, overdueAtMs: Infinity };
      blocks.set(blockNumber, block);
    }
    return block;
  }
}

/** The number of a lease in its slice and epoch, which its id ends with. */
export function leaseNumberOf(leaseId: string): number {
  return Number(leaseId.slice(leaseId.lastIndexOf("-") + 1));
}

function seriesOf(slice: number, epoch: number): number {
  return epoch * SLICE_COUNT + slice;
}
