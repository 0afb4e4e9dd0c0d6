import { jetstream, type JetStreamClient } from "@nats-io/jetstream";
import { headers, type NatsConnection } from "@nats-io/transport-node";
import { AssignmentMessage } from "@lacewing/contracts/gen/lacewing/assignments/v1/assignments.ts";
import type { HostId } from "@lacewing/contracts/ids.ts";
import { MESSAGE_BYTES_MAX } from "@lacewing/contracts/limits.ts";
import { assignmentsSubject, inboxPrefix } from "@lacewing/contracts/subjects.ts";
import type { Log } from "@lacewing/observability/log.ts";
import { TRACEPARENT } from "@lacewing/observability/trace.ts";
import { messageOf, PortError } from "@lacewing/runtime/errors.ts";
import { connectNats } from "@lacewing/runtime/nats.ts";
import type { ControlPlane } from "../../app/control-plane.ts";

/** An acknowledgement that takes longer is asked for again under the same message id. */
const ACKNOWLEDGE_TIMEOUT_MS = 5000;

/**
 * The control plane over NATS. Connecting goes on in the background for ever: a host starts and serves without it.
 */
export class NatsControlPlane implements ControlPlane {
  readonly #hostId: HostId;
  readonly #log: Log;
  #connection: NatsConnection | undefined;
  #jetstream: JetStreamClient | undefined;
  #isConnected = false;
  #isClosed = false;
  #onAssignments: (message: AssignmentMessage) => void = () => {};
  #onConnected: () => void = () => {};

  constructor(options: { readonly url: string; readonly hostId: HostId; readonly log: Log }) {
    this.#hostId = options.hostId;
    this.#log = options.log;
    this.#connect(options.url).catch((error: unknown) => {
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

  onAssignments(listener: (message: AssignmentMessage) => void): void {
    this.#onAssignments = listener;
  }

  onConnected(listener: () => void): void {
    this.#onConnected = listener;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#isConnected = false;
    await this.#connection?.close();
  }

  async #connect(url: string): Promise<void> {
    const name = `peer-${this.#hostId}`;
    const connection = await connectNats({ url, name, inboxPrefix: inboxPrefix(name) });
    if (this.#isClosed) return connection.close();
    this.#connection = connection;
    this.#jetstream = jetstream(connection);
    connection.subscribe(assignmentsSubject(this.#hostId), {
      callback: (error, message) => {
        if (error === null) this.#receive(message.data);
        else this.#log.error("assignments cannot be received", { error: messageOf(error) });
      },
    });
    await connection.flush();
    this.#connected();
    for await (const status of connection.status()) {
      if (status.type === "disconnect") {
        this.#isConnected = false;
        this.#log.warn("control plane lost, going on without it");
      } else if (status.type === "reconnect") this.#connected();
      else if (status.type === "error")
        this.#log.error("control plane error", { error: messageOf(status.error) });
    }
  }

  #connected(): void {
    this.#isConnected = true;
    this.#log.info("control plane connected");
    this.#onConnected();
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
