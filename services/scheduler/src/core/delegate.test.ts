import { describe, expect, test } from "vitest";
import { delegateOf } from "./delegate.ts";
import { newHost, newState, type State } from "./state.ts";

function stateOf(
  hosts: readonly {
    id: string;
    kind?: "seed";
    idc?: string;
    isSuspect?: boolean;
    state?: "left";
  }[],
): State {
  const state = newState();
  for (const { id, kind, idc, isSuspect, state: hostState } of hosts) {
    const host = newHost(id, "boot-1", 0);
    host.isAnnounced = true;
    host.kind = kind ?? "normal";
    host.idc = idc ?? "";
    host.transferAddress = `${id}:1`;
    host.isSuspect = isSuspect ?? false;
    host.state = hostState ?? "alive";
    state.hosts.set(id, host);
    if (kind === "seed") state.seedIds.add(id);
  }
  return state;
}

/** What the choice looks at, for a child and a task whose id begins with `digits`. */
function leaseOf(childHostId: string, digits: string) {
  return { childHostId, taskId: digits.padEnd(64, "0") };
}

describe("the seed host that an origin lease names", () => {
  const seeds = [
    { id: "near-1", kind: "seed", idc: "a" },
    { id: "near-2", kind: "seed", idc: "a" },
    { id: "far-1", kind: "seed", idc: "b" },
  ] as const;

  test("is one of the child's data centre, the same for all leases of a task, another for other tasks", () => {
    const state = stateOf([{ id: "child", idc: "a" }, ...seeds]);
    const chosen = ["00000000", "00000001", "00000002", "00000003"].map(
      (digits) => delegateOf(state, leaseOf("child", digits))?.hostId,
    );
    expect(chosen).toEqual(["near-1", "near-2", "near-1", "near-2"]);
    expect(delegateOf(state, leaseOf("child", "00000000"))?.transferAddress).toBe("near-1:1");
  });

  test("is one of another data centre when the child's has none", () => {
    const state = stateOf([{ id: "child", idc: "c" }, seeds[2]]);
    expect(delegateOf(state, leaseOf("child", "0"))?.hostId).toBe("far-1");
  });

  test("is nobody who left or cannot be reached, and nobody for a seed host", () => {
    const state = stateOf([
      { id: "child" },
      { id: "gone", kind: "seed", state: "left" },
      { id: "cut-off", kind: "seed", isSuspect: true },
    ]);
    expect(delegateOf(state, leaseOf("child", "0"))).toBeUndefined();
    const alive = stateOf(seeds);
    expect(delegateOf(alive, leaseOf("near-1", "0"))).toBeUndefined();
  });
});
