import { type Figures, figuresOf } from "./metrics.ts";
import type { Scenario } from "./scenario.ts";
import type { ShellCosts } from "./scheduler-shell.ts";
import { START_MS, World } from "./world.ts";

export interface Run {
  readonly figures: Figures;
  readonly world: World;
  /** Of this machine, not of virtual time: never the same twice. */
  readonly costs: ShellCosts;
  readonly wallMs: number;
  readonly eventCount: number;
}

/** Plays a scenario with our scheduler. */
export function runScenario(scenario: Scenario): Run {
  const startedAtMs = performance.now();
  const world = new World(scenario);
  world.run();
  return {
    figures: figuresOfWorld(world),
    world,
    costs: world.scheduler.costs,
    wallMs: performance.now() - startedAtMs,
    eventCount: world.queue.count,
  };
}

export function figuresOfWorld(world: World): Figures {
  const { network, control } = world;
  return figuresOf(world.scenario, {
    scheduler: "lacewing",
    startMs: START_MS,
    endMs: world.queue.nowMs,
    isFinished: world.isFinished,
    copies: world.copies,
    isGone: (host) => world.hosts[host]?.isGone === true,
    originBytes: network.originBytes,
    zoneBytes: network.zoneBytes,
    sentBytes: network.endpoints.map(({ uplink }) => uplink.sentBytes),
    wastedBytes: world.wastedBytes,
    aloneCount: world.aloneCount,
    failures: world.failureCounts,
    messages: { sent: control.sentCount, lost: control.lostCount },
  });
}
