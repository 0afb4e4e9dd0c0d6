import { seededRandom } from "../../support/scheduler-world.ts";
import {
  GIGABIT,
  hostOf,
  type HostSpec,
  NETWORK,
  PIECE_BYTES,
  type Scenario,
  scenarioOf,
  taskOf,
  type ZoneSpec,
} from "./scenario.ts";
import type { Choices, ScenarioFamily } from "./scenarios.ts";

/** A content is asked for over twice the time that it takes one host to get it. */
const STAGGER = 2;
const MIB = 2 ** 20;
const MEGABITS_200 = 25_000;

/** S1 to S3, S5 to S7, S12, S13, S15: what hosts and links are like. */
export const networkScenarios: Readonly<Record<string, ScenarioFamily>> = {
  s1: { title: "flash crowd", hosts: 1000, pieces: 256, build: (choices) => [flashCrowd(choices)] },
  s2: {
    title: "staggered: arrivals over twice the time of one download",
    hosts: 1000,
    pieces: 256,
    build: (choices) => [staggered(choices, "s2", "hosts stay", undefined)],
  },
  s3: {
    title: "staggered, and hosts leave when they are served: at once, or two pieces later",
    hosts: 1000,
    pieces: 256,
    build: (choices) => [
      staggered(choices, "s3-0", "hosts leave at once", 0),
      staggered(choices, "s3-2", "hosts leave after the time of two pieces", 2 * PIECE_MS),
    ],
  },
  s5: {
    title: "unequal uplinks: half of the hosts at 4x, a tenth at 10x",
    hosts: 1000,
    pieces: 256,
    build: (choices) => [unequal(choices, 4, 0.5), unequal(choices, 10, 0.1)],
  },
  s6: {
    title: "zones with thin links: 4, 10 and 40",
    hosts: 1000,
    pieces: 256,
    build: (choices) => [4, 10, 40].map((count) => zoned(choices, count)),
  },
  s7: {
    title: "slow origin: a tenth of a host's rate",
    hosts: 1000,
    pieces: 256,
    build: (choices) => [slowOrigin(choices)],
  },
  s12: {
    title: "readers in order: when the first byte comes, how much waits out of order",
    hosts: 1000,
    pieces: 256,
    build: (choices) => [
      { ...flashCrowd(choices), name: "s12", title: "every host reads in order" },
    ],
  },
  s13: {
    title: "many contents of 1 to 8 MiB, of unequal popularity",
    hosts: 100,
    pieces: 8,
    build: (choices) => [manyContents(choices)],
  },
  s15: {
    title: "a few hosts with connections that are held up at both ends",
    hosts: 8,
    pieces: 64,
    build: (choices) => [fewHosts(choices)],
  },
};

/** How long one piece takes at 1 Gbit/s. */
export const PIECE_MS = PIECE_BYTES / GIGABIT;

/** Equal hosts that want the same content at once. */
export function flashCrowd({ hosts, pieces, prngSeed }: Choices): Scenario {
  return scenarioOf({
    name: "s1",
    title: "everybody wants the same content at once",
    prngSeed,
    tasks: [taskOf(pieces)],
    hosts: Array.from({ length: hosts }, (_, number) => hostOf(number)),
  });
}

/** Links of hosts in CI fleets and small clusters, where the way in is soon as full as the way out. */
function fewHosts({ hosts, pieces, prngSeed }: Choices): Scenario {
  const host = { upBytesPerMs: MEGABITS_200, downBytesPerMs: MEGABITS_200 };
  return scenarioOf({
    name: "s15",
    title: "a few hosts, the ways in as narrow as the ways out, senders held up by their receivers",
    prngSeed,
    tasks: [taskOf(pieces, 7, 4 * MIB)],
    hosts: Array.from({ length: hosts }, (_, number) => hostOf(number, host)),
    origin: { upBytesPerMs: MEGABITS_200, downFromMs: undefined },
    network: { ...NETWORK, isCoupled: true },
  });
}

function staggered(
  { hosts, pieces, prngSeed }: Choices,
  name: string,
  what: string,
  lingerMs: number | undefined,
): Scenario {
  const random = seededRandom(prngSeed);
  const overMs = STAGGER * pieces * PIECE_MS;
  return scenarioOf({
    name,
    title: `arrivals at random over ${(overMs / 1000).toFixed(0)} s; ${what}`,
    prngSeed,
    tasks: [taskOf(pieces)],
    hosts: Array.from({ length: hosts }, (_, number) =>
      hostOf(number, {
        wants: [{ task: 0, atMs: number === 0 ? 0 : random() * overMs }],
        lingerMs,
      }),
    ),
    isSteady: true,
  });
}

function unequal({ hosts, pieces, prngSeed }: Choices, factor: number, share: number): Scenario {
  const random = seededRandom(prngSeed);
  return scenarioOf({
    name: `s5-${factor}x`,
    title: `${share * 100} % of the hosts and the origin send at ${factor}x; all receive at ${Math.max(4, factor)}x`,
    prngSeed,
    tasks: [taskOf(pieces)],
    hosts: Array.from({ length: hosts }, (_, number) =>
      hostOf(number, {
        upBytesPerMs: random() < share ? factor * GIGABIT : GIGABIT,
        downBytesPerMs: Math.max(4, factor) * GIGABIT,
      }),
    ),
    origin: { upBytesPerMs: factor * GIGABIT, downFromMs: undefined },
  });
}

/** Two copies at the rate of one host fit through a zone's way in and out. */
function zoned({ hosts, pieces, prngSeed }: Choices, zoneCount: number): Scenario {
  const rate = 2 * GIGABIT;
  const zones: ZoneSpec[] = Array.from({ length: zoneCount }, (_, zone) => ({
    idc: `z${zone}`,
    ingressBytesPerMs: rate,
    egressBytesPerMs: rate,
  }));
  return scenarioOf({
    name: `s6-${zoneCount}`,
    title: `${zoneCount} zones of ${Math.floor(hosts / zoneCount)} hosts, 2 Gbit/s in and out of each`,
    prngSeed,
    tasks: [taskOf(pieces)],
    hosts: Array.from({ length: hosts }, (_, number) => zonedHost(number, zoneCount)),
    zones,
  });
}

function zonedHost(number: number, zoneCount: number): HostSpec {
  const zone = number % zoneCount;
  const rack = Math.floor(number / zoneCount / 20);
  return hostOf(number, { idc: `z${zone}`, location: `z${zone}|r${rack}` });
}

function slowOrigin(choices: Choices): Scenario {
  return {
    ...flashCrowd(choices),
    name: "s7",
    title: "the origin sends at a tenth of a host's rate",
    origin: { upBytesPerMs: GIGABIT / 10, downFromMs: undefined },
  };
}

/** Small contents, of which the n-th is wanted 1/n as often as the first. */
function manyContents({ hosts, pieces, prngSeed }: Choices): Scenario {
  const random = seededRandom(prngSeed);
  const taskCount = 5 * hosts;
  const tasks = Array.from({ length: taskCount }, (_, number) =>
    taskOf(1 + Math.floor(random() * pieces), number, MIB),
  );
  const weights = tasks.map((_, number) => 1 / (number + 1));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const draw = (): number => {
    let rest = random() * total;
    return Math.max(
      0,
      weights.findIndex((weight) => (rest -= weight) <= 0),
    );
  };
  return scenarioOf({
    name: "s13",
    title: `${taskCount} contents of 1 to ${pieces} MiB; each host wants 20 of them within 10 s`,
    prngSeed,
    tasks,
    hosts: Array.from({ length: hosts }, (_, number) =>
      hostOf(number, {
        wants: [...new Set(Array.from({ length: 20 }, draw))].map((task) => ({
          task,
          atMs: random() * 10_000,
        })),
      }),
    ),
    isSteady: true,
  });
}
