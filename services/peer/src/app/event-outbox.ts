import { EVENT_VERSION } from "@lacewing/contracts/events/decode.ts";
import { type Event, EventMessage } from "@lacewing/contracts/gen/lacewing/events/v1/events.ts";
import type { BootId, HostId } from "@lacewing/contracts/ids.ts";
import { eventsSubject, hostSubject, MIXED } from "@lacewing/contracts/subjects.ts";
import type { Log } from "@lacewing/observability/log.ts";
import { backoffMs } from "@lacewing/runtime/backoff.ts";
import type { Clock } from "@lacewing/runtime/clock.ts";
import { messageOf } from "@lacewing/runtime/errors.ts";
import type { ControlPlane } from "./control-plane.ts";
import {
  type EventTarget,
  isLeaving,
  packable,
  packableCount,
  PACKED_BYTES_MAX,
  PACKED_EVENT_COUNT_MAX,
  type Ready,
  type Waiting,
} from "./event-packing.ts";

/** Two messages about one target are at least so far apart, unless something cannot wait: what comes meanwhile is published with the second. */
const PACK_MS = 25;
/** What may come later is published this often while there is more and more of it: a batch of small files makes hundreds of messages less. */
const BURST_PACK_MS = 250;
/** Messages published and not yet acknowledged; more wait, packed. */
const UNACKNOWLEDGED_COUNT_MAX = 64;
/** Events that wait while the broker is away; beyond this they are dropped and a full announce repairs the rest. */
const WAITING_EVENT_COUNT_MAX = 20_000;
const RETRY = { firstMs: 200, maxMs: 5000 };
/** A message that was refused this often is given up and a full announce repairs what it said. */
const ATTEMPT_COUNT_MAX = 8;

/** How often a close looks whether everything is acknowledged: far below the seconds that a stop has for it. */
const CLOSE_POLL_MS = 10;

/** One message. */
interface Packed {
  readonly sequence: number;
  readonly events: readonly Event[];
  readonly data: Uint8Array;
}

/**
 * When an event is published at the latest: at once with everything queued before it, as soon as {@link PACK_MS} have passed since
 * the last message about its target, or, when others of its kind were published a moment ago, {@link BURST_PACK_MS} after those.
 */
export type Urgency = "now" | "soon" | "later";

/**
 * Packs events and repeats a message under the same id until it is acknowledged. What is due of several slices travels together: a
 * batch of small files is about as many slices as files. One message about a slice is under way at a time, so that a repeated one
 * never comes after its successor; what comes meanwhile is packed into the next.
 * What overflows or cannot be delivered is dropped; once the broker takes messages again it is reported through `onLoss`,
 * after which the caller announces its whole state: availability is a state, not a log.
 */
export class EventOutbox {
  readonly #controlPlane: ControlPlane;
  readonly #identity: { readonly hostId: HostId; readonly bootId: BootId };
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #onLoss: () => void;
  readonly #random: () => number;
  readonly #waiting = new Map<EventTarget, Waiting>();
  /** By target: when the last message about it was published. */
  readonly #publishedAtMs = new Map<EventTarget, number>();
  #waitingCount = 0;
  /** Targets with a message under way. */
  readonly #inFlight = new Set<EventTarget>();
  #unacknowledgedCount = 0;
  /** Waits between two tries, cut short when the connection is back. */
  readonly #naps = new Set<AbortController>();
  #hasLost = false;
  #sequence = 0;
  #timer: NodeJS.Timeout | undefined;
  #timerAtMs = Number.POSITIVE_INFINITY;
  /** When events that may come later are published next, or were the last time. */
  #laterAtMs = Number.NEGATIVE_INFINITY;
  #collect: (target: EventTarget) => boolean = () => true;
  #isClosed = false;

  constructor(options: {
    readonly controlPlane: ControlPlane;
    readonly identity: { readonly hostId: HostId; readonly bootId: BootId };
    readonly clock: Clock;
    readonly log: Log;
    readonly random: () => number;
    readonly onLoss: () => void;
  }) {
    this.#controlPlane = options.controlPlane;
    this.#identity = options.identity;
    this.#clock = options.clock;
    this.#log = options.log;
    this.#random = options.random;
    this.#onLoss = options.onLoss;
  }

  /**
   * Called right before something is published about a target, to add what is kept as state rather than as events. It says
   * whether that is all.
   */
  set beforePublish(collect: (target: EventTarget) => boolean) {
    this.#collect = collect;
  }

  /** Whether more events can be queued without dropping any: half of the room is left to what cannot be said again. */
  get hasRoom(): boolean {
    return this.#waitingCount < WAITING_EVENT_COUNT_MAX / 2;
  }

  get #hasWindow(): boolean {
    return this.#unacknowledgedCount < UNACKNOWLEDGED_COUNT_MAX;
  }

  /** Queues an event. */
  add(target: EventTarget, event: Event, urgency: Urgency = "soon"): void {
    if (this.#queue(target, event, urgency) && urgency === "now") this.flush();
  }

  /** Queues events that leave at once and together. */
  addTogether(events: Iterable<readonly [EventTarget, Event]>): void {
    for (const [target, event] of events) this.#queue(target, event, "now");
    this.flush();
  }

  /** Something will be collected for this target: it is asked for in time. */
  expect(target: EventTarget, urgency: Urgency): void {
    if (!this.#isClosed) this.#waitingOn(target, urgency);
  }

  /** The connection is back: what failed is tried again now. */
  resume(): void {
    for (const nap of this.#naps) nap.abort();
  }

  /** The caller announces its whole state: what was lost before needs no other repair. */
  repaired(): void {
    this.#hasLost = false;
  }

  /** Publishes what is due, as far as the window allows; the rest follows with the acknowledgements. */
  flush(): void {
    if (this.#isClosed || !this.#controlPlane.isConnected) return;
    const slices: Ready[] = [];
    let lastWords: Ready | undefined;
    const nowMs = this.#clock.monotonic();
    for (const [target, waiting] of this.#waiting) {
      if (waiting.dueAtMs > nowMs || this.#inFlight.has(target) || !this.#hasWindow) continue;
      const ready = { target, waiting, isAll: this.#collect(target) };
      if (waiting.events.length === 0) {
        if (ready.isAll) this.#waiting.delete(target);
        else waiting.dueAtMs = nowMs + PACK_MS;
      } else if (target !== "host") slices.push(ready);
      // What a host says before it leaves is heard before that; what it announces, before what came meanwhile.
      else if (waiting.events.some(isLeaving)) lastWords = ready;
      else this.#publish([ready]);
    }
    for (const together of packable(slices)) this.#publish(together);
    if (lastWords !== undefined) this.#publish([lastWords]);
    this.#watch();
  }

  /** Gives what waits one last chance. */
  async close(deadlineMs: number): Promise<void> {
    for (const waiting of this.#waiting.values()) waiting.dueAtMs = Number.NEGATIVE_INFINITY;
    this.flush();
    const until = this.#clock.monotonic() + deadlineMs;
    const isBusy = (): boolean =>
      this.#inFlight.size > 0 || (this.#waitingCount > 0 && this.#controlPlane.isConnected);
    while (isBusy() && this.#clock.monotonic() < until) await this.#clock.sleep(CLOSE_POLL_MS);
    this.#isClosed = true;
    clearTimeout(this.#timer);
    this.resume();
  }

  /** @returns whether there was room for it. */
  #queue(target: EventTarget, event: Event, urgency: Urgency): boolean {
    if (this.#isClosed) return false;
    if (this.#waitingCount >= WAITING_EVENT_COUNT_MAX) {
      for (const { events } of this.#waiting.values()) events.length = 0;
      this.#waiting.clear();
      this.#waitingCount = 0;
      this.#hasLost = true;
      this.#log.warn("outbox overflow", { waitingEventCountMax: WAITING_EVENT_COUNT_MAX });
    }
    this.#waitingOn(target, urgency).events.push(event);
    this.#waitingCount++;
    return true;
  }

  #waitingOn(target: EventTarget, urgency: Urgency): Waiting {
    const dueAtMs = this.#dueAtMs(target, urgency);
    let waiting = this.#waiting.get(target);
    if (waiting === undefined) {
      waiting = { events: [], dueAtMs };
      this.#waiting.set(target, waiting);
    }
    waiting.dueAtMs = Math.min(waiting.dueAtMs, dueAtMs);
    if (urgency !== "now" && dueAtMs < this.#timerAtMs) this.#wakeAt(dueAtMs);
    return waiting;
  }

  #dueAtMs(target: EventTarget, urgency: Urgency): number {
    const nowMs = this.#clock.monotonic();
    if (urgency === "now") return nowMs;
    if (urgency === "soon") {
      return Math.max(nowMs, (this.#publishedAtMs.get(target) ?? -PACK_MS) + PACK_MS);
    }
    if (this.#laterAtMs <= nowMs) {
      this.#laterAtMs = Math.max(nowMs + PACK_MS, this.#laterAtMs + BURST_PACK_MS);
    }
    return this.#laterAtMs;
  }

  /** Comes back for what is not due yet. What has a message under way, or no room in the window, is looked at when one is acknowledged. */
  #watch(): void {
    let dueAtMs = Number.POSITIVE_INFINITY;
    if (this.#hasWindow) {
      for (const [target, waiting] of this.#waiting) {
        if (!this.#inFlight.has(target)) dueAtMs = Math.min(dueAtMs, waiting.dueAtMs);
      }
    }
    this.#wakeAt(dueAtMs);
  }

  #wakeAt(atMs: number): void {
    clearTimeout(this.#timer);
    this.#timerAtMs = atMs;
    if (atMs === Number.POSITIVE_INFINITY || this.#isClosed) return;
    const waitMs = Math.max(0, atMs - this.#clock.monotonic());
    this.#timer = setTimeout(() => {
      this.#timerAtMs = Number.POSITIVE_INFINITY;
      this.flush();
    }, waitMs);
  }

  /** Publishes what fits in one message, or in several when it is too large for one. */
  #publish(ready: readonly Ready[]): void {
    if (!this.#hasWindow) return;
    const packed = this.#packOf(ready);
    if (packed === undefined) {
      if (ready.length < 2) return;
      const middle = ready.length >> 1;
      this.#publish(ready.slice(0, middle));
      this.#publish(ready.slice(middle));
      return;
    }
    const nowMs = this.#clock.monotonic();
    this.#waitingCount -= packed.events.length;
    this.#unacknowledgedCount++;
    for (const { target, waiting, isAll } of ready) {
      this.#inFlight.add(target);
      this.#publishedAtMs.set(target, nowMs);
      if (waiting.events.length === 0 && isAll) this.#forget(target, waiting);
    }
    const targets = ready.map(({ target }) => target);
    this.#deliver(this.#subjectOf(targets), packed)
      .catch((error: unknown) => {
        this.#hasLost = true;
        this.#log.error("events cannot be published", { targets, error: messageOf(error) });
      })
      .finally(() => {
        this.#unacknowledgedCount--;
        for (const target of targets) this.#inFlight.delete(target);
        this.flush();
      });
  }

  #subjectOf([target = "host", ...others]: readonly EventTarget[]): string {
    const { hostId } = this.#identity;
    if (target === "host") return hostSubject(hostId);
    return eventsSubject(others.length === 0 ? target : MIXED, hostId);
  }

  /**
   * Takes what fits in one message: all of several targets, or as much as fits of one.
   *
   * @returns `undefined` when several have more than fits, or something that cannot be encoded; what cannot be encoded of one is given up.
   */
  #packOf(ready: readonly Ready[]): Packed | undefined {
    const [first, ...others] = ready;
    try {
      if (first !== undefined && others.length === 0) return this.#packOne(first.waiting.events);
      const events = ready.flatMap(({ waiting }) => waiting.events);
      const packed = this.#pack(events);
      if (packed.data.length > PACKED_BYTES_MAX) return undefined;
      for (const { waiting } of ready) waiting.events.length = 0;
      return this.#counted(packed);
    } catch (error) {
      if (first !== undefined && others.length === 0) this.#giveUp(first, error);
      return undefined;
    }
  }

  /** Takes as many events from the front as fit in one message. */
  #packOne(waiting: Event[]): Packed {
    let packed = this.#pack(waiting.slice(0, PACKED_EVENT_COUNT_MAX));
    if (packed.data.length > PACKED_BYTES_MAX && packed.events.length > 1)
      packed = this.#pack(packed.events.slice(0, packableCount(packed.events)));
    waiting.splice(0, packed.events.length);
    return this.#counted(packed);
  }

  #pack(events: readonly Event[]): Packed {
    const sequence = this.#sequence + 1;
    return { sequence, events, data: this.#encode(sequence, events) };
  }

  /** It will be published, and the next one has the next number. */
  #counted(packed: Packed): Packed {
    this.#sequence = packed.sequence;
    return packed;
  }

  /** A host that says something impossible goes on with everything else. */
  #giveUp({ target, waiting }: Ready, error: unknown): void {
    this.#hasLost = true;
    this.#log.error("events cannot be published", { target, error: messageOf(error) });
    this.#waitingCount -= waiting.events.length;
    waiting.events.length = 0;
    this.#forget(target, waiting);
  }

  #forget(target: EventTarget, waiting: Waiting): void {
    if (this.#waiting.get(target) === waiting) this.#waiting.delete(target);
  }

  #encode(sequence: number, events: readonly Event[]): Uint8Array {
    return EventMessage.encode({
      version: EVENT_VERSION,
      ...this.#identity,
      sequence,
      sentAtMs: Math.round(this.#clock.now()),
      events: [...events],
    }).finish();
  }

  async #deliver(subject: string, { sequence, events, data }: Packed): Promise<void> {
    const { hostId, bootId } = this.#identity;
    const traceparent = events.find((event) => event.traceparent !== "")?.traceparent ?? "";
    const id = `${hostId}:${bootId}:${sequence}`;
    // Tries while there is no connection do not count: they say nothing about the message.
    for (let failureCount = 0, attempt = 0; failureCount < ATTEMPT_COUNT_MAX; attempt++) {
      if (this.#isClosed) return;
      try {
        await this.#controlPlane.publish(subject, data, id, traceparent);
        this.#delivered();
        return;
      } catch (error) {
        this.#log.debug("event publish failed", { subject, attempt, error: messageOf(error) });
        if (this.#controlPlane.isConnected) failureCount++;
        await this.#nap(backoffMs(attempt, RETRY, this.#random()));
      }
    }
    this.#hasLost = true;
  }

  /** The broker takes messages: now a repair can be told. */
  #delivered(): void {
    if (!this.#hasLost) return;
    this.#hasLost = false;
    this.#onLoss();
  }

  async #nap(ms: number): Promise<void> {
    const nap = new AbortController();
    this.#naps.add(nap);
    // Ends early when the connection is back; either way the loop goes on.
    await this.#clock.sleep(ms, nap.signal).catch(() => undefined);
    this.#naps.delete(nap);
  }
}
