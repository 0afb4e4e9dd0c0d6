import type { EventQueue } from "./event-queue.ts";
import { Flows, FlowUplink } from "./flows.ts";
import { type Job, Pipe, Uplink, type WayOut } from "./links.ts";
import type { HostSpec, Scenario } from "./scenario.ts";

/** Where bytes leave from: a host, or the origin. */
export interface Source {
  readonly uplink: WayOut;
  /** Undefined: the origin, outside every zone. */
  readonly spec: HostSpec | undefined;
}

/** A machine on the network. */
export interface Endpoint extends Source {
  readonly spec: HostSpec;
  readonly downlink: Pipe;
  /** Whether its process runs. */
  isAlive: boolean;
  /** Nothing leaves it, and nobody is told. */
  isStalled: boolean;
}

interface Zone {
  readonly ingress: Pipe;
  readonly egress: Pipe;
}

/** Uplinks, downlinks, racks and zones, and the count of what they carried. */
export class Network {
  readonly #queue: EventQueue;
  readonly #latencyMs: number;
  readonly #isCoupled: boolean;
  readonly #zones = new Map<string, Zone>();
  readonly #racks = new Map<string, Zone>();
  readonly origin: Source;
  readonly endpoints: readonly Endpoint[];
  originBytes = 0;
  /** Bytes that came into each zone from outside it, the origin included. */
  readonly zoneBytes = new Map<string, number>();

  constructor(queue: EventQueue, scenario: Scenario) {
    this.#queue = queue;
    const { network, zones, hosts, origin } = scenario;
    this.#latencyMs = network.latencyMs;
    this.#isCoupled = network.isCoupled === true;
    const flows = new Flows(queue);
    const wayOut = (bytesPerMs: number, servingMax: number): WayOut =>
      this.#isCoupled
        ? new FlowUplink(flows, bytesPerMs)
        : new Uplink(queue, bytesPerMs, servingMax);
    for (const { idc, ingressBytesPerMs, egressBytesPerMs } of zones) {
      this.#zones.set(idc, {
        ingress: new Pipe(ingressBytesPerMs),
        egress: new Pipe(egressBytesPerMs),
      });
    }
    if (network.rackBytesPerMs !== undefined) {
      for (const { idc, location } of hosts) {
        const pipe = () => new Pipe(network.rackBytesPerMs ?? Infinity);
        this.#racks.set(`${idc}|${location}`, { ingress: pipe(), egress: pipe() });
      }
    }
    // An origin serves whoever asks: it has no queue.
    this.origin = { uplink: wayOut(origin.upBytesPerMs, Infinity), spec: undefined };
    this.endpoints = hosts.map((spec) => ({
      spec,
      uplink: wayOut(spec.upBytesPerMs, network.servingMax),
      downlink: new Pipe(spec.downBytesPerMs),
      isAlive: true,
      isStalled: false,
    }));
  }

  /** Sends bytes; `done` when the last one is there. A job that is canceled before has no end. */
  carry(from: Source, to: Endpoint, bytes: number, done: () => void): Job {
    return from.uplink.send(bytes, to.downlink, (job) => {
      const { nowMs } = this.#queue;
      const arrivesAtMs = this.#pass(from, to, bytes, job.servedAtMs ?? nowMs);
      this.#queue.at(arrivesAtMs + this.#latencyMs, done);
    });
  }

  #pass(from: Source, to: Endpoint, bytes: number, firstAtMs: number): number {
    let lastAtMs = this.#queue.nowMs;
    if (from.spec === undefined) this.originBytes += bytes;
    if (from.spec?.idc !== to.spec.idc) {
      const { idc } = to.spec;
      this.zoneBytes.set(idc, (this.zoneBytes.get(idc) ?? 0) + bytes);
      const exit = this.#zones.get(from.spec?.idc ?? "");
      if (exit !== undefined) lastAtMs = exit.egress.pass(bytes, firstAtMs, lastAtMs);
      const entry = this.#zones.get(idc);
      if (entry !== undefined) lastAtMs = entry.ingress.pass(bytes, firstAtMs, lastAtMs);
    }
    const fromRack = `${from.spec?.idc}|${from.spec?.location}`;
    const toRack = `${to.spec.idc}|${to.spec.location}`;
    if (this.#racks.size > 0 && fromRack !== toRack) {
      lastAtMs = this.#racks.get(fromRack)?.egress.pass(bytes, firstAtMs, lastAtMs) ?? lastAtMs;
      lastAtMs = this.#racks.get(toRack)?.ingress.pass(bytes, firstAtMs, lastAtMs) ?? lastAtMs;
    }
    if (this.#isCoupled) return lastAtMs;
    return to.downlink.pass(bytes, firstAtMs, lastAtMs);
  }
}
