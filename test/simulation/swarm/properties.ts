import { isDeepStrictEqual } from "node:util";
import { FewMap } from "@lacewing/scheduler/core/few-map.ts";
import { LeaseIndex } from "@lacewing/scheduler/core/lease-index.ts";
import { remainingOf, takenBy } from "@lacewing/scheduler/core/leases.ts";
import type { State } from "@lacewing/scheduler/core/state.ts";
import { Bitmap } from "@lacewing/contracts/bitmap.ts";
import { pieceCountOf } from "@lacewing/contracts/pieces.ts";
import { summaryOf } from "../../support/scheduler-world.ts";
import { faultSchedule, FAULTS_UNTIL_MS } from "./fault-schedule.ts";
import { pieceCountOfTask } from "./scenario.ts";
import type { SimHost } from "./sim-host.ts";
import { START_MS, World } from "./world.ts";

/** Hosts left so long ago: whatever was still to come has come. */
const QUIET_MS = 150_000;
/** The state of a scheduler that is away is nobody's. */
const RECOVERY_STEP_MS = 1_000;
/** Entries in all maps, sets and lists of the state: so many for each host and piece, and for the slices. */
const ENTRIES_PER_PEER = 60;
const ENTRIES_OF_ITS_OWN = 2_000;

/** What did not hold under a fault schedule. */
export class PropertyBroken extends Error {
  readonly prngSeed: number;
  constructor(prngSeed: number, what: string, options?: ErrorOptions) {
    super(`seed ${prngSeed}: ${what}`, options);
    this.name = "PropertyBroken";
    this.prngSeed = prngSeed;
  }
}

/**
 * Plays the fault schedule of a seed and looks at what must hold always.
 *
 * - After each turn: no lease is for a piece that its child holds, and there is one lease for a child and a piece, except in the
 *   endgame.
 * - At the end: every client of a host that runs is served, provided that the origin answers its host or that a running, honest
 *   host holds what is missing.
 * - The logs fold to the state.
 * - When the hosts have left, nothing is live and nothing waits.
 *
 * @param prepare what is changed in the world before: a fault of our own, which must be seen.
 * @throws {PropertyBroken}
 */
export function checkSeed(prngSeed: number, prepare: (world: World) => void = () => {}): void {
  try {
    const world = new World(faultSchedule(prngSeed));
    prepare(world);
    world.scheduler.onTurn = (state) => checkLeases(state);
    world.queue.at(START_MS + FAULTS_UNTIL_MS, () => {
      world.control.isFaultless = true;
    });
    world.run();
    while (world.scheduler.isDown) world.runOn(RECOVERY_STEP_MS);
    checkService(world);
    checkReplay(world);
    for (const host of world.hosts) if (!host.isGone) host.leave();
    world.runOn(QUIET_MS);
    checkRest(world);
    checkReplay(world);
  } catch (error) {
    if (error instanceof PropertyBroken) throw error;
    const what = error instanceof Error ? error.message : String(error);
    throw new PropertyBroken(prngSeed, what, { cause: error });
  }
}

function checkLeases(state: State): void {
  for (const task of state.tasks.values()) {
    for (const peer of task.peers.values()) {
      const leased = new Bitmap(task.layout === undefined ? 0 : pieceCountOf(task.layout));
      for (const lease of peer.leases) {
        const { leaseId } = lease;
        if (state.leases.get(leaseId) !== lease)
          throw new Error(`lease ${leaseId} of ${peer.hostId} is not live`);
        if (lease.childHostId === lease.parentHostId)
          throw new Error(`${leaseId} is from its child`);
        for (const piece of remainingOf(lease)) {
          if (peer.held.has(piece)) {
            throw new Error(`lease ${leaseId} is for piece ${piece}, which ${peer.hostId} holds`);
          }
          if (!leased.add(piece) && !lease.reason.startsWith("endgame")) {
            throw new Error(`piece ${piece} is leased twice to ${peer.hostId}`);
          }
        }
      }
    }
  }
}

function checkService(world: World): void {
  for (const host of world.hosts) {
    if (host.isGone) continue;
    for (const { requestId, copy } of host.downloads.values()) {
      if (requestId === undefined || copy.isFull || !isPossible(world, host, copy.task)) continue;
      const seconds = ((world.queue.nowMs - START_MS) / 1000).toFixed(0);
      const { heldCount, pieceCount, task } = copy;
      throw new Error(
        `${host.spec.hostId} has ${heldCount} of ${pieceCount} pieces of task ${task} after ${seconds} s`,
      );
    }
  }
}

/** Whether what the host lacks can still be had. */
function isPossible(world: World, host: SimHost, task: number): boolean {
  if (world.isOriginUp && host.spec.canReadOrigin) return true;
  const honest = world.hosts.filter((other) => !other.isGone && !isDishonest(other));
  for (let piece = 0; piece < pieceCountOfTask(world.taskAt(task)); piece++) {
    if (!host.holds(task, piece) && !honest.some((other) => other.holds(task, piece))) return false;
  }
  return true;
}

/** What such a host holds is of no use to others. */
function isDishonest({ spec }: SimHost): boolean {
  return spec.faults.some(({ kind }) => kind === "corrupts" || kind === "lies");
}

function checkReplay({ scheduler }: World): void {
  const live = summaryOf(scheduler.state);
  const folded = summaryOf(scheduler.replayed());
  if (!isDeepStrictEqual(folded, live)) {
    throw new Error(`the logs fold to another state: ${firstDifference(folded, live, "state")}`);
  }
}

function checkRest({ scheduler: { state }, hosts, scenario }: World): void {
  const rest = {
    leases: state.leases.size,
    dirty: state.work.dirtyTaskIds.reduce((sum, ids) => sum + ids.size, 0),
    outbox: state.work.outbox.reduce((sum, answers) => sum + answers.length, 0),
    // Those of hosts that are gone stay until the host comes back with another boot: as many as it had, and no more.
    requests: [...state.hosts.values()].reduce(
      (sum, host) => sum + (host.state === "alive" ? host.requests.size : 0),
      0,
    ),
    serving: [...state.hosts.values()].reduce((sum, host) => sum + host.serving.length, 0),
    taking: [...state.hosts.values()].reduce((sum, host) => sum + takenBy(host).length, 0),
  };
  const left = Object.entries(rest).filter(([, count]) => count > 0);
  if (left.length > 0) {
    throw new Error(`left over: ${left.map(([what, count]) => `${count} ${what}`).join(", ")}`);
  }
  const pieces = scenario.tasks.reduce((sum, task) => sum + pieceCountOfTask(task), 0);
  const peers = hosts.length * scenario.tasks.length;
  const most = ENTRIES_OF_ITS_OWN + peers * ENTRIES_PER_PEER + 4 * hosts.length * pieces;
  const entries = entriesOf(state, new Set());
  if (entries > most) throw new Error(`${entries} entries in the state are more than ${most}`);
}

/** Entries of all maps, sets and lists that can be reached. */
function entriesOf(value: unknown, seen: Set<unknown>): number {
  if (typeof value !== "object" || value === null || seen.has(value)) return 0;
  seen.add(value);
  if (ArrayBuffer.isView(value)) return 0;
  const sum = (items: Iterable<unknown>): number => {
    let count = 0;
    for (const item of items) count += 1 + entriesOf(item, seen);
    return count;
  };
  if (value instanceof Map || value instanceof FewMap || value instanceof LeaseIndex) {
    return sum(value.values());
  }
  if (value instanceof Set || Array.isArray(value)) return sum(value);
  let count = 0;
  for (const item of Object.values(value)) count += entriesOf(item, seen);
  return count;
}

function firstDifference(a: unknown, b: unknown, path: string): string {
  if (typeof a === "object" && typeof b === "object" && a !== null && b !== null) {
    const others = new Map(Object.entries(b));
    for (const [key, value] of Object.entries(a)) {
      if (!isDeepStrictEqual(value, others.get(key))) {
        return firstDifference(value, others.get(key), `${path}.${key}`);
      }
    }
  }
  return `${path}: ${JSON.stringify(a)?.slice(0, 200)} against ${JSON.stringify(b)?.slice(0, 200)} live`;
}
