import type { Lease } from "./lease.ts";
import type { Host, State } from "./state.ts";

/** The seed host that the child of an origin lease may hand its means to. */
export interface Delegate {
  readonly hostId: string;
  readonly transferAddress: string;
}

/**
 * Chooses a seed host for an origin lease: of the child's own data centre when there is one, and the same one for all leases of a
 * task, so that one host holds its credentials and not each in turn. `undefined` for a child that is a seed host itself.
 */
export function delegateOf(
  state: State,
  lease: Pick<Lease, "childHostId" | "taskId">,
): Delegate | undefined {
  const child = state.hosts.get(lease.childHostId);
  if (child === undefined || child.kind === "seed") return undefined;
  const seeds = [...state.seedIds].flatMap((hostId) => {
    const seed = state.hosts.get(hostId);
    return seed !== undefined && isReachable(seed) ? [seed] : [];
  });
  const near = seeds.filter(({ idc }) => idc === child.idc);
  const candidates = (near.length > 0 ? near : seeds).toSorted((a, b) =>
    a.hostId < b.hostId ? -1 : 1,
  );
  // A task's id is a digest: its first digits are as good as random.
  const chosen = candidates[Number.parseInt(lease.taskId.slice(0, 8), 16) % candidates.length];
  return chosen === undefined
    ? undefined
    : { hostId: chosen.hostId, transferAddress: chosen.transferAddress };
}

function isReachable(seed: Host): boolean {
  return (
    seed.isAnnounced && seed.state === "alive" && !seed.isSuspect && seed.transferAddress !== ""
  );
}
