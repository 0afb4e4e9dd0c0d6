import type { FetchOrder } from "./fetch-order.ts";
import type { FetchEnd } from "./lease-fetch.ts";
import type { Stretch } from "./stretch.ts";

/** A fetch under way on a board. */
export interface ActiveFetch {
  readonly order: FetchOrder;
  readonly abort: AbortController;
  /** Why it ends with the piece that is arriving; for good, or unless somebody joins meanwhile. */
  lastPieceReason: Error | undefined;
  isEnding: boolean;
  /** It brought enough that trying again makes sense. */
  hasAdvanced: boolean;
  /** What it reads, or will read, at present. */
  readonly stretches: Set<Stretch>;
  /** Reads beside each other. One that fails ends the others. */
  reads: Promise<unknown>[];
  bytes: number;
  failed: FetchEnd | undefined;
  /** A reader of a far part is being given a read of its own; or the origin would not have it. */
  isSplitting: boolean;
}

export function newFetch(order: FetchOrder): ActiveFetch {
  return {
    order,
    abort: new AbortController(),
    lastPieceReason: undefined,
    isEnding: false,
    hasAdvanced: false,
    stretches: new Set(),
    reads: [],
    bytes: 0,
    failed: undefined,
    isSplitting: false,
  };
}
