import { expect, test } from "vitest";
import { newHost, newPeer, newTask, type Task } from "../state.ts";
import { Swarm } from "../swarm/swarm.ts";
import { policyFor } from "./policy.ts";

const MIB = 2 ** 20;
const PIECE_BYTES = 4 * MIB;
const GRANT_MS = 4;
/** A piece in 40 ms: ten times as long as a grant takes. */
const SLOW_BYTES_PER_MS = PIECE_BYTES / 40;

function task(of: {
  readonly hosts: number;
  readonly bytesPerMs: number;
  readonly mib?: number;
}): Task {
  const task = newTask("07".repeat(32), 7, 0);
  const lengthBytes = (of.mib ?? 256) * MIB;
  task.layout = { lengthBytes, pieceLengthBytes: PIECE_BYTES };
  task.swarm = new Swarm(lengthBytes / PIECE_BYTES, 1);
  task.swarm.bytesPerMs = of.bytesPerMs;
  task.controlMs = GRANT_MS;
  for (let number = 0; number < of.hosts; number++) {
    const host = newHost(`host-${number}`, "boot", 0);
    task.peers.set(host.hostId, newPeer(task, host));
  }
  return task;
}

test.each([
  {
    what: "few hosts with slow links",
    of: { hosts: 8, bytesPerMs: SLOW_BYTES_PER_MS },
    isPaced: false,
  },
  { what: "many hosts", of: { hosts: 200, bytesPerMs: SLOW_BYTES_PER_MS }, isPaced: true },
  {
    what: "links that carry a piece while a grant travels",
    of: { hosts: 8, bytesPerMs: 10 * SLOW_BYTES_PER_MS },
    isPaced: true,
  },
  { what: "links of which nothing is known", of: { hosts: 8, bytesPerMs: 0 }, isPaced: true },
  { what: "a small content", of: { hosts: 200, bytesPerMs: 0, mib: 8 }, isPaced: false },
])("uploads of $what are paced: $isPaced", ({ of, isPaced }) => {
  expect(policyFor(task(of)).isPaced).toBe(isPaced);
});
