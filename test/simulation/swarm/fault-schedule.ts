import { seededRandom } from "../../support/scheduler-world.ts";
import {
  CONTROL,
  GIGABIT,
  hostOf,
  type HostFault,
  type HostSpec,
  NETWORK,
  type Scenario,
  scenarioOf,
  taskOf,
} from "./scenario.ts";

const MIB = 2 ** 20;
/** Everything that is to go wrong has gone wrong by then. */
export const FAULTS_UNTIL_MS = 60_000;
const HOSTS_MAX = 9;
const TASKS_MAX = 3;
const PIECES_MAX = 12;

/** Draws a small swarm and everything that happens to it: the same for the same seed. */
export function faultSchedule(prngSeed: number): Scenario {
  const random = seededRandom(prngSeed);
  const upTo = (max: number): number => 1 + Math.floor(random() * max);
  const sometimes = (share: number): boolean => random() < share;
  const taskCount = upTo(TASKS_MAX);
  const tasks = Array.from({ length: taskCount }, (_, number) =>
    taskOf(upTo(PIECES_MAX), number * 5, MIB),
  );
  const hosts = Array.from({ length: 1 + upTo(HOSTS_MAX - 1) }, (_, number) =>
    drawHost(number, taskCount, random),
  );
  const isCalm = sometimes(0.3);
  const crashCount = sometimes(0.4) ? upTo(2) : 0;
  return scenarioOf({
    name: `property-${prngSeed}`,
    title: "drawn at random",
    prngSeed,
    tasks,
    hosts,
    origin: {
      upBytesPerMs: GIGABIT / 100,
      downFromMs: sometimes(0.25) ? random() * 20_000 : undefined,
    },
    network: { ...NETWORK, servingMax: upTo(3) },
    control: {
      ...CONTROL,
      latencyMs: random() * 20,
      jitterMs: random() * 20,
      lost: isCalm ? 0 : random() * 0.1,
      duplicated: isCalm ? 0 : random() * 0.1,
      reordered: isCalm ? 0 : random() * 0.1,
      packMs: random() * 50,
      appendMs: random() * 10,
    },
    schedulerCrashes: Array.from({ length: crashCount }, (_, number) => ({
      atMs: number * 20_000 + random() * 15_000,
      downMs: random() * 4_000,
    })),
    // Lost hosts are noticed after 95 s, and what waits for them begins anew then: time enough for several such turns.
    untilMs: FAULTS_UNTIL_MS + 900_000,
    isLogged: true,
    isSteady: true,
  });
}

function drawHost(number: number, taskCount: number, random: () => number): HostSpec {
  const wants = [];
  for (let task = 0; task < taskCount; task++) {
    if (random() < 0.7) wants.push({ task, atMs: random() < 0.4 ? 0 : random() * 20_000 });
  }
  const faults = drawFaults(random);
  const zone = Math.floor(random() * 3);
  const rack = Math.floor(random() * 2);
  return hostOf(number, {
    kind: number > 0 && random() < 0.15 ? "seed" : "normal",
    idc: `z${zone}`,
    location: random() < 0.5 ? `z${zone}|r${rack}` : "",
    upBytesPerMs: (GIGABIT / 100) * (0.1 + random()),
    downBytesPerMs: (GIGABIT / 50) * (0.2 + random()),
    uploadSlots: 1 + Math.floor(random() * 4),
    canReadOrigin: number === 0 || random() < 0.7,
    // Who claims to hold everything is believed, and asks for nothing.
    wants: faults.some(({ kind }) => kind === "lies") ? [] : wants,
    lingerMs: random() < 0.15 ? random() * 5_000 : undefined,
    faults,
  });
}

function drawFaults(random: () => number): readonly HostFault[] {
  const atMs = random() * 30_000;
  const draw = random();
  if (draw < 0.08) return [{ kind: "dies", atMs, backAtMs: undefined }];
  if (draw < 0.2) return [{ kind: "dies", atMs, backAtMs: atMs + random() * 25_000 }];
  if (draw < 0.28) return [{ kind: "stalls", atMs, untilMs: atMs + random() * 25_000 }];
  if (draw < 0.33) return [{ kind: "corrupts" }];
  if (draw < 0.38) return [{ kind: "lies", atMs }];
  if (draw < 0.48) return [{ kind: "refuses", share: random() * 0.8 }];
  return [];
}
