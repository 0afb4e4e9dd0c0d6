import { OriginError } from "./origin-error.ts";

/** Connections to one origin at a time: more downloads than that from one host of ours would be a flood for it. */
const SOCKETS_PER_ORIGIN_MAX = 256;
/** And for one client address: its event streams must leave room for what others want of the origin. */
const SOCKETS_PER_CLIENT_MAX = 192;
/** Connections in use to all origins together. */
const SOCKETS_MAX = 2048;
/** Where all are in use, one must become free within this; then the client is told so, before it gives up without knowing why. */
const CONNECTION_WAIT_MS = 10_000;

/** How many connections may be in use, and how long one is waited for. */
export interface SlotLimits {
  readonly perOrigin: number;
  /** To one origin for one client. */
  readonly perClient: number;
  readonly total: number;
  readonly waitMs: number;
}

export const SLOT_LIMITS: SlotLimits = {
  perOrigin: SOCKETS_PER_ORIGIN_MAX,
  perClient: SOCKETS_PER_CLIENT_MAX,
  total: SOCKETS_MAX,
  waitMs: CONNECTION_WAIT_MS,
};

/** Gives a slot back; further calls do nothing. */
export type FreeSlot = () => void;

interface Waiter {
  readonly client: string | undefined;
  readonly take: (free: FreeSlot) => void;
}

interface OriginUse {
  readonly origin: string;
  usedCount: number;
  readonly countByClient: Map<string, number>;
  /** In the order they came. */
  readonly waiting: Set<Waiter>;
}

/**
 * Who may have a connection to an origin now. Node's agents bound their connections too, but whoever waits in one waits for ever,
 * and is not told when the request is given up.
 */
export class ConnectionSlots {
  readonly #limits: SlotLimits;
  readonly #uses = new Map<string, OriginUse>();
  #usedCount = 0;

  constructor(limits: SlotLimits = SLOT_LIMITS) {
    this.#limits = limits;
  }

  /** A slot that is free; `undefined` when there is none. @param client undefined: nobody's in particular. */
  takeNow(url: URL, client?: string): FreeSlot | undefined {
    const use = this.#uses.get(url.origin) ?? newUse(url.origin);
    return this.#hasRoom(use, client) ? this.#take(use, client) : undefined;
  }

  /**
   * The next slot that becomes free.
   *
   * @throws {OriginError} `origin_busy` when that takes too long; the signal's reason when it aborts.
   */
  async wait(
    url: URL,
    { client, signal }: { readonly client?: string | undefined; readonly signal: AbortSignal },
  ): Promise<FreeSlot> {
    signal.throwIfAborted();
    const use = this.#uses.get(url.origin) ?? newUse(url.origin);
    this.#uses.set(url.origin, use);
    const { promise, resolve, reject } = Promise.withResolvers<FreeSlot>();
    const waiter: Waiter = { client, take: resolve };
    use.waiting.add(waiter);
    const giveUp = (reason: unknown): void => {
      use.waiting.delete(waiter);
      this.#forgetIdle(use);
      reject(reason);
    };
    const timer = setTimeout(() => giveUp(this.#busy(url, use, client)), this.#limits.waitMs);
    const onAbort = (): void => giveUp(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    try {
      return await promise;
    } finally {
      clearTimeout(timer);
      signal.removeEventListener("abort", onAbort);
    }
  }

  #hasRoom(use: OriginUse, client: string | undefined): boolean {
    const { perOrigin, perClient, total } = this.#limits;
    if (this.#usedCount >= total || use.usedCount >= perOrigin) return false;
    return client === undefined || (use.countByClient.get(client) ?? 0) < perClient;
  }

  #take(use: OriginUse, client: string | undefined): FreeSlot {
    this.#uses.set(use.origin, use);
    this.#count(use, client, 1);
    let isTaken = true;
    return () => {
      if (!isTaken) return;
      isTaken = false;
      const wasFull = this.#usedCount >= this.#limits.total;
      this.#count(use, client, -1);
      if (this.#giveTo(use) || !wasFull) return;
      // Only now is there room for those whose own origin had some all the time.
      for (const other of this.#uses.values()) if (this.#giveTo(other)) return;
    };
  }

  #count(use: OriginUse, client: string | undefined, change: 1 | -1): void {
    this.#usedCount += change;
    use.usedCount += change;
    if (client !== undefined) {
      const count = (use.countByClient.get(client) ?? 0) + change;
      if (count === 0) use.countByClient.delete(client);
      else use.countByClient.set(client, count);
    }
    this.#forgetIdle(use);
  }

  /** @returns whether somebody got the slot. */
  #giveTo(use: OriginUse): boolean {
    for (const waiter of use.waiting) {
      if (!this.#hasRoom(use, waiter.client)) continue;
      use.waiting.delete(waiter);
      waiter.take(this.#take(use, waiter.client));
      return true;
    }
    return false;
  }

  #forgetIdle(use: OriginUse): void {
    if (use.usedCount === 0 && use.waiting.size === 0) this.#uses.delete(use.origin);
  }

  #busy({ host }: URL, use: OriginUse, client: string | undefined): OriginError {
    const { perOrigin, perClient, total, waitMs } = this.#limits;
    let full = `${perClient} connections to ${host} for ${client ?? "one client"}`;
    if (use.usedCount >= perOrigin) full = `${perOrigin} connections to ${host}`;
    else if (this.#usedCount >= total) full = `${total} connections to all origins`;
    const text = `all ${full} are in use, and none became free within ${waitMs} ms`;
    return new OriginError("origin_busy", text);
  }
}

function newUse(origin: string): OriginUse {
  return { origin, usedCount: 0, countByClient: new Map(), waiting: new Set() };
}
