import type { NatsConnection } from "@nats-io/transport-node";
import type { Log } from "@lacewing/observability/log.ts";
import { messageOf } from "@lacewing/runtime/errors.ts";
import type { BrokerLink } from "../../app/ports.ts";

/** Knows whether the connection stands, and tells readers when it breaks: what they read may not continue afterwards. */
export class ConnectionWatch implements BrokerLink {
  #isConnected = true;
  readonly #onBreak = new Set<() => void>();
  readonly #onConnect = new Set<() => void>();

  constructor(connection: NatsConnection, log: Log) {
    this.#follow(connection, log).catch((error: unknown) => {
      log.warn("nats status ended", { message: messageOf(error) });
    });
  }

  isConnected(): boolean {
    return this.#isConnected;
  }

  /** @returns what takes the listener off again. */
  onBreak(listener: () => void): () => void {
    this.#onBreak.add(listener);
    return () => this.#onBreak.delete(listener);
  }

  /** Resolves when the connection stands, or the signal aborts. */
  async connected(signal: AbortSignal): Promise<void> {
    if (this.#isConnected || signal.aborted) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    signal.addEventListener("abort", () => resolve(), { once: true });
    this.#onConnect.add(resolve);
    await promise;
    this.#onConnect.delete(resolve);
  }

  async #follow(connection: NatsConnection, log: Log): Promise<void> {
    for await (const status of connection.status()) {
      switch (status.type) {
        case "disconnect":
        case "staleConnection":
          this.#isConnected = false;
          log.warn("nats disconnected");
          for (const listener of this.#onBreak) listener();
          break;
        case "reconnect":
          this.#isConnected = true;
          log.info("nats connected again");
          for (const listener of this.#onConnect) listener();
          break;
        case "error":
          log.warn("nats refused", { message: status.error.message });
          break;
        case "slowConsumer":
          log.warn("nats slow consumer");
          break;
        case "close":
        case "forceReconnect":
        case "ldm":
        case "ping":
        case "reconnecting":
        case "update":
          log.debug("nats status", { type: status.type });
          break;
        default:
          status satisfies never;
      }
    }
    this.#isConnected = false;
  }
}
