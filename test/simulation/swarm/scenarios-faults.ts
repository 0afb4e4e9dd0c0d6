import { seededRandom } from "../../support/scheduler-world.ts";
import { CONTROL, GIGABIT, type HostFault, type HostSpec, type Scenario } from "./scenario.ts";
import { flashCrowd, PIECE_MS } from "./scenarios-network.ts";
import type { Choices, ScenarioFamily } from "./scenarios.ts";

/** S4, S8 to S11, S14: what goes wrong. */
export const faultScenarios: Readonly<Record<string, ScenarioFamily>> = {
  s4: {
    title: "churn: 0.05 % and 0.2 % of the hosts die in the time of one piece",
    hosts: 1000,
    pieces: 256,
    build: (choices) => [0.0005, 0.002].map((rate) => churn(choices, rate)),
  },
  s8: {
    title: "the origin is gone after one copy is out",
    hosts: 1000,
    pieces: 256,
    build: (choices) => [originGone(choices)],
  },
  s9: {
    title: "stragglers: 2 % and 10 % of the hosts send at a tenth",
    hosts: 1000,
    pieces: 256,
    build: (choices) => [0.02, 0.1].map((share) => stragglers(choices, share)),
  },
  s10: {
    title: "control plane: far away, and lossy",
    hosts: 1000,
    pieces: 256,
    build: (choices) => [
      ...[1, 5, 20].map((pieceTimes) => farControl(choices, pieceTimes)),
      lossyControl(choices),
    ],
  },
  s11: {
    title: "the scheduler is killed twice and comes back from its logs",
    hosts: 500,
    pieces: 128,
    build: (choices) => [schedulerCrashes(choices)],
  },
  s14: {
    title: "hosts that lie, corrupt or refuse",
    hosts: 1000,
    pieces: 256,
    build: (choices) => [liars(choices)],
  },
};

/** The first host opens the content: it stays, as the scenarios ask what becomes of the others. */
function withFaults(
  scenario: Scenario,
  faultsOf: (host: HostSpec, random: () => number) => readonly HostFault[],
): Scenario {
  const random = seededRandom(scenario.prngSeed + 1);
  return {
    ...scenario,
    hosts: scenario.hosts.map((host, number) =>
      number === 0 ? host : { ...host, faults: faultsOf(host, random) },
    ),
  };
}

/** @param rate share of the living hosts that die in the time of one piece */
function churn(choices: Choices, rate: number): Scenario {
  return {
    ...withFaults(flashCrowd(choices), (_host, random) => [
      { kind: "dies", atMs: (-Math.log(1 - random()) / rate) * PIECE_MS, backAtMs: undefined },
    ]),
    name: `s4-${rate * 100}%`,
    title: `${rate * 100} % of the hosts die in the time of one piece, for good`,
  };
}

function originGone(choices: Choices): Scenario {
  const scenario = flashCrowd(choices);
  return {
    ...scenario,
    name: "s8",
    title: "the origin is gone as soon as every piece has arrived somewhere",
    origin: { ...scenario.origin, isDownWhenOut: true },
  };
}

function stragglers(choices: Choices, share: number): Scenario {
  const scenario = flashCrowd(choices);
  const random = seededRandom(choices.prngSeed + 1);
  return {
    ...scenario,
    name: `s9-${share * 100}%`,
    title: `${share * 100} % of the hosts send at a tenth`,
    hosts: scenario.hosts.map((host) =>
      random() < share ? { ...host, upBytesPerMs: GIGABIT / 10 } : host,
    ),
  };
}

/** @param pieceTimes from a host's word to the answer that it led to */
function farControl(choices: Choices, pieceTimes: number): Scenario {
  const latencyMs = (pieceTimes * PIECE_MS) / 2;
  return {
    ...flashCrowd(choices),
    name: `s10-${pieceTimes}`,
    title: `${pieceTimes} piece times (${(2 * latencyMs).toFixed(0)} ms) to the scheduler and back`,
    control: { ...CONTROL, latencyMs, jitterMs: latencyMs / 10 },
  };
}

function lossyControl(choices: Choices): Scenario {
  return {
    ...flashCrowd(choices),
    name: "s10-lossy",
    title: "1 % of the messages are lost, 2 % come twice, 5 % late",
    control: {
      ...CONTROL,
      latencyMs: 5,
      jitterMs: 5,
      lost: 0.01,
      duplicated: 0.02,
      reordered: 0.05,
    },
  };
}

function schedulerCrashes(choices: Choices): Scenario {
  const wholeMs = choices.pieces * PIECE_MS;
  return {
    ...flashCrowd(choices),
    name: "s11",
    title: "the scheduler is away for 1 s and for 4 s",
    schedulerCrashes: [
      { atMs: 0.3 * wholeMs, downMs: 1_000 },
      { atMs: 0.7 * wholeMs, downMs: 4_000 },
    ],
    isLogged: true,
  };
}

/** A host that lies asks for nothing: what it got itself nobody could tell. */
function liars(choices: Choices): Scenario {
  const scenario = withFaults(flashCrowd(choices), (_host, random) => {
    const draw = random();
    if (draw < 0.02) return [{ kind: "lies", atMs: 2_000 }];
    if (draw < 0.04) return [{ kind: "corrupts" }];
    return draw < 0.09 ? [{ kind: "refuses", share: 0.3 }] : [];
  });
  return {
    ...scenario,
    name: "s14",
    title:
      "2 % of the hosts claim to hold everything, 2 % send wrong bytes, 5 % refuse 30 % of the reads",
    hosts: scenario.hosts.map((host) =>
      host.faults.some(({ kind }) => kind === "lies") ? { ...host, wants: [] } : host,
    ),
  };
}
