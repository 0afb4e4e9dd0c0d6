import { createHash, randomUUID } from "node:crypto";
import { decodeEventMessage } from "@lacewing/contracts/events/decode.ts";
import {
  type Assignment,
  type AssignmentMessage,
  Lease,
} from "@lacewing/contracts/gen/lacewing/assignments/v1/assignments.ts";
import type {
  DownloadFinished,
  Event,
  TaskRequested,
} from "@lacewing/contracts/gen/lacewing/events/v1/events.ts";
import { parseBootId, parseHostId, type TaskId } from "@lacewing/contracts/ids.ts";
import { type PieceLayout, pieceSpan, rangesOf } from "@lacewing/contracts/pieces.ts";
import { createMemoryLog } from "@lacewing/observability/memory-log.ts";
import type { ControlPlane } from "@lacewing/peer/app/control-plane.ts";
import { Background } from "@lacewing/peer/app/background.ts";
import type { DownloadServices } from "@lacewing/peer/app/download-services.ts";
import { DownloadService } from "@lacewing/peer/app/download-service.ts";
import { EventOutbox } from "@lacewing/peer/app/event-outbox.ts";
import { HitTally } from "@lacewing/peer/app/hit-tally.ts";
import { FetchTracer } from "@lacewing/peer/app/fetch-tracer.ts";
import {
  type ClientRequest,
  type DownloadAnswer,
  type PieceClient,
} from "@lacewing/peer/app/ports.ts";
import { PieceArrivals } from "@lacewing/peer/app/piece-arrivals.ts";
import { PoisonedTasks } from "@lacewing/peer/app/poisoned-tasks.ts";
import { SchedulerLink } from "@lacewing/peer/app/scheduler-link.ts";
import { TaskRegistry } from "@lacewing/peer/app/task-registry.ts";
import { headerOf, type HeaderList } from "@lacewing/peer/core/http-headers.ts";
import { ruleOf, type RuleSpec } from "@lacewing/peer/core/rules.ts";
import { type Clock, systemClock } from "@lacewing/runtime/clock.ts";
import { InvariantViolation, PortError } from "@lacewing/runtime/errors.ts";
import { MemoryFactJournal } from "./memory-fact-journal.ts";
import { MemoryPieceClient } from "./memory-piece-client.ts";
import { MemoryPieceStore } from "./memory-piece-store.ts";
import { ScriptedOrigin } from "./scripted-origin.ts";
import { waitFor } from "./wait-for.ts";

const PIECE_BYTES = 2 ** 20;
const HOST_ID = must(parseHostId("host-a"));
const BOOT_ID = must(parseBootId("boot-1"));

type Kind = NonNullable<Event["kind"]>;
type ValueByCase = { readonly [K in Kind as K["$case"]]: K["value"] };

/** One message as the broker stored it. */
export interface StoredMessage {
  readonly subject: string;
  readonly id: string;
  readonly events: readonly Event[];
}

/** A broker in memory; every message must be one that the scheduler would accept. */
export class MemoryControlPlane implements ControlPlane {
  isConnected = true;
  readonly messages: StoredMessage[] = [];
  readonly blockedReaders: { readonly taskId: TaskId; readonly pieceIndex: number }[] = [];
  /** Ids of all tries, those included that failed. */
  readonly tries: { readonly subject: string; readonly id: string }[] = [];
  /** Asked before each message is stored; what it throws is the broker's answer. */
  beforeStore: (subject: string, id: string) => Promise<void> | void = () => {};
  /** The scheduler, as the test plays it. */
  onEvent: (event: Kind) => void = () => {};
  #onAssignments: (message: AssignmentMessage) => void = () => {};
  #onConnected: () => void = () => {};

  async publish(subject: string, data: Uint8Array, id: string): Promise<void> {
    this.tries.push({ subject, id });
    await this.beforeStore(subject, id);
    if (!this.isConnected) throw new PortError("nats_disconnected", "away", { retryable: true });
    const decoded = decodeEventMessage(subject, data);
    if (!decoded.ok) throw new InvariantViolation(`refused: ${decoded.reason}`);
    if (decoded.refused !== undefined) throw new InvariantViolation(`refused: ${decoded.refused}`);
    this.messages.push({ subject, id, events: decoded.message.events });
    for (const { kind } of decoded.message.events) if (kind !== undefined) this.onEvent(kind);
  }

  readerBlocked(taskId: TaskId, pieceIndex: number): void {
    if (this.isConnected) this.blockedReaders.push({ taskId, pieceIndex });
  }

  onAssignments(listener: (message: AssignmentMessage) => void): void {
    this.#onAssignments = listener;
  }

  onConnected(listener: () => void): void {
    this.#onConnected = listener;
  }

  async close(): Promise<void> {}

  assign(kind: NonNullable<Assignment["kind"]>, epoch = 1, slice = 0): void {
    this.#onAssignments({ version: 1, slice, epoch, assignments: [{ kind }] });
  }

  reconnect(): void {
    this.isConnected = true;
    this.#onConnected();
  }

  /** Values of all stored events of a kind, in order. */
  all<Case extends Kind["$case"]>($case: Case): ValueByCase[Case][] {
    const isOfCase = (kind: unknown): kind is { readonly value: ValueByCase[Case] } =>
      typeof kind === "object" && kind !== null && "$case" in kind && kind.$case === $case;
    const values: ValueByCase[Case][] = [];
    for (const { events } of this.messages)
      for (const { kind } of events) if (isOfCase(kind)) values.push(kind.value);
    return values;
  }
}

/** What a client got. */
export interface Delivery {
  readonly answer: DownloadAnswer;
  readonly bytes: Buffer;
  /** Why the connection was broken off. */
  readonly error: unknown;
}

/** A client that reads as fast as it can until it is told to leave. */
export interface Client {
  readonly requestedAtMs: number;
  /** Received so far. */
  readonly received: () => number;
  readonly done: Promise<Delivery>;
  readonly hasLeft: () => boolean;
  leave(): void;
}

/** One peer service without its adapters: the test is client, origin, parent and scheduler. */
export class PeerWorld {
  readonly log = createMemoryLog();
  readonly store: MemoryPieceStore;
  readonly controlPlane = new MemoryControlPlane();
  readonly journal = new MemoryFactJournal();
  readonly origin = new ScriptedOrigin();
  readonly pieceClient = new MemoryPieceClient();
  readonly arrivals = new PieceArrivals();
  readonly link: SchedulerLink;
  readonly registry: TaskRegistry;
  readonly downloads: DownloadService;
  readonly tally: HitTally;
  readonly poisoned: PoisonedTasks;
  readonly tracer = new FetchTracer(HOST_ID, systemClock);
  isBusy = false;
  /** What was waited for by the clock, milliseconds. */
  readonly sleeps: number[] = [];

  /** `isHurried`: waits between two tries, and for the scheduler's first word, take a twentieth of their time. */
  constructor(
    options: {
      readonly quotaBytes?: number;
      readonly isHurried?: boolean;
      readonly clock?: Clock;
      readonly delegate?: DownloadServices["delegate"];
      /** Reads from parents in place of {@link PeerWorld.pieceClient}. */
      readonly pieceClient?: PieceClient;
    } = {},
  ) {
    this.store = new MemoryPieceStore(options);
    const { controlPlane, log, store, journal } = this;
    const hurry = options.isHurried === true ? 20 : 1;
    const { delegate, clock: time = systemClock } = options;
    const clock: Clock = {
      ...time,
      sleep: async (ms, signal) => {
        this.sleeps.push(ms);
        await time.sleep(ms / hurry, signal);
      },
    };
    const [random, identity] = [() => 0.5, { hostId: HOST_ID, bootId: BOOT_ID }];
    const onLoss = (): void => this.link.announce(true);
    this.link = new SchedulerLink({
      controlPlane,
      outbox: new EventOutbox({ controlPlane, identity, clock, log, random, onLoss }),
      store,
      journal,
      facts: {
        kind: "normal",
        transferAddress: "127.0.0.1:1",
        idc: "idc",
        location: "region|rack",
        uploadSlots: 8,
      },
      clock,
      log,
    });
    this.poisoned = new PoisonedTasks(clock);
    const { link, tracer, poisoned } = this;
    const services = {
      link,
      pieceClient: options.pieceClient ?? this.pieceClient,
      arrivals: this.arrivals,
      clock,
      log,
      tracer,
      random,
      selfToken: (parent: string): string => `self-${parent}`,
      poisoned,
      background: new Background(clock),
      ...(delegate === undefined ? {} : { delegate }),
    };
    this.registry = new TaskRegistry(store, services);
    store.onDropped(({ taskId, incarnation, reason }) =>
      link.peerDropped(taskId, incarnation, reason),
    );
    this.link.start(this.registry);
    this.tally = new HitTally({ link, hostId: HOST_ID, clock, log, newId: randomUUID });
    this.downloads = new DownloadService({
      store,
      origin: this.origin,
      registry: this.registry,
      services,
      hostId: HOST_ID,
      sha256,
      tally: this.tally,
      isBusy: () => this.isBusy,
      newId: randomUUID,
    });
  }

  /** Sends a request and reads the answer as it comes. */
  client(
    url: string,
    headers: HeaderList = [],
    rule: Partial<RuleSpec> = {},
    method: "GET" | "HEAD" = "GET",
    from?: string,
  ): Client {
    const gone = new AbortController();
    let receivedBytes = 0;
    const request: ClientRequest = {
      method,
      url: new URL(url),
      headers,
      header: (name) => headerOf(headers, name),
      receivedAtMs: systemClock.monotonic(),
      signal: gone.signal,
      client: from,
    };
    const run = async (): Promise<Delivery> => {
      const answer = await this.downloads.answer(request, ruleOf({ regex: ".*", ...rule }));
      const parts: Buffer[] = [];
      const into = new Uint8Array(100_000);
      let error: unknown;
      try {
        for (;;) {
          const length = (await answer.body?.read(into)) ?? 0;
          if (length === 0) break;
          parts.push(Buffer.from(into.subarray(0, length)));
          receivedBytes += length;
        }
      } catch (caught) {
        error = caught;
      }
      answer.ended(
        gone.signal.aborted ? "client_gone" : error === undefined ? "complete" : "broken_off",
      );
      return { answer, bytes: Buffer.concat(parts), error };
    };
    const done = run();
    done.catch(() => undefined);
    return {
      requestedAtMs: request.receivedAtMs,
      received: () => receivedBytes,
      hasLeft: () => gone.signal.aborted,
      done,
      leave: () => gone.abort(new PortError("client_gone", "left", { retryable: false })),
    };
  }

  async get(
    url: string,
    headers: HeaderList = [],
    rule: Partial<RuleSpec> = {},
  ): Promise<Delivery> {
    return this.client(url, headers, rule).done;
  }

  /** Has the scheduler answer each request once, the first time it is heard. */
  onRequest(answer: (request: TaskRequested) => void): void {
    const heard = new Set<string>();
    this.controlPlane.onEvent = (kind) => {
      if (kind.$case !== "taskRequested" || heard.has(kind.value.requestId)) return;
      heard.add(kind.value.requestId);
      setImmediate(() => answer(kind.value));
    };
  }

  grant(lease: Partial<Lease>): void {
    const value = Lease.fromPartial({ durationMs: 30_000, reason: "test", ...lease });
    this.controlPlane.assign({ $case: "lease", value });
  }

  /** Grants the origin for everything, as for content that nobody has described. */
  grantOrigin(request: TaskRequested, leaseId = `0-1-${randomUUID().slice(0, 8)}`): void {
    const { taskId, requestId } = request;
    this.grant({ leaseId, taskId, requestId, open: true });
  }

  /** Grants pieces of a parent, whose content `truth` says how they should be. */
  grantParent(
    request: Pick<TaskRequested, "taskId" | "requestId">,
    parent: { readonly hostId: string; readonly truth: Uint8Array; readonly leaseId?: string },
    pieceIndexes: readonly number[],
  ): void {
    const layout = layoutOf(parent.truth);
    const digests = pieceIndexes.map((index) => digestOfPiece(parent.truth, index));
    this.grant({
      leaseId: parent.leaseId ?? `0-1-${randomUUID().slice(0, 8)}`,
      taskId: request.taskId,
      requestId: request.requestId,
      parentHostId: parent.hostId,
      parentAddress: parent.hostId,
      pieces: rangesOf(pieceIndexes),
      pieceDigests: Buffer.concat(digests),
      lengthBytes: layout.lengthBytes,
      pieceLengthBytes: layout.pieceLengthBytes,
      token: "token",
    });
  }

  /** Grants pieces of a parent that may not hold them yet, with the digests of `known` ones. */
  grantAhead(
    { taskId, requestId }: Pick<TaskRequested, "taskId" | "requestId">,
    parent: { readonly hostId: string; readonly address?: string; readonly token?: string },
    content: Uint8Array,
    pieces: { readonly granted: readonly number[]; readonly known?: readonly number[] },
  ): void {
    const { granted, known = [] } = pieces;
    const digests = granted.map((index) =>
      known.includes(index) ? digestOfPiece(content, index) : Buffer.alloc(32),
    );
    this.grant({
      leaseId: `0-1-${randomUUID().slice(0, 8)}`,
      taskId,
      requestId,
      parentHostId: parent.hostId,
      parentAddress: parent.address ?? parent.hostId,
      pieces: rangesOf(granted),
      pieceDigests: Buffer.concat(digests),
      ...layoutOf(content),
      token: parent.token ?? "token",
      ahead: true,
    });
  }

  /** Says what pieces of a content must have. */
  sayDigests(taskId: string, content: Uint8Array, pieceIndexes: readonly number[]): void {
    const digests = Buffer.concat(pieceIndexes.map((index) => digestOfPiece(content, index)));
    const value = { taskId, pieces: rangesOf(pieceIndexes), digests };
    this.controlPlane.assign({ $case: "pieceDigests", value });
  }

  /** The first request that waits at this host. */
  get waiting(): TaskRequested {
    return must([...this.registry.liveRequests()][0]).request;
  }

  /** The facts of all downloads, when `count` have ended. */
  async facts(count: number): Promise<readonly DownloadFinished[]> {
    await waitFor(`${count} facts`, () => this.journal.facts.size >= count, { intervalMs: 2 });
    return [...this.journal.facts.values()];
  }

  async close(): Promise<void> {
    this.tally.close();
    await this.link.stop(200);
    this.tracer.close();
  }
}

export function layoutOf(content: Uint8Array): PieceLayout {
  return { lengthBytes: content.length, pieceLengthBytes: PIECE_BYTES };
}

function digestOfPiece(content: Uint8Array, pieceIndex: number): Buffer {
  const { start, end } = pieceSpan(layoutOf(content), pieceIndex);
  return createHash("sha256").update(content.subarray(start, end)).digest();
}

/** The path under which content is anchored by its own digest. */
export function anchoredPath(content: Uint8Array): string {
  return `/lfs/${createHash("sha256").update(content).digest("hex")}`;
}

function must<T>(value: T | undefined): T {
  if (value === undefined)
    throw new InvariantViolation("the test expected something that is not there");
  return value;
}

function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}
