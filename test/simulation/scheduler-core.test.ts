import { Bitmap } from "@lacewing/contracts/bitmap.ts";
import { ANNOUNCE_INTERVAL_MS } from "@lacewing/contracts/limits.ts";
import { remainingOf } from "@lacewing/scheduler/core/leases.ts";
import { newState, type State, type Task } from "@lacewing/scheduler/core/state.ts";
import type { Swarm } from "@lacewing/scheduler/core/swarm/swarm.ts";
import { swarmOf } from "@lacewing/scheduler/core/swarm/sync.ts";
import { hasBit } from "@lacewing/scheduler/core/swarm/words.ts";
import fc from "fast-check";
import { expect, test } from "vitest";
import {
  applyEntry,
  bitmapOf,
  description,
  digestsOf,
  requestBy,
  SchedulerWorld,
  seededRandom,
  summaryOf,
  taskIdOfSlice,
} from "../support/scheduler-world.ts";

const HOSTS = ["a", "b", "c", "seed"] as const;
const TASKS = [taskIdOfSlice(1), taskIdOfSlice(1).replace(/ab$/, "cd"), taskIdOfSlice(40)] as const;
const PIECE_COUNT = 4;
const FAILURES = [
  "digest_mismatch",
  "unreachable",
  "not_held",
  "busy",
  "stalled",
  "origin_refused",
  "storage",
  "cancelled",
] as const;

/** What a host does next; the world decides whether it can. */
const step = fc.oneof(
  { weight: 5, arbitrary: fc.record({ do: fc.constant("serve" as const), pick: fc.nat(1000) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("request" as const), pick: fc.nat(1000) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("end" as const), pick: fc.nat(1000) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("describe" as const), pick: fc.nat(1000) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("fail" as const), pick: fc.nat(1000) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("announce" as const), pick: fc.nat(1000) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("reboot" as const), pick: fc.nat(1000) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("leave" as const), pick: fc.nat(1000) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("drop" as const), pick: fc.nat(1000) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("poison" as const), pick: fc.nat(1000) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("repeat" as const), pick: fc.nat(1000) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("wait" as const), pick: fc.nat(1000) }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant("decide" as const), pick: fc.nat(1000) }) },
);

/**
 * Goal: whatever hosts say, in any order, late, twice or never: no piece is leased to a child that holds it or has it on its way,
 * no two children read the same piece from the origin at once, no decision violates the strict fold, and a replay of both logs
 * gives the live state.
 *
 * Method: four hosts and three tasks under a virtual clock do random things; the scheduler decides at random moments, and the
 * checks run after each. The merged log is then folded from nothing.
 */
test("random hosts never bring the scheduler into an impossible state, and a replay agrees with it", () => {
  fc.assert(
    fc.property(
      fc.integer(),
      fc.array(step, { minLength: 10, maxLength: 120 }),
      (prngSeed, steps) => {
        const world = new SchedulerWorld(seededRandom(prngSeed));
        for (const hostId of HOSTS)
          world.announce(hostId, {
            kind: hostId === "seed" ? "seed" : "normal",
            idc: hostId === "c" ? "idc-2" : "idc-1",
          });
        for (const { do: action, pick } of steps) {
          perform(world, action, pick);
          checkInvariants(world.state);
          checkSwarms(world.state);
        }
        world.advance(500);
        checkInvariants(world.state);
        checkSwarms(world.state);
        const replayed = newState();
        for (const entry of world.log) applyEntry(replayed, entry);
        expect(summaryOf(replayed)).toEqual(summaryOf(world.state));
      },
    ),
    { numRuns: 400, examples: [[0, PARENT_MOVES]] },
  );
});

/**
 * Goal: every client is answered at once, and afterwards never waits longer without a word than it was promised, whatever others
 * do.
 *
 * Method: after each turn every live request has a lease of its own or the time of its next answer, and that time is kept.
 */
test("every waiting request has a lease or a promised next answer", () => {
  fc.assert(
    fc.property(
      fc.integer(),
      fc.array(step, { minLength: 10, maxLength: 80 }),
      (prngSeed, steps) => {
        const world = new SchedulerWorld(seededRandom(prngSeed));
        for (const hostId of HOSTS) world.announce(hostId);
        for (const { do: action, pick } of steps) {
          perform(world, action, pick);
          world.decide();
          keepAlive(world);
          world.advance(500);
          expect(overdueRequests(world)).toEqual([]);
        }
      },
    ),
    { numRuns: 2_000, examples: [[0, EVICTED_WHILE_READ]] },
  );
});

/** A copy is whole, so nothing is promised to its reader any more, and is evicted then. */
const EVICTED_WHILE_READ = [
  { do: "request" as const, pick: 749 },
  { do: "decide" as const, pick: 0 },
  { do: "wait" as const, pick: 0 },
  { do: "request" as const, pick: 845 },
  { do: "describe" as const, pick: 208 },
  { do: "describe" as const, pick: 0 },
  { do: "serve" as const, pick: 647 },
  { do: "decide" as const, pick: 0 },
  { do: "announce" as const, pick: 0 },
  { do: "decide" as const, pick: 0 },
  { do: "drop" as const, pick: 185 },
];

/** A parent moves into the zone of its child while a lease is live: its child has as many leases as before. */
const PARENT_MOVES = [
  { do: "describe" as const, pick: 172 },
  { do: "decide" as const, pick: 654 },
  { do: "request" as const, pick: 533 },
  { do: "serve" as const, pick: 0 },
  { do: "wait" as const, pick: 0 },
  { do: "fail" as const, pick: 0 },
  { do: "reboot" as const, pick: 190 },
  { do: "repeat" as const, pick: 0 },
  { do: "serve" as const, pick: 0 },
  { do: "request" as const, pick: 0 },
  { do: "reboot" as const, pick: 0 },
  { do: "reboot" as const, pick: 0 },
  { do: "describe" as const, pick: 0 },
  { do: "wait" as const, pick: 0 },
  { do: "describe" as const, pick: 0 },
];

/** Hosts announce themselves now and then: at each step they would wake every task, and time would have nothing to do. */
function keepAlive(world: SchedulerWorld): void {
  for (const hostId of HOSTS) {
    const host = world.state.hosts.get(hostId);
    if (host?.state === "alive" && world.nowMs - host.announcedAtMs < ANNOUNCE_INTERVAL_MS)
      continue;
    world.announce(hostId, { liveRequestIds: requestsOf(world, hostId) });
  }
}

function perform(world: SchedulerWorld, action: string, pick: number): void {
  const hostId = HOSTS[pick % HOSTS.length] ?? "a";
  const taskId = TASKS[(pick >> 2) % TASKS.length] ?? TASKS[0];
  const pieces = piecesOf(pick);
  const requestId = `request-${hostId}-${taskId.slice(0, 2)}${taskId.slice(-2)}-${pick % 2}`;
  const incarnation = world.state.tasks.get(taskId)?.peers.get(hostId)?.incarnation ?? 1;
  switch (action) {
    case "serve":
      return serveLease(world, pick);
    case "request":
      return world.tell(hostId, {
        $case: "taskRequested",
        value: requestBy(hostId, {
          taskId,
          requestId,
          canReadOrigin: hostId !== "seed" && pick % 5 !== 0,
          originOpen: pick % 3 === 0,
          ...(pick % 4 === 0 ? { wantedStart: 2 ** 20, wantedEnd: 3 * 2 ** 20 } : {}),
        }),
      });
    case "end":
      return world.tell(hostId, { $case: "requestEnded", value: { taskId, requestId } });
    case "describe":
      return world.tell(hostId, { $case: "taskDescribed", value: description({ taskId }) });
    case "fail":
      return failLease(world, pick);
    case "announce":
      return world.announce(hostId, {
        full: pick % 2 === 0,
        liveRequestIds: pick % 3 === 0 ? [] : requestsOf(world, hostId),
        uploadSlots: pick % 4,
        ...(pick % 5 === 0 ? { idc: "idc-2", location: "r|k" } : {}),
      });
    case "reboot":
      world.reboot(hostId, `boot-${pick}`);
      return world.announce(hostId);
    case "leave":
      return world.tell(hostId, { $case: "hostLeft", value: {} });
    case "drop":
      return world.tell(hostId, {
        $case: "peerDropped",
        value: { taskId, incarnation: incarnation + (pick % 3) - 1, reason: "evicted" },
      });
    case "poison":
      return world.tell(hostId, {
        $case: "taskPoisoned",
        value: { taskId, expectedDigest: "", actualDigest: "", reason: "anchor_mismatch" },
      });
    case "repeat":
      return repeatMessage(world, pick);
    case "wait":
      world.advance(pick % 7 === 0 ? 40_000 : pick % 41 === 0 ? 8 * 24 * 3_600_000 : pick * 3);
      return undefined;
    default:
      // A host finds pieces of its own, too: read from the origin without the scheduler's help.
      if (pick % 3 === 0) world.hold(hostId, pieces, incarnation, taskId);
      world.decide();
      return undefined;
  }
}

/** Part or all of a live lease arrives; now and then with bytes that are not the content's. */
function serveLease(world: SchedulerWorld, pick: number): void {
  const lease = [...world.state.leases.values()][pick % Math.max(1, world.state.leases.size)];
  const peer = world.state.tasks.get(lease?.taskId ?? "")?.peers.get(lease?.childHostId ?? "");
  if (lease === undefined || peer === undefined || lease.remainingCount === 0) return;
  const arrived = remainingOf(lease).slice(0, 1 + (pick % 4));
  const isForged = pick % 50 === 0;
  world.tell(lease.childHostId, {
    $case: "piecesAvailable",
    value: {
      taskId: lease.taskId,
      incarnation: Math.max(1, peer.incarnation),
      bitmap: bitmapOf([...peer.held, ...arrived]),
      digests: lease.parentHostId === "" ? digestsOf(arrived, isForged ? 2 : 1) : [],
      leasesEnded: pick % 2 === 0 ? [{ leaseId: lease.leaseId, bytes: 1, durationMs: 1 }] : [],
    },
  });
}

function failLease(world: SchedulerWorld, pick: number): void {
  const grant = world.grants.at(-1 - (pick % 3));
  const reason = FAILURES[pick % FAILURES.length];
  if (grant !== undefined && reason !== undefined) world.fail(grant.childHostId, grant, reason);
}

/** A message that the broker delivers a second time, late. */
function repeatMessage(world: SchedulerWorld, pick: number): void {
  const events = world.log.filter((entry) => entry.kind === "event");
  const entry = events[pick % Math.max(1, events.length)];
  if (entry !== undefined) world.deliver(entry);
}

function checkInvariants(state: State): void {
  for (const task of state.tasks.values()) {
    const originReads: number[] = [];
    for (const peer of task.peers.values()) {
      const leased = new Bitmap(PIECE_COUNT);
      for (const lease of peer.leases) {
        expect(state.leases.get(lease.leaseId), "a peer's lease is live").toBe(lease);
        for (const piece of remainingOf(lease)) {
          expect(peer.held.has(piece), "a held piece is leased").toBe(false);
          expect(leased.add(piece), "a piece is leased twice to a child").toBe(true);
          // When nothing arrives anywhere for long, a second copy may be read: the first may never come.
          const isSecondCopy = lease.reason.startsWith("origin rep=1");
          if (lease.parentHostId === "" && !isSecondCopy) originReads.push(piece);
        }
      }
      expect([...peer.leased]).toEqual([...leased]);
    }
    checkIndexes(state, task);
    expect(originReads, "a piece is read twice from the origin").toHaveLength(
      new Set(originReads).size,
    );
  }
  for (const lease of state.leases.values()) {
    expect(lease.childHostId).not.toBe(lease.parentHostId);
    expect(lease.remainingCount).toBe(remainingOf(lease).length);
    expect(lease.child.leases).toContain(lease);
    expect(lease.parent?.serving ?? [lease]).toContain(lease);
  }
}

/** What is counted and marked is what counting it anew gives. */
function checkIndexes(state: State, task: Task): void {
  const peers = [...task.peers.values()];
  expect(task.leaseCount).toBe(peers.reduce((sum, { leases }) => sum + leases.length, 0));
  const requests = peers.flatMap((peer) => [...peer.requests.values()]);
  expect(task.openRequestCount).toBe(requests.filter(({ isOriginOpen }) => isOriginOpen).length);
  for (const peer of peers) {
    expect(peer.firstRequest).toBe([...peer.requests.values()][0]);
    expect(peer.host).toBe(state.hosts.get(peer.hostId));
    expect(peer.host.peers.get(task.taskId)).toBe(peer);
    expect(peer.isNeedy).toBe(task.needyIds.has(peer.hostId));
    expect(peer.isPromised).toBe(task.promised.has(peer));
    expect(peer.isAsking).toBe(task.asking.includes(peer));
    expect(peer.isTouched).toBe(state.touched.peers.includes(peer));
    expect(task.holderIds.has(peer.hostId)).toBe(peer.held.count > 0);
  }
}

/** The index that matching keeps change by change is the one that the state gives when it is made anew. */
function checkSwarms(state: State): void {
  for (const task of state.tasks.values()) {
    const { swarm } = task;
    if (swarm === undefined) continue;
    const ordinals = new Map([...task.peers].map(([hostId, peer]) => [hostId, peer.ordinal]));
    const leases = [...task.peers.values()].flatMap((peer) => peer.leases);
    const zones = leases.map(({ inboundZone, outboundZone }) => ({ inboundZone, outboundZone }));
    const kept = summaryOfSwarm(task, swarm);
    task.swarm = undefined;
    const remade = summaryOfSwarm(task, swarmOf(task));
    task.swarm = swarm;
    for (const [at, lease] of leases.entries()) Object.assign(lease, zones[at]);
    for (const peer of task.peers.values()) peer.ordinal = ordinals.get(peer.hostId) ?? -1;
    expect(kept).toEqual(remade);
  }
}

function summaryOfSwarm(task: Task, swarm: Swarm): unknown {
  const pieces = Array.from({ length: swarm.pieceCount }, (_, piece) => piece);
  return {
    copies: swarm.rarity.toCounts(),
    sole: pieces.filter((piece) => hasBit(swarm.sole, 0, piece)),
    known: pieces.filter((piece) => hasBit(swarm.known, 0, piece)),
    inFlight: [...swarm.inFlight],
    unknownHeld: [...swarm.unknownHeld],
    lackingZoneCounts: [...swarm.lackingZoneCounts],
    originLeases: new Set([...swarm.originLeases].map(({ leaseId }) => leaseId)),
    zones: swarm.zones
      .filter((zone) => zone.memberCount > 0)
      .map(({ idc, rarity, memberCount, inboundCount, outboundCount }) => {
        return { idc, copies: rarity.toCounts(), memberCount, inboundCount, outboundCount };
      })
      .toSorted((a, b) => (a.idc < b.idc ? -1 : 1)),
    peers: [...task.peers.values()].map(({ hostId, ordinal }) => ({
      hostId,
      held: pieces.filter((piece) => swarm.holds(ordinal, piece)),
      planned: pieces.filter((piece) => swarm.plans(ordinal, piece)),
      wanted: pieces.filter((piece) => swarm.isWanted(ordinal, piece)),
      missing: pieces.filter((piece) =>
        hasBit(swarm.rows.data, swarm.rows.missingAt(ordinal), piece),
      ),
      planCount: swarm.planCountOf(ordinal),
      missingCount: swarm.missingCountOf(ordinal),
      isSource: swarm.isSource(ordinal),
      isNeedy: swarm.needy.has(ordinal) && swarm.needyByZone.has(ordinal),
      isStarved: swarm.starved.has(ordinal),
      idc: swarm.zones[swarm.zoneOf(ordinal)]?.idc,
    })),
  };
}

function overdueRequests(world: SchedulerWorld): readonly string[] {
  const { state, nowMs } = world;
  const overdue: string[] = [];
  for (const task of state.tasks.values()) {
    if (task.state === "retired") continue;
    for (const hostId of task.needyIds) {
      const peer = task.peers.get(hostId);
      for (const request of peer?.requests.values() ?? []) {
        const isServed = peer?.leases.some((lease) => lease.requestId === request.requestId);
        if (isServed !== true && request.nextAnswerAtMs <= nowMs) overdue.push(request.requestId);
      }
    }
  }
  return overdue;
}

function requestsOf(world: SchedulerWorld, hostId: string): string[] {
  return [...(world.state.hosts.get(hostId)?.requests.keys() ?? [])];
}

function piecesOf(pick: number): readonly number[] {
  return Array.from({ length: PIECE_COUNT }, (_, index) => index).filter(
    (index) => (pick & (1 << index)) !== 0,
  );
}
