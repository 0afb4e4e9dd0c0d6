import { expect, test } from "vitest";
// @boundaries-ignore tests share builders that no service ships
import {
  announcement,
  description,
  requestBy,
  seededRandom,
  TASK,
  tellAt,
} from "../../../../../test/support/scheduler-world.ts";
import { decide } from "../decide.ts";
import { must } from "../invariant.ts";
import { newState, type Task } from "../state.ts";
import { quietReadsOf } from "./quiet-reads.ts";

const MIB = 2 ** 20;
const PIECE_BYTES = 4 * MIB;
const NOW_MS = 1_000_000;

/** A host reads from the origin, of which a piece takes so long; 0: not known. It says something after the grant, or nothing. */
function read(pieceMs: number, spokeAfterMs = 0): Task {
  const state = newState();
  const announced = { $case: "hostAnnounced", value: announcement("a", {}) } as const;
  tellAt(state, "a", announced, NOW_MS);
  tellAt(state, "a", { $case: "taskRequested", value: requestBy("a", {}) }, NOW_MS);
  const value = description({ lengthBytes: 64 * MIB, pieceLengthBytes: PIECE_BYTES });
  tellAt(state, "a", { $case: "taskDescribed", value }, NOW_MS);
  decide(state, { slice: 7, epoch: 1, nowMs: NOW_MS, random: seededRandom(1) });
  if (spokeAfterMs > 0) tellAt(state, "a", announced, NOW_MS + spokeAfterMs);
  const task = must(state.tasks.get(TASK), "task");
  if (pieceMs > 0) must(task.swarm, "swarm").originBytesPerMs = PIECE_BYTES / pieceMs;
  return task;
}

test.each([
  { pieceMs: 100, spokeAfterMs: 0, afterMs: 1_900, quietCount: 0 },
  { pieceMs: 100, spokeAfterMs: 0, afterMs: 2_000, quietCount: 1 },
  { pieceMs: 100, spokeAfterMs: 1_000, afterMs: 2_900, quietCount: 0 },
  { pieceMs: 1_000, spokeAfterMs: 0, afterMs: 3_900, quietCount: 0 },
  { pieceMs: 1_000, spokeAfterMs: 0, afterMs: 4_000, quietCount: 1 },
  { pieceMs: 0, spokeAfterMs: 0, afterMs: 60_000, quietCount: 0 },
])(
  "of an origin whose pieces take $pieceMs ms a reader heard of after $spokeAfterMs ms is quiet after $afterMs: $quietCount",
  ({ pieceMs, spokeAfterMs, afterMs, quietCount }) => {
    const task = read(pieceMs, spokeAfterMs);

    const quiet = quietReadsOf(task, must(task.swarm, "swarm"), NOW_MS + afterMs);

    expect(quiet).toHaveLength(quietCount);
  },
);
