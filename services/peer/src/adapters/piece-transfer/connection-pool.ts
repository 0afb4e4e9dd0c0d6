import { TransferError } from "../../app/ports.ts";
import { BufferPool } from "../buffer-pool.ts";
import type { PieceClientLimits } from "./piece-client.ts";
import { PieceConnection } from "./piece-connection.ts";

interface Waiting {
  readonly wake: () => void;
}

/** Connections to parents, kept open between reads. */
export class ConnectionPool {
  readonly #limits: PieceClientLimits;
  readonly #buffers = new BufferPool();
  /** Every open connection, idle or not. */
  readonly #open = new Set<PieceConnection>();
  /** By address, most recently used last. */
  readonly #idle = new Map<string, PieceConnection[]>();
  readonly #waiting = new Set<Waiting>();
  #isClosed = false;

  constructor(limits: PieceClientLimits) {
    this.#limits = limits;
  }

  /**
   * A connection that is connected and unused; to be given back.
   *
   * @throws {TransferError} `unreachable`; `busy` when too many reads are under way; the signal's reason.
   */
  async take(
    address: string,
    signal: AbortSignal,
    which: "idle_or_new" | "new",
  ): Promise<PieceConnection> {
    const deadlineMs = performance.now() + this.#limits.waitTimeoutMs;
    for (;;) {
      this.#mustBeOpen();
      const idle = which === "new" ? undefined : this.#popIdle(address);
      if (idle !== undefined) return idle;
      if (this.#open.size >= this.#limits.connectionCountMax) this.#closeSomeIdle();
      if (this.#open.size < this.#limits.connectionCountMax) break;
      await this.#waitForOther(deadlineMs - performance.now(), signal);
    }
    const connection = new PieceConnection(address, this.#buffers, this.#limits, () => {
      this.#forget(connection);
    });
    this.#open.add(connection);
    await connection.connected(signal);
    return connection;
  }

  /** The read is over: keeps the connection when another read can use it. */
  giveBack(connection: PieceConnection): void {
    const idle = this.#idle.get(connection.address) ?? [];
    const isKept =
      connection.isReusable && !this.#isClosed && idle.length < this.#limits.idleCountPerAddressMax;
    if (isKept) {
      idle.push(connection);
      this.#idle.set(connection.address, idle);
      connection.rest();
    } else connection.destroy();
    this.#wakeOne();
  }

  /** Breaks off every read. */
  close(): void {
    this.#isClosed = true;
    for (const connection of this.#open) {
      connection.destroy(new TransferError("cancelled", "this host is stopping"));
    }
    for (const waiting of this.#waiting) waiting.wake();
  }

  #popIdle(address: string): PieceConnection | undefined {
    const idle = this.#idle.get(address);
    let found = idle?.pop();
    while (found !== undefined && !found.isReusable) found = idle?.pop();
    if (idle?.length === 0) this.#idle.delete(address);
    return found;
  }

  #closeSomeIdle(): void {
    for (const connections of this.#idle.values()) {
      const [oldest] = connections;
      if (oldest === undefined) continue;
      oldest.destroy();
      this.#forget(oldest);
      return;
    }
  }

  #forget(connection: PieceConnection): void {
    if (!this.#open.delete(connection)) return;
    const idle = this.#idle.get(connection.address)?.filter((other) => other !== connection);
    if (idle !== undefined && idle.length > 0) this.#idle.set(connection.address, idle);
    else this.#idle.delete(connection.address);
    this.#wakeOne();
  }

  #wakeOne(): void {
    const [first] = this.#waiting;
    first?.wake();
  }

  async #waitForOther(forMs: number, signal: AbortSignal): Promise<void> {
    if (forMs <= 0 || this.#waiting.size >= this.#limits.waitingCountMax) {
      throw new TransferError(
        "busy",
        `${this.#open.size} connections are in use and ${this.#waiting.size} reads wait for one`,
      );
    }
    await new Promise<void>((resolve) => {
      const done = () => {
        clearTimeout(timer);
        signal.removeEventListener("abort", done);
        this.#waiting.delete(waiting);
        resolve();
      };
      const waiting = { wake: done };
      const timer = setTimeout(done, forMs);
      signal.addEventListener("abort", done, { once: true });
      this.#waiting.add(waiting);
    });
    signal.throwIfAborted();
  }

  #mustBeOpen(): void {
    if (this.#isClosed) throw new TransferError("cancelled", "this host is stopping");
  }
}
