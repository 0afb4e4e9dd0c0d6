import { NOTHING } from "../few-map.ts";
import type { Lease } from "../lease.ts";
import type { Host, Task } from "../state.ts";
import type { Swarm } from "../swarm/swarm.ts";
import type { MatchView } from "./view.ts";

/**
 * Readers of the origin that say nothing any more. Most of them are gone, but one that reads slowly says nothing for a while either, so their
 * leases end much later. Until then they must not keep the origin from a host that speaks: it may be the only one left.
 */

/** A reader of the origin reports each piece: it may say nothing for the time of so many, as others share what the origin gives. */
const QUIET_PIECES = 4;
/** And for so long in any case: reports are packed, and some come late. */
const QUIET_MS_MIN = 2_000;

/** Live leases from the origin whose children have said nothing for long. */
export function quietReadsOf(task: Task, swarm: Swarm, nowMs: number): readonly Lease[] {
  if (swarm.originLeases.size === 0) return NOTHING;
  const quietMs = quietMsOf(task, swarm);
  let quiet: Lease[] | undefined;
  for (const lease of swarm.originLeases) {
    const heardAtMs = Math.max(lease.progressAtMs, lease.child.host.lastHeardAtMs);
    if (nowMs - heardAtMs >= quietMs) (quiet ??= []).push(lease);
  }
  return quiet ?? NOTHING;
}

/** Whether the host was heard of lately, while readers of the origin were not. */
export function isOutspoken({ quietReads, task, swarm, nowMs }: MatchView, host: Host): boolean {
  if (quietReads.length === 0) return false;
  return nowMs - host.lastHeardAtMs < quietMsOf(task, swarm);
}

/** Infinity as long as it is not known what a piece takes. */
function quietMsOf({ layout, controlMs }: Task, swarm: Swarm): number {
  const bytesPerMs = swarm.originBytesPerMs || swarm.usualBytesPerMs;
  if (layout === undefined || bytesPerMs === 0) return Infinity;
  const pieceMs = layout.pieceLengthBytes / bytesPerMs;
  return Math.max(QUIET_MS_MIN, QUIET_PIECES * (controlMs + pieceMs));
}
