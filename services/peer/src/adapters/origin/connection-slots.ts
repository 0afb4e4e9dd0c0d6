import { OriginError } from "./origin-error.ts";

/** Connections to one origin at a time: more downloads than that from one host of ours would be a flood for it. */
const SOCKETS_PER_ORIGIN_MAX = 256;
/** And for one client address: its event streams must leave room for what others want of the origin. */
const SOCKETS_PER_CLIENT_MAX = 192;
/** Connections in use to all origins together. */
const SOCKETS_MAX = 2048;
/** And for one client address: more than any one machine wants at once, although many clients may share an address. */
const SOCKETS_PER_CLIENT_IN_ALL_MAX = 1536;
/** For downloads, where one client address may have as many as others leave it: behind one there may be all clients of this host. */
const DOWNLOAD_SOCKETS_PER_CLIENT_MAX = 256;
/** Beyond what one client address may have to an origin for downloads; kept for others. */
const DOWNLOAD_SOCKETS_FOR_OTHERS_COUNT = 64;
/** Where all are in use, one must become free within this; then the client is told so, before it gives up without knowing why. */
const CONNECTION_WAIT_MS = 10_000;

/** How many connections may be in use, and how long one is waited for. */
export interface SlotLimits {
  readonly perOrigin: number;
  /** To one origin for one client. */
  readonly perClient: number;
  /** To all origins for one client; default: all there are. */
  readonly perClientInAll?: number;
  readonly total: number;
  readonly waitMs: number;
}

export const SLOT_LIMITS: SlotLimits = {
  perOrigin: SOCKETS_PER_ORIGIN_MAX,
  perClient: SOCKETS_PER_CLIENT_MAX,
  perClientInAll: SOCKETS_PER_CLIENT_IN_ALL_MAX,
  total: SOCKETS_MAX,
  waitMs: CONNECTION_WAIT_MS,
};

export const DOWNLOAD_SLOT_LIMITS: SlotLimits = {
  ...SLOT_LIMITS,
  perOrigin: DOWNLOAD_SOCKETS_PER_CLIENT_MAX + DOWNLOAD_SOCKETS_FOR_OTHERS_COUNT,
  perClient: DOWNLOAD_SOCKETS_PER_CLIENT_MAX,
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
 * and is not told when the request is given up. What becomes free goes to the client that has least, so that one that asks for very
 * much takes its turn with others.
 */
export class ConnectionSlots {
  readonly #limits: SlotLimits;
  readonly #uses = new Map<string, OriginUse>();
  readonly #countByClient = new Map<string, number>();
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
    return countOf(use.countByClient, client) < perClient && !this.#hasMost(client);
  }

  /** Whether a client has as many as one may have to all origins. */
  #hasMost(client: string | undefined): boolean {
    const { perClientInAll = Infinity } = this.#limits;
    return countOf(this.#countByClient, client) >= perClientInAll;
  }

  #take(use: OriginUse, client: string | undefined): FreeSlot {
    this.#uses.set(use.origin, use);
    this.#count(use, client, 1);
    let isHeld = true;
    return () => {
      if (!isHeld) return;
      isHeld = false;
      const hadMost = this.#hasMost(client);
      const wasFull = this.#usedCount >= this.#limits.total;
      this.#count(use, client, -1);
      const isTaken = this.#giveTo(use);
      // Only now is there room for those whose own origin had some all the time; for its own client also when another took this one.
      if (!hadMost && (isTaken || !wasFull)) return;
      for (const other of this.#uses.values()) if (this.#giveTo(other)) return;
    };
  }

  #count(use: OriginUse, client: string | undefined, change: 1 | -1): void {
    this.#usedCount += change;
    use.usedCount += change;
    addTo(use.countByClient, client, change);
    addTo(this.#countByClient, client, change);
    this.#forgetIdle(use);
  }

  /** @returns whether somebody got the slot. */
  #giveTo(use: OriginUse): boolean {
    let next: Waiter | undefined;
    let least = Infinity;
    for (const waiter of use.waiting) {
      const count = countOf(use.countByClient, waiter.client);
      if (count >= least || !this.#hasRoom(use, waiter.client)) continue;
      next = waiter;
      least = count;
    }
    if (next === undefined) return false;
    use.waiting.delete(next);
    next.take(this.#take(use, next.client));
    return true;
  }

  #forgetIdle(use: OriginUse): void {
    if (use.usedCount === 0 && use.waiting.size === 0) this.#uses.delete(use.origin);
  }

  #busy({ host }: URL, use: OriginUse, client: string | undefined): OriginError {
    const { perOrigin, perClient, perClientInAll, total, waitMs } = this.#limits;
    const own = "; end some of them, or ask again when one has ended";
    const whose = `for ${client ?? "one client"}`;
    let [full, advice] = [`${perClient} connections to ${host} ${whose}`, own];
    if (use.usedCount >= perOrigin) [full, advice] = [`${perOrigin} connections to ${host}`, ""];
    else if (this.#usedCount >= total) [full, advice] = [`${total} connections to all origins`, ""];
    else if (this.#hasMost(client)) full = `${perClientInAll} connections ${whose}`;
    const text = `all ${full} are in use, and none became free within ${waitMs} ms${advice}`;
    return new OriginError("origin_busy", text);
  }
}

/** Nobody in particular has none. */
function countOf(counts: ReadonlyMap<string, number>, client: string | undefined): number {
  return client === undefined ? 0 : (counts.get(client) ?? 0);
}

function addTo(counts: Map<string, number>, client: string | undefined, change: 1 | -1): void {
  if (client === undefined) return;
  const count = countOf(counts, client) + change;
  if (count === 0) counts.delete(client);
  else counts.set(client, count);
}

function newUse(origin: string): OriginUse {
  return { origin, usedCount: 0, countByClient: new Map(), waiting: new Set() };
}
