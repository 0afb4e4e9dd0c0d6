import type { DownloadFinished } from "@lacewing/contracts/gen/lacewing/events/v1/events.ts";
import { LeaseIndex } from "./lease-index.ts";
import type { Peer, State } from "./state.ts";

/** What a child tells of a lease after its end was projected. */
export interface LateBytes {
  readonly leaseId: string;
  readonly childHostId: string;
  readonly bytes: number;
  readonly transferMs: number;
}

/** What changed since the last projection. */
export interface Touched {
  hostIds: Set<string>;
  taskIds: Set<string>;
  /** Each once: a peer says itself that it is listed. */
  peers: Peer[];
  leases: LeaseIndex;
  /** What came under leases that are projected already. */
  lateBytes: LateBytes[];
  downloads: { readonly hostId: string; readonly download: DownloadFinished }[];
}

export function newTouched(): Touched {
  return {
    hostIds: new Set(),
    taskIds: new Set(),
    peers: [],
    leases: new LeaseIndex(),
    lateBytes: [],
    downloads: [],
  };
}

/** What changed since this was asked last. */
export function takeTouched(state: State): Touched {
  const taken = { ...state.touched };
  for (const peer of taken.peers) peer.isTouched = false;
  Object.assign(state.touched, newTouched());
  return taken;
}
