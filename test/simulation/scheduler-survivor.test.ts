import { beforeAll, expect, test } from "vitest";
import { MISSED_ANNOUNCE_MS } from "@lacewing/scheduler/core/limits.ts";
import { runScenario } from "./swarm/run.ts";
import { GIGABIT, hostOf, type Scenario, scenarioOf, taskOf } from "./swarm/scenario.ts";
import { START_MS, type World } from "./swarm/world.ts";

const PIECES = 64;
const PIECE_BYTES = 4 * 2 ** 20;
/** A piece takes a third of a second. */
const RATE = GIGABIT / 10;
const OPENER = 0;
const ANOTHER = 1;
/** The opener asks first, the others so much later. */
const OTHERS_MS = 10;
/** Two pieces have come, and the opener's stream was shared. */
const DEATH_MS = 700;
/** What those that are gone hold, or were to read, is read again in less. */
const REST_MS = 5_000;

/** Hosts that want a content of one origin, and of which all but one die without a word. */
function survival(dyingCount: number, survivor: number, prngSeed: number): Scenario {
  return scenarioOf({
    name: "survival",
    title: "all but one die without a word",
    prngSeed,
    tasks: [taskOf(PIECES, 7, PIECE_BYTES)],
    origin: { upBytesPerMs: RATE, downFromMs: undefined },
    hosts: Array.from({ length: dyingCount + 1 }, (_, number) =>
      hostOf(number, {
        // Too few for relays, which would leave the opener its stream.
        uploadSlots: 1,
        upBytesPerMs: RATE,
        downBytesPerMs: RATE,
        wants: [{ task: 0, atMs: number === OPENER ? 0 : OTHERS_MS }],
        faults: number === survivor ? [] : [{ kind: "dies", atMs: DEATH_MS, backAtMs: undefined }],
      }),
    ),
    isLogged: true,
  });
}

let aloneMs = 0;

beforeAll(() => {
  aloneMs = runScenario(survival(0, OPENER, 1)).figures.makespanMs;
});

const SWARMS = [8, 16, 32].flatMap((dyingCount) =>
  [1, 2, 3].map((prngSeed) => ({ dyingCount, prngSeed })),
);

/** It speaks all the time, and so it reads on; what the dead have is known to be lost when they have missed an announce. */
test.each(SWARMS)(
  "an opener whose stream is shared with $dyingCount hosts that die at once has everything when these have missed an announce: seed $prngSeed",
  ({ dyingCount, prngSeed }) => {
    const { world } = runScenario(survival(dyingCount, OPENER, prngSeed));

    expect(sharedAtMs(world)).toBeLessThan(DEATH_MS);
    expect(servedMs(world)).toBeLessThan(Math.max(aloneMs, MISSED_ANNOUNCE_MS) + REST_MS);
  },
);

/** It may have nothing to say: then nothing tells it from the dead before these have missed an announce, and it reads alone from then on. */
test.each(SWARMS)(
  "whoever outlives an opener and $dyingCount hosts less one waits for them no longer than for an announce: seed $prngSeed",
  ({ dyingCount, prngSeed }) => {
    const { world } = runScenario(survival(dyingCount, ANOTHER, prngSeed));

    expect(sharedAtMs(world)).toBeLessThan(DEATH_MS);
    expect(servedMs(world)).toBeLessThan(MISSED_ANNOUNCE_MS + aloneMs);
  },
);

/** How long the survivor was served after the death of the others; Infinity when it was not. */
function servedMs(world: World): number {
  return world.isFinished ? world.queue.nowMs - START_MS - DEATH_MS : Infinity;
}

/** When the opener's stream was ended for others to read a part each. */
function sharedAtMs({ scheduler }: World): number {
  for (const entry of scheduler.decisionLog) {
    if (entry.kind !== "decisions") continue;
    for (const { kind } of entry.decisions) {
      if (kind?.$case === "leaseRevoked" && kind.value.reason === "shared")
        return entry.atMs - START_MS;
    }
  }
  return Infinity;
}
