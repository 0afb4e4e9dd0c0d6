import { expect, test } from "vitest";
// @boundaries-ignore tests share builders that no service ships
import {
  announcement,
  bitmapOf,
  description,
  digestsOf,
  requestBy,
  seededRandom,
  TASK,
  tellAt,
} from "../../../../../test/support/scheduler-world.ts";
import { decide } from "../decide.ts";
import { must } from "../invariant.ts";
import { newState } from "../state.ts";

const PIECE_BYTES = 16 * 2 ** 20;
const PIECE_MS = 100;
const PIECE_COUNT = 128;
const HOST_COUNT = 16;
const NOW_MS = 1_000_000;

/** How many hosts read the origin when others have half of the content, and grants take this time. */
function originReaderCount(controlMs: number): number {
  const state = newState();
  const value = description({
    lengthBytes: PIECE_COUNT * PIECE_BYTES,
    pieceLengthBytes: PIECE_BYTES,
    originRanges: true,
  });
  tellAt(state, "holder", { $case: "hostAnnounced", value: announcement("holder", {}) }, NOW_MS);
  tellAt(state, "holder", { $case: "taskDescribed", value }, NOW_MS);
  const pieces = Array.from({ length: PIECE_COUNT / 2 }, (_, piece) => piece);
  const held = { bitmap: bitmapOf(pieces), digests: digestsOf(pieces) };
  tellAt(
    state,
    "holder",
    {
      $case: "piecesAvailable",
      value: { taskId: TASK, incarnation: 1, ...held, leasesEnded: [] },
    },
    NOW_MS,
  );
  for (let number = 0; number < HOST_COUNT; number++) {
    const hostId = `host-${number}`;
    const announced = announcement(hostId, {});
    tellAt(state, hostId, { $case: "hostAnnounced", value: announced }, NOW_MS);
    tellAt(state, hostId, { $case: "taskRequested", value: requestBy(hostId, {}) }, NOW_MS);
  }
  const context = { slice: 7, epoch: 1, nowMs: NOW_MS, random: seededRandom(1) };
  decide(state, context);
  const task = must(state.tasks.get(TASK), "task");
  const swarm = must(task.swarm, "swarm");
  swarm.bytesPerMs = PIECE_BYTES / PIECE_MS;
  swarm.originBytesPerMs = PIECE_BYTES / PIECE_MS;
  task.controlMs = controlMs;
  for (const hostId of task.peers.keys())
    tellAt(state, hostId, { $case: "hostAnnounced", value: announcement(hostId, {}) }, NOW_MS);
  decide(state, { ...context, nowMs: NOW_MS + 1 });
  return [...state.leases.values()].filter(({ parent }) => parent === undefined).length;
}

test.each([
  { controlMs: 0, readers: 2 },
  { controlMs: PIECE_MS, readers: 5 },
  { controlMs: 2 * PIECE_MS, readers: 8 },
])(
  "so many read the origin at once that it always has work when grants take $controlMs ms and a piece 100: $readers",
  ({ controlMs, readers }) => {
    expect(originReaderCount(controlMs)).toBe(readers);
  },
);
