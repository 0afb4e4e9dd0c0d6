import type { EventQueue } from "./event-queue.ts";
import { type Job, ROUNDING_BYTES, type WayIn, type WayOut } from "./links.ts";

interface Flow extends Job {
  readonly from: FlowUplink;
  readonly to: WayIn;
  bytesPerMs: number;
}

/** What flows that are not yet settled have left of one link. */
interface Share {
  leftBytesPerMs: number;
  readonly flows: Set<Flow>;
}

/**
 * Connections that are held up at both of their ends, as TCP's are: each has the largest rate that takes nothing from a slower one
 * (max-min fairness). A sender's link is not full when its receivers' are; with {@link Uplink} and {@link Pipe} it always is.
 */
export class Flows {
  readonly #queue: EventQueue;
  readonly #flows = new Set<Flow>();
  #countedAtMs = 0;
  /** Number of the newest plan; older ones are void. */
  #plan = 0;

  constructor(queue: EventQueue) {
    this.#queue = queue;
  }

  begin(from: FlowUplink, to: WayIn, bytes: number, done: (job: Job) => void): Job {
    const { nowMs } = this.#queue;
    const times = { beganAtMs: nowMs, servedAtMs: nowMs };
    const flow: Flow = { from, to, remainingBytes: bytes, ...times, bytesPerMs: 0, done };
    this.count();
    this.#flows.add(flow);
    this.plan();
    return flow;
  }

  cancel(job: Job): void {
    this.count();
    for (const flow of this.#flows) if (flow === job) this.#flows.delete(flow);
    this.plan();
  }

  loadOf(from: FlowUplink): number {
    let load = 0;
    for (const flow of this.#flows) if (flow.from === from) load++;
    return load;
  }

  /** Books what was sent since the last look. */
  count(): void {
    const { nowMs } = this.#queue;
    this.#book(nowMs - this.#countedAtMs);
    this.#countedAtMs = nowMs;
  }

  /** Rates anew, and a look at the first flow that ends with them. Call {@link count} before anything changes. */
  plan(): void {
    this.#share();
    let firstMs = Infinity;
    for (const flow of this.#flows) {
      if (flow.bytesPerMs > 0) firstMs = Math.min(firstMs, flow.remainingBytes / flow.bytesPerMs);
    }
    const plan = ++this.#plan;
    if (firstMs === Infinity) return;
    this.#queue.after(firstMs, () => {
      if (plan === this.#plan) this.#finish(firstMs);
    });
  }

  #book(elapsedMs: number): void {
    for (const flow of this.#flows) {
      const sent = Math.min(elapsedMs * flow.bytesPerMs, flow.remainingBytes);
      flow.remainingBytes -= sent;
      flow.from.sentBytes += sent;
    }
  }

  /** @param elapsedMs since the plan was made: told, as time is too coarse to say it for the last bytes. */
  #finish(elapsedMs: number): void {
    this.#book(elapsedMs);
    this.#countedAtMs = this.#queue.nowMs;
    const finished = [...this.#flows].filter((flow) => flow.remainingBytes <= ROUNDING_BYTES);
    for (const flow of finished) this.#flows.delete(flow);
    this.plan();
    for (const flow of finished) flow.done(flow);
  }

  /** Fills all flows alike; the link that is full first settles those that use it. */
  #share(): void {
    const shares = new Map<object, Share>();
    for (const flow of this.#flows) {
      for (const link of [flow.from, flow.to]) {
        const share = shares.get(link) ?? { leftBytesPerMs: link.bytesPerMs, flows: new Set() };
        share.flows.add(flow);
        shares.set(link, share);
      }
    }
    while (shares.size > 0) {
      let [tightest, least] = [undefined as object | undefined, Infinity];
      for (const [link, { leftBytesPerMs, flows }] of shares) {
        const each = leftBytesPerMs / flows.size;
        if (each < least) [tightest, least] = [link, each];
      }
      for (const flow of shares.get(tightest ?? {})?.flows ?? []) {
        flow.bytesPerMs = least;
        for (const link of [flow.from, flow.to]) {
          const share = shares.get(link);
          if (share === undefined) continue;
          share.flows.delete(flow);
          share.leftBytesPerMs = Math.max(0, share.leftBytesPerMs - least);
          if (share.flows.size === 0) shares.delete(link);
        }
      }
    }
  }
}

/** A host's way out into flows. */
export class FlowUplink implements WayOut {
  readonly #flows: Flows;
  #bytesPerMs: number;
  sentBytes = 0;

  constructor(flows: Flows, bytesPerMs: number) {
    this.#flows = flows;
    this.#bytesPerMs = bytesPerMs;
  }

  get bytesPerMs(): number {
    return this.#bytesPerMs;
  }

  get load(): number {
    return this.#flows.loadOf(this);
  }

  send(bytes: number, to: WayIn, done: (job: Job) => void): Job {
    return this.#flows.begin(this, to, bytes, done);
  }

  cancel(job: Job): void {
    this.#flows.cancel(job);
  }

  setRate(bytesPerMs: number): void {
    this.#flows.count();
    this.#bytesPerMs = bytesPerMs;
    this.#flows.plan();
  }
}
