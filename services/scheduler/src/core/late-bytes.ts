import type { LeaseEnded } from "@lacewing/contracts/gen/lacewing/events/v1/events.ts";
import { contain } from "./ledger.ts";
import { LATE_BYTES_MAX } from "./limits.ts";
import type { Peer, State } from "./state.ts";

/** The lease has ended already, and its row may be written; the bytes that came under it count all the same. */
export function noteLateBytes(
  state: State,
  peer: Peer,
  { leaseId, bytes, durationMs }: LeaseEnded,
): void {
  if (bytes === 0) return;
  const { leases, lateBytes } = state.touched;
  const lease = leases.get(leaseId);
  if (lease !== undefined) {
    if (lease.child !== peer || lease.outcome === "live" || lease.bytes > 0) return;
    lease.bytes = bytes;
    lease.transferMs = durationMs;
  } else if (lateBytes.length >= LATE_BYTES_MAX) contain(state, "late bytes not projected");
  else lateBytes.push({ leaseId, childHostId: peer.hostId, bytes, transferMs: durationMs });
}
