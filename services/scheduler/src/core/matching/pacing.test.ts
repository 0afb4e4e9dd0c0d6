import { Bitmap } from "@lacewing/contracts/bitmap.ts";
import type { Event, LeaseEnded } from "@lacewing/contracts/gen/lacewing/events/v1/events.ts";
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
import { decide } from "../decide.ts";
import { must } from "../invariant.ts";
import { newState, type State } from "../state.ts";
import { wakePaced } from "../tick.ts";

const PIECE_BYTES = 4 * 2 ** 20;
const PIECE_COUNT = 16;
const PIECE_MS = 400;
const SLICE = 7;
const START_MS = 1_000_000;

/** One host that holds everything, and others that want it. */
class World {
  readonly state: State = newState();
  readonly #random = seededRandom(1);
  nowMs = START_MS;

  constructor(childCount: number, bytesPerMs: number) {
    for (let number = 0; number <= childCount; number++) {
      const value = announcement(`host-${number}`, { uploadSlots: 4 });
      this.tell(`host-${number}`, { $case: "hostAnnounced", value });
    }
    const lengthBytes = PIECE_COUNT * PIECE_BYTES;
    const value = description({ lengthBytes, pieceLengthBytes: PIECE_BYTES });
    this.tell("host-0", { $case: "taskDescribed", value });
    this.hold("host-0", [...Array(PIECE_COUNT).keys()]);
    for (let number = 1; number <= childCount; number++) {
      const request = requestBy(`host-${number}`, { canReadOrigin: false });
      this.tell(`host-${number}`, { $case: "taskRequested", value: request });
    }
    for (const host of this.state.hosts.values()) host.bytesPerMs = bytesPerMs;
  }

  tell(hostId: string, kind: NonNullable<Event["kind"]>): void {
    tellAt(this.state, hostId, kind, this.nowMs);
  }

  hold(hostId: string, pieces: readonly number[], leasesEnded: LeaseEnded[] = []): void {
    const held = new Bitmap(PIECE_COUNT);
    for (const piece of pieces) held.add(piece);
    const digests = digestsOf(hostId === "host-0" ? pieces : []);
    const bitmap = held.toBytes();
    const value = { taskId: TASK, incarnation: 1, bitmap, digests, leasesEnded };
    this.tell(hostId, { $case: "piecesAvailable", value });
  }

  /** The swarm's first lease is over; hosts send on the average half of what the source does. */
  static withFastSource(): World {
    const world = new World(4, PIECE_BYTES / PIECE_MS);
    world.servedAt(START_MS - PIECE_MS);
    const [first] = world.state.hosts.get("host-0")?.serving ?? [];
    world.hold(first?.childHostId ?? "", [first?.pieces[0]?.start ?? 0]);
    const { swarm } = must(world.state.tasks.get(TASK), "task");
    must(swarm, "swarm").bytesPerMs = PIECE_BYTES / PIECE_MS / 2;
    must(swarm, "swarm").hostPace.add(PIECE_BYTES, PIECE_BYTES / PIECE_MS / 2, 2);
    return world;
  }

  /** How many leases the host serves after a turn at that time. */
  servedAt(atMs: number): number {
    this.nowMs = atMs;
    wakePaced(this.state, atMs);
    decide(this.state, { slice: SLICE, epoch: 1, nowMs: atMs, random: this.#random });
    return this.state.hosts.get("host-0")?.serving.length ?? 0;
  }
}

test("a source is given its second lease when the first is about to end", () => {
  const world = new World(4, PIECE_BYTES / PIECE_MS);

  const served = [0, PIECE_MS - 1, PIECE_MS].map((ms) => world.servedAt(START_MS + ms));

  expect(served).toEqual([1, 1, 2]);
});

test("a source twice as fast as others is given its second lease a piece of its own earlier", () => {
  expect(World.withFastSource().servedAt(START_MS)).toBe(2);
});

test("what a fast source sends is expected to end sooner when the lease before it took less time than expected", () => {
  const world = World.withFastSource();
  world.servedAt(START_MS);
  const host = must(world.state.hosts.get("host-0"), "host-0");
  const { leaseId, childHostId, pieces } = must(host.serving[0], "lease");

  const durationMs = PIECE_MS / 2;
  world.nowMs = START_MS + durationMs;
  world.hold(childHostId, [pieces[0]?.start ?? 0], [{ leaseId, bytes: PIECE_BYTES, durationMs }]);

  // Until then the second lease had half of the link.
  const restMs = PIECE_MS - durationMs / 2;
  const source = must(host.peers.get(TASK), "source").ordinal;
  const sentAtMs = world.state.tasks.get(TASK)?.swarm?.timetable.sentAtMs(source);
  expect(sentAtMs).toBe(START_MS + durationMs + restMs);
});

test("a source of unknown pace has one lease at a time", () => {
  const world = new World(4, 0);
  expect([world.servedAt(START_MS), world.servedAt(START_MS + 10_000)]).toEqual([1, 1]);
  const [lease] = world.state.hosts.get("host-0")?.serving ?? [];

  world.hold(lease?.childHostId ?? "", [lease?.pieces[0]?.start ?? 0]);

  expect(world.servedAt(START_MS + 10_001)).toBe(1);
});

test("tasks of which no source waits for its upload are not looked at again", () => {
  const world = new World(1, PIECE_BYTES / PIECE_MS);
  world.servedAt(START_MS);
  expect(wakePaced(world.state, START_MS + 1)).toBe(false);
  const [lease] = world.state.hosts.get("host-0")?.serving ?? [];
  world.hold(lease?.childHostId ?? "", [...Array(PIECE_COUNT).keys()]);
  world.servedAt(START_MS + PIECE_COUNT * PIECE_MS);

  wakePaced(world.state, START_MS + PIECE_COUNT * PIECE_MS);

  expect(world.state.work.pacedTasks.size).toBe(0);
});
