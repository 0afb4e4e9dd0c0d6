import { ControlPlane } from "./control-plane.ts";
import type { Copy } from "./copy.ts";
import { EventQueue } from "./event-queue.ts";
import { Network } from "./network.ts";
import { Progress } from "./progress.ts";
import type { HostFault, Scenario, TaskSpec } from "./scenario.ts";
import { SchedulerShell } from "./scheduler-shell.ts";
import { SimHost } from "./sim-host.ts";
import { seededRandom } from "../../support/scheduler-world.ts";

/** Hosts are up and announced for so long before the scenario's time begins. */
export const START_MS = 1_000;
/** Of that time; the rest is for announces to arrive. */
const BOOTED_WITHIN = 0.9;

/** One run of a scenario with our scheduler: everything in it happens in virtual time and is drawn from one seed. */
export class World {
  readonly scenario: Scenario;
  readonly queue = new EventQueue();
  readonly random: () => number;
  readonly network: Network;
  readonly control: ControlPlane;
  readonly scheduler: SchedulerShell;
  readonly hosts: readonly SimHost[];
  readonly copies: Copy[] = [];
  readonly progress: Progress;
  isOriginUp = true;
  wastedBytes = 0;
  /** False: hosts that hear nothing wait for ever, which the checks must see. */
  mayGoOnAlone = true;
  /** Times that a host went on without the scheduler. */
  aloneCount = 0;
  droppedTaskCount = 0;
  readonly failureCounts = new Map<string, number>();
  readonly #hostsById = new Map<string, SimHost>();
  readonly #taskNumbers = new Map<string, number>();
  /** Wants that are still to be filled, by hosts that still run. */
  #openWants = 0;

  constructor(scenario: Scenario) {
    this.scenario = scenario;
    this.random = seededRandom(scenario.prngSeed);
    this.network = new Network(this.queue, scenario);
    this.control = new ControlPlane(this.queue, scenario.control, this.random);
    this.progress = new Progress(this.queue, scenario);
    this.scheduler = new SchedulerShell(this.queue, {
      appendMs: scenario.control.appendMs,
      isLogged: scenario.isLogged || scenario.schedulerCrashes.length > 0,
      random: this.random,
      send: (hostId, batch) => {
        const host = this.#hostsById.get(hostId);
        if (host !== undefined) this.control.send(host.wayIn, () => host.receive(batch));
      },
    });
    this.hosts = this.network.endpoints.map(
      (endpoint, index) => new SimHost(this, index, endpoint),
    );
    for (const host of this.hosts) this.#hostsById.set(host.spec.hostId, host);
    for (const [number, { taskId }] of scenario.tasks.entries())
      this.#taskNumbers.set(taskId, number);
    this.#plan();
  }

  /** Runs until every client is served or gone. */
  run(): void {
    this.queue.run(START_MS + this.scenario.untilMs, () => this.#openWants === 0);
  }

  /** Lets time pass after that. */
  runOn(ms: number): void {
    this.queue.run(this.queue.nowMs + ms, () => false);
  }

  get isFinished(): boolean {
    return this.#openWants === 0;
  }

  taskAt(number: number): TaskSpec {
    const task = this.scenario.tasks[number];
    if (task === undefined) throw new RangeError(`no task ${number}`);
    return task;
  }

  taskNumber(taskId: string): number | undefined {
    return this.#taskNumbers.get(taskId);
  }

  hostNamed(hostId: string): SimHost | undefined {
    return this.#hostsById.get(hostId);
  }

  copyOpened(copy: Copy): void {
    this.copies.push(copy);
  }

  pieceHeld(copy: Copy, piece: number): void {
    this.progress.note(copy, piece);
    const isOver = this.scenario.origin.isDownWhenOut === true && this.progress.isOut;
    if (isOver && this.isOriginUp) this.#closeOrigin();
  }

  completed(host: SimHost): void {
    this.#openWants--;
    const { lingerMs } = host.spec;
    if (lingerMs === undefined) return;
    this.queue.after(lingerMs, () => {
      const isDone = [...host.downloads.values()].every(({ copy }) => copy.isFull);
      if (isDone && !host.isGone) host.leave();
    });
  }

  #plan(): void {
    const { queue, scenario } = this;
    this.scheduler.start();
    for (const host of this.hosts) {
      queue.at(START_MS * BOOTED_WITHIN * this.random(), () => host.boot());
      for (const { task, atMs } of host.spec.wants) {
        this.#openWants++;
        queue.at(START_MS + atMs, () => {
          if (host.isGone) this.#openWants--;
          else host.want(task);
        });
      }
      for (const fault of host.spec.faults) this.#planFault(host, fault);
    }
    for (const { atMs, downMs } of scenario.schedulerCrashes) {
      queue.at(START_MS + atMs, () => this.scheduler.crash(downMs));
    }
    const { downFromMs } = scenario.origin;
    if (downFromMs !== undefined) queue.at(START_MS + downFromMs, () => this.#closeOrigin());
  }

  #planFault(host: SimHost, fault: HostFault): void {
    const { queue } = this;
    switch (fault.kind) {
      case "dies":
        queue.at(START_MS + fault.atMs, () => this.#kill(host, fault.backAtMs));
        return;
      case "stalls":
        queue.at(START_MS + fault.atMs, () => {
          host.endpoint.isStalled = true;
          host.endpoint.uplink.setRate(0);
        });
        queue.at(START_MS + fault.untilMs, () => {
          host.endpoint.isStalled = false;
          host.endpoint.uplink.setRate(host.spec.upBytesPerMs);
        });
        return;
      case "lies":
        queue.at(START_MS + fault.atMs, () => host.lie());
        return;
      case "corrupts":
      case "refuses":
        return;
      default:
        fault satisfies never;
    }
  }

  /** Without a return its clients are gone with it. */
  #kill(host: SimHost, backAtMs: number | undefined): void {
    if (host.isGone) return;
    const waiting = [...host.downloads.values()].filter(({ requestId }) => requestId !== undefined);
    host.die();
    if (backAtMs === undefined) this.#openWants -= waiting.length;
    else this.queue.at(START_MS + backAtMs, () => host.revive());
  }

  #closeOrigin(): void {
    this.isOriginUp = false;
    this.network.origin.uplink.setRate(0);
  }
}
