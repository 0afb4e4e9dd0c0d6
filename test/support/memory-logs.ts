import type { AssignmentMessage } from "@lacewing/contracts/gen/lacewing/assignments/v1/assignments.ts";
import type { DecisionMessage } from "@lacewing/contracts/gen/lacewing/decisions/v1/decisions.ts";
import { type Event, EventMessage } from "@lacewing/contracts/gen/lacewing/events/v1/events.ts";
import { type HostId, parseHostId } from "@lacewing/contracts/ids.ts";
import { eventsSubject, hostSubject } from "@lacewing/contracts/subjects.ts";
import { PortError } from "@lacewing/runtime/errors.ts";
import type {
  AssignmentSender,
  BrokerLink,
  DecisionLog,
  EventLog,
  StoredDecisions,
  StoredEvents,
} from "@lacewing/scheduler/app/ports.ts";

/** The in-memory twin of the broker: both logs, and what was sent to hosts. */
export class MemoryBroker implements AssignmentSender, BrokerLink {
  readonly events: StoredEvents[] = [];
  readonly decisions: StoredDecisions[] = [];
  readonly sent: { readonly hostId: string; readonly message: AssignmentMessage }[] = [];
  /** While false, appends fail as if the broker did not answer. */
  isUp = true;
  #wake = Promise.withResolvers<void>();
  #sequences = new Map<string, number>();
  #droppedEventCount = 0;

  readonly eventLog: EventLog = {
    bounds: () =>
      Promise.resolve({
        first: this.#droppedEventCount + 1,
        last: this.#droppedEventCount + this.events.length,
      }),
    read: (fromSequence, signal) => this.#read(fromSequence, signal),
  };

  readonly decisionLog: DecisionLog = {
    bounds: () => Promise.resolve({ first: 1, last: this.decisions.length }),
    readRange: (from, to) => this.#readDecisions(from, to),
    last: (slice) => {
      const epoch = this.#newestOf(slice)?.message.epoch ?? 0;
      return Promise.resolve({ sequence: this.#lastOf(slice), epoch });
    },
    append: (slice, message, expected) => this.append(slice, message, expected),
  };

  isConnected(): boolean {
    return this.isUp;
  }

  send(hostId: HostId, message: AssignmentMessage): void {
    this.sent.push({ hostId, message });
  }

  append(slice: number, message: DecisionMessage, expected: number): Promise<number | "fenced"> {
    if (!this.isUp) {
      return Promise.reject(
        new PortError("nats_failed", "the broker is away", { retryable: true }),
      );
    }
    if (this.#lastOf(slice) !== expected) return Promise.resolve("fenced");
    this.decisions.push({ message, streamSequence: this.decisions.length + 1 });
    return Promise.resolve(this.decisions.length);
  }

  /** A host publishes events about the tasks of one slice, or about itself. */
  publish(hostName: string, slice: number | "host", kind: NonNullable<Event["kind"]>): void {
    const hostId = parseHostId(hostName);
    if (hostId === undefined) throw new Error(`not a host id: ${hostName}`);
    const sequence = (this.#sequences.get(hostName) ?? 0) + 1;
    this.#sequences.set(hostName, sequence);
    const message: EventMessage = {
      version: 1,
      hostId,
      bootId: "boot-1",
      sequence,
      sentAtMs: 0,
      events: [{ traceparent: "", kind }],
    };
    this.events.push({
      subject: slice === "host" ? hostSubject(hostId) : eventsSubject(slice, hostId),
      data: EventMessage.encode(message).finish(),
      streamSequence: this.#droppedEventCount + this.events.length + 1,
      messageId: `${hostName}:boot-1:${sequence}`,
      storedAtMs: Date.now(),
    });
    this.#wake.resolve();
    this.#wake = Promise.withResolvers();
  }

  /** The log forgets its oldest messages, as its limits have it. */
  forgetEvents(count: number): void {
    this.#droppedEventCount += this.events.splice(0, count).length;
  }

  /** What a host was told, in order. */
  toldTo(hostId: string) {
    return this.sent
      .filter((sent) => sent.hostId === hostId)
      .flatMap(({ message }) =>
        message.assignments.flatMap(({ kind }) => (kind === undefined ? [] : [kind])),
      );
  }

  #lastOf(slice: number): number {
    return this.#newestOf(slice)?.streamSequence ?? 0;
  }

  #newestOf(slice: number): StoredDecisions | undefined {
    return this.decisions.findLast((stored) => stored.message.slice === slice);
  }

  async *#read(fromSequence: number, signal: AbortSignal): AsyncGenerator<StoredEvents> {
    const aborted = new Promise<void>((resolve) => {
      signal.addEventListener("abort", () => resolve(), { once: true });
    });
    let next = fromSequence;
    while (!signal.aborted) {
      const stored = this.events.find((event) => event.streamSequence >= next);
      if (stored === undefined) {
        await Promise.race([this.#wake.promise, aborted]);
        continue;
      }
      next = stored.streamSequence + 1;
      yield stored;
    }
  }

  async *#readDecisions(from: number, to: number): AsyncGenerator<StoredDecisions> {
    yield* this.decisions.slice(from - 1, to);
  }
}
