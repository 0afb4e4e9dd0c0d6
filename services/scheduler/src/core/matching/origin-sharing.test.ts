import type { Event } from "@lacewing/contracts/gen/lacewing/events/v1/events.ts";
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
import { newState, type State } from "../state.ts";
import { sharedStream } from "./origin-sharing.ts";

const MIB = 2 ** 20;
const PIECE_BYTES = 4 * MIB;
const PACE = PIECE_BYTES / 100;
const NOW_MS = 1_000_000;

/** A host that reads a large content from the origin as one stream, and four others that want it and could read it, too. */
function streamed(): State {
  const state = newState();
  const tell = (hostId: string, kind: NonNullable<Event["kind"]>): void => {
    tellAt(state, hostId, kind, NOW_MS);
  };
  const turn = (): void => {
    decide(state, { slice: 7, epoch: 1, nowMs: NOW_MS, random: seededRandom(1) });
  };
  for (let number = 0; number < 5; number++) {
    const hostId = `host-${number}`;
    tell(hostId, { $case: "hostAnnounced", value: announcement(hostId, {}) });
    tell(hostId, { $case: "taskRequested", value: requestBy(hostId, {}) });
    turn();
  }
  const value = description({
    lengthBytes: 512 * MIB,
    pieceLengthBytes: PIECE_BYTES,
    originRanges: true,
  });
  tell("host-0", { $case: "taskDescribed", value });
  turn();
  return state;
}

test.each([
  { controlMs: 0, isShared: false, what: "not known" },
  { controlMs: 50, isShared: true, what: "half of a piece's" },
  { controlMs: 500, isShared: false, what: "five pieces'" },
])("a stream is shared when the time of a grant is $what: $isShared", ({ controlMs, isShared }) => {
  const state = streamed();
  const task = state.tasks.get(TASK);
  if (task?.swarm === undefined) throw new Error("the task has no swarm");
  task.controlMs = controlMs;
  // No host has finished a lease yet: the pace is the origin's.
  task.swarm.bytesPerMs = 0;
  task.swarm.originBytesPerMs = PACE;
  expect(sharedStream(state, task, NOW_MS) !== undefined).toBe(isShared);
});
