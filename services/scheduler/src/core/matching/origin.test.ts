import { expect, test } from "vitest";
// @boundaries-ignore tests share builders that no service ships
import {
  announcement,
  description,
  requestBy,
  TASK,
  tellAt,
} from "../../../../../test/support/scheduler-world.ts";
import { must } from "../invariant.ts";
import { newState } from "../state.ts";
import { swarmOf } from "../swarm/sync.ts";
import { originLeaseBytes } from "./origin.ts";
import { policyFor } from "./policy.ts";

const MIB = 2 ** 20;
const PIECE_MS = 100;

test.each([
  { pieceMib: 16, controlMs: 20, leaseMib: 16, what: "a part of a piece's" },
  { pieceMib: 16, controlMs: 150, leaseMib: 32, what: "about two pieces'" },
  { pieceMib: 16, controlMs: 2_000, leaseMib: 64, what: "many pieces'" },
  { pieceMib: 4, controlMs: 150, leaseMib: 16, what: "about two small pieces'" },
])(
  "a reader of the origin takes $leaseMib MiB where a grant takes $what time",
  ({ pieceMib, controlMs, leaseMib }) => {
    const state = newState();
    tellAt(state, "host", { $case: "hostAnnounced", value: announcement("host", {}) }, 0);
    tellAt(state, "host", { $case: "taskRequested", value: requestBy("host", {}) }, 0);
    const layout = { lengthBytes: 256 * pieceMib * MIB, pieceLengthBytes: pieceMib * MIB };
    tellAt(state, "host", { $case: "taskDescribed", value: description(layout) }, 0);
    const task = must(state.tasks.get(TASK), "task");
    task.controlMs = controlMs;
    const swarm = swarmOf(task);
    swarm.bytesPerMs = (pieceMib * MIB) / PIECE_MS;
    expect(originLeaseBytes({ policy: policyFor(task), task })).toBe(leaseMib * MIB);
    // Hosts may be as fast as they like.
    swarm.originBytesPerMs = swarm.bytesPerMs / 20;
    expect(originLeaseBytes({ policy: policyFor(task), task })).toBe(16 * MIB);
  },
);
