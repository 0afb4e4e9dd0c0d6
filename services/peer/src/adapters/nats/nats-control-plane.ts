import { createHash } from "node:crypto";
import { jetstream, type JetStreamClient } from "@nats-io/jetstream";
import { headers, type NatsConnection, PermissionViolationError } from "@nats-io/transport-node";
import { AssignmentMessage } from "@lacewing/contracts/gen/lacewing/assignments/v1/assignments.ts";
import { encodeReaderHint } from "@lacewing/contracts/hints.ts";
import type { HostId, TaskId } from "@lacewing/contracts/ids.ts";
import { MESSAGE_BYTES_MAX } from "@lacewing/contracts/limits.ts";
import { sliceOf } from "@lacewing/contracts/slices.ts";
import {
  assignmentsSubject,
  hintsSubject,
  inboxPrefix,
  parseHintsSubject,
} from "@lacewing/contracts/subjects.ts";
import type { Log } from "@lacewing/observability/log.ts";
import { TRACEPARENT } from "@lacewing/observability/trace.ts";
import { backoffMs } from "@lacewing/runtime/backoff.ts";
import { systemClock } from "@lacewing/runtime/clock.ts";
import { messageOf, PortError } from "@lacewing/runtime/errors.ts";
import { connectNats } from "@lacewing/runtime/nats.ts";
import type { ControlPlane } from "../../app/control-plane.ts";

/** An acknowledgement that takes longer is asked for again under the same message id. */
const ACKNOWLEDGE_TIMEOUT_MS = 5000;
/** Waits before a connection that was closed, or never came to be, is made anew; a broken one mends itself sooner. */
const CONNECT_BACKOFF = { firstMs: 1_000, maxMs: 30_000 } as const;

/**
 * The control plane over NATS. Connecting goes on in the background for ever: a host starts and serves without it.
 */
export class NatsControlPlane implements ControlPlane {
  readonly #hostId: HostId;
  readonly #log: Log;
  #connection: NatsConnection | undefined;
  #jetstream: JetStreamClient | undefined;
  #isConnected = false;
  /** By the broker, on this connection. */
  #isHintRefused = false;
  /** Connections that were tried since the last one that stood. */
  #failureCount = 0;
  /** What was told last of failures, until a connection stands. */
  #lastFailure = "";
  readonly #closing = new AbortController();
  #onAssignments: (message: AssignmentMessage) => void = () => {};
  #onConnected: () => void = () => {};

  constructor(options: { readonly url: string; readonly hostId: HostId; readonly log: Log }) {
    this.#hostId = options.hostId;
    this.#log = options.log;
    this.#stayConnected(options.url).catch((error: unknown) => {
      this.#log.error("control plane cannot be used", { error: messageOf(error) });
    });
  }

  get isConnected(): boolean {
    return this.#isConnected;
  }

  async publish(
    subject: string,
    data: Uint8Array,
    messageId: string,
    traceparent: string,
  ): Promise<void> {
    if (this.#jetstream === undefined || !this.#isConnected) {
      throw new PortError("nats_disconnected", "no connection to NATS", { retryable: true });
    }
    const messageHeaders = headers();
    if (traceparent !== "") messageHeaders.set(TRACEPARENT, traceparent);
    try {
      await this.#jetstream.publish(subject, data, {
        msgID: messageId,
        headers: messageHeaders,
        timeout: ACKNOWLEDGE_TIMEOUT_MS,
        retries: 0,
      });
    } catch (error) {
      throw new PortError("nats_publish_failed", `event was not stored: ${messageOf(error)}`, {
        retryable: true,
        cause: error,
      });
    }
  }

  readerBlocked(taskId: TaskId, pieceIndex: number): void {
    if (!this.#isConnected || this.#isHintRefused) return;
    const subject = hintsSubject(sliceOf(taskId), this.#hostId);
    try {
      this.#connection?.publish(subject, encodeReaderHint({ taskId, pieceIndex }));
    } catch {
      // The connection was closed this moment. The next hint finds another.
    }
  }

  onAssignments(listener: (message: AssignmentMessage) => void): void {
    this.#onAssignments = listener;
  }

  onConnected(listener: () => void): void {
    this.#onConnected = listener;
  }

  async close(): Promise<void> {
    this.#isConnected = false;
    this.#closing.abort();
    await this.#connection?.close();
  }

  /** Follows one connection after another until {@link close}. */
  async #stayConnected(url: string): Promise<void> {
    const { signal } = this.#closing;
    const spread = spreadOf(this.#hostId);
    while (!signal.aborted) {
      try {
        await this.#followConnection(url);
      } catch (error) {
        this.#failed(error);
      }
      this.#lost();
      const waitMs = backoffMs(this.#failureCount++, CONNECT_BACKOFF, spread);
      await systemClock.sleep(waitMs, signal).catch(() => {});
    }
  }

  /** Connects, and serves the connection until it is closed; it reconnects by itself as long as it can. */
  async #followConnection(url: string): Promise<void> {
    const name = `peer-${this.#hostId}`;
    const connection = await connectNats({ url, name, inboxPrefix: inboxPrefix(name) });
    try {
      if (this.#closing.signal.aborted) return;
      this.#connection = connection;
      this.#jetstream = jetstream(connection);
      // Taken before the first round trip: a connection that breaks during it is not to pass for a good one.
      const statuses = connection.status();
      connection.subscribe(assignmentsSubject(this.#hostId), {
        callback: (error, message) => {
          if (error === null) this.#receive(message.data);
          else this.#log.error("assignments cannot be received", { error: messageOf(error) });
        },
      });
      await connection.flush();
      this.#connected();
      for await (const status of statuses) {
        if (status.type === "disconnect") this.#lost();
        else if (status.type === "reconnect") this.#connected();
        else if (status.type === "error") this.#refused(status.error);
      }
    } finally {
      await connection.close();
    }
  }

  #connected(): void {
    // After refused logins the client tells of one return several times, once for each refusal.
    if (this.#isConnected) return;
    this.#isConnected = true;
    this.#isHintRefused = false;
    this.#failureCount = 0;
    this.#lastFailure = "";
    this.#log.info("control plane connected");
    this.#onConnected();
  }

  #lost(): void {
    if (!this.#isConnected) return;
    this.#isConnected = false;
    this.#log.warn("control plane lost, going on without it");
  }

  /** A user of few rights, made before there were hints: everything else works without them. */
  #refused(error: Error): void {
    const isOfHints =
      error instanceof PermissionViolationError && parseHintsSubject(error.subject) !== undefined;
    if (!isOfHints) {
      this.#failed(error);
      return;
    }
    if (this.#isHintRefused) return;
    this.#isHintRefused = true;
    const hint = `let this NATS user publish to ${hintsSubject("*", this.#hostId)}`;
    this.#log.warn("the scheduler cannot be told which pieces clients wait for", { hint });
  }

  /** Tells a failure once: the same one comes back with every try to connect. */
  #failed(error: unknown): void {
    const failure = messageOf(error);
    if (failure === this.#lastFailure || this.#closing.signal.aborted) return;
    this.#lastFailure = failure;
    this.#log.error("control plane error", { error: failure });
  }

  #receive(data: Uint8Array): void {
    if (data.length > MESSAGE_BYTES_MAX) return;
    let message: AssignmentMessage;
    try {
      message = AssignmentMessage.decode(data);
    } catch (error) {
      this.#log.warn("assignment is malformed", { error: messageOf(error) });
      return;
    }
    this.#onAssignments(message);
  }
}

/** Of each host its own, in [0, 1): hosts that were closed together do not come back together. */
function spreadOf(hostId: HostId): number {
  return createHash("sha256").update(hostId).digest().readUInt32BE() / 2 ** 32;
}
