import { Bitmap } from "@lacewing/contracts/bitmap.ts";
import { indexesOf } from "@lacewing/contracts/pieces.ts";
import { expect, test } from "vitest";
// @boundaries-ignore tests share builders that no service ships
import {
  announcement,
  description,
  digestsOf,
  requestBy,
  seededRandom,
  TASK,
  tellAt,
} from "../../../../../test/support/scheduler-world.ts";
import type { Event } from "@lacewing/contracts/gen/lacewing/events/v1/events.ts";
import { decide } from "../decide.ts";
import type { Lease } from "../lease.ts";
import { newState, type State } from "../state.ts";

const PIECE_BYTES = 4 * 2 ** 20;
const SLICE = 7;

/**
 * The uplink-sharing model of Mundinger, Weber and Weiss: time goes in rounds, in which each host uploads one piece and any
 * number of downloads may end. One host holds all pieces at the start.
 *
 * @returns rounds until every host holds everything, and how many times a piece was uploaded.
 */
function distribute(hostCount: number, pieceCount: number): { rounds: number; uploads: number } {
  const state = newState();
  const random = seededRandom(hostCount + pieceCount);
  let nowMs = 1_000_000;
  const tell = (hostId: string, kind: NonNullable<Event["kind"]>) => {
    tellAt(state, hostId, kind, nowMs);
  };
  const hold = (hostId: string, held: Bitmap, digests: readonly number[]) => {
    const value = {
      taskId: TASK,
      incarnation: 1,
      bitmap: held.toBytes(),
      digests: digestsOf(digests),
      leasesEnded: [],
    };
    tell(hostId, { $case: "piecesAvailable", value });
  };
  const held = new Map<string, Bitmap>();
  for (let number = 0; number <= hostCount; number++) {
    const hostId = `host-${number}`;
    held.set(hostId, new Bitmap(pieceCount));
    tell(hostId, { $case: "hostAnnounced", value: announcement(hostId, { uploadSlots: 1 }) });
  }
  const lengthBytes = pieceCount * PIECE_BYTES;
  const value = description({ lengthBytes, pieceLengthBytes: PIECE_BYTES });
  tell("host-0", { $case: "taskDescribed", value });
  const all = Array.from({ length: pieceCount }, (_, piece) => piece);
  for (const piece of all) held.get("host-0")?.add(piece);
  hold("host-0", held.get("host-0") ?? new Bitmap(0), all);
  for (let number = 1; number <= hostCount; number++) {
    const request = requestBy(`host-${number}`, { canReadOrigin: false });
    tell(`host-${number}`, { $case: "taskRequested", value: request });
  }
  let uploads = 0;
  for (let rounds = 1; rounds < 4 * pieceCount + 16; rounds++) {
    decide(state, { slice: SLICE, epoch: 1, nowMs, random });
    nowMs += 100;
    const leases = [...state.leases.values()];
    uploads += leases.length;
    for (const lease of leases) deliver(lease, held, hold);
    if (isComplete(state)) return { rounds, uploads };
  }
  throw new Error("the distribution does not end");
}

function deliver(
  lease: Lease,
  held: ReadonlyMap<string, Bitmap>,
  hold: (hostId: string, held: Bitmap, digests: readonly number[]) => void,
): void {
  const bitmap = held.get(lease.childHostId);
  if (bitmap === undefined) return;
  for (const piece of indexesOf(lease.pieces)) bitmap.add(piece);
  hold(lease.childHostId, bitmap, []);
}

function isComplete(state: State): boolean {
  return state.tasks.get(TASK)?.needyIds.size === 0;
}

test.each([
  [15, 1],
  [63, 64],
  [500, 64],
])(
  "%i hosts with equal uplinks get %i pieces in hardly more than the least possible rounds",
  (hostCount, pieceCount) => {
    const bound = pieceCount + Math.floor(Math.log2(hostCount));
    const { rounds, uploads } = distribute(hostCount, pieceCount);
    expect(rounds).toBeLessThanOrEqual(Math.ceil(bound * 1.03));
    expect(uploads).toBe(hostCount * pieceCount);
  },
);
