import { createServer } from "node:net";

/** What a port is for, in the order in which ports are given out. */
export interface PortWish {
  /** `peer-1`, `nats`, `traces-query`, …: the key under which the choice is remembered. */
  readonly name: string;
  readonly preferred: number;
}

/** The outcome of {@link choosePorts}. */
export interface PortChoice {
  readonly ports: Readonly<Record<string, number>>;
  /** Ports that were wanted but taken, for the user to read. */
  readonly moved: readonly {
    readonly name: string;
    readonly wanted: number;
    readonly chosen: number;
  }[];
}

/** Ports tried above a taken one before the system is asked for any: neighbours are easier to remember. */
const NEIGHBOUR_COUNT_MAX = 32;
/** The last port there is. */
export const PORT_MAX = 65_535;

/**
 * Gives every wish a free port: the remembered one, else the preferred one, else a free neighbour above, else any that
 * the system has free.
 *
 * @param remembered choices of earlier starts.
 * @param isFree whether the port can be listened on at this moment.
 * @param anyFree a port the system says is free; called when no neighbour is.
 */
export async function choosePorts(
  wishes: readonly PortWish[],
  remembered: Readonly<Record<string, number>>,
  isFree: (port: number) => Promise<boolean>,
  anyFree: () => Promise<number>,
): Promise<PortChoice> {
  const ports: Record<string, number> = {};
  const moved: { name: string; wanted: number; chosen: number }[] = [];
  const wanted = new Map(
    wishes.map((wish) => [wish.name, remembered[wish.name] ?? wish.preferred]),
  );
  const given = new Set<number>();
  for (const wish of wishes) {
    const first = wanted.get(wish.name) ?? wish.preferred;
    // A neighbour that another part of the cluster wants is left to it.
    const isOthers = (port: number) =>
      given.has(port) || (port !== first && [...wanted.values()].includes(port));
    const chosen =
      (await firstFree(neighbours(first), isOthers, isFree)) ?? (await freshPort(given, anyFree));
    given.add(chosen);
    ports[wish.name] = chosen;
    if (chosen !== first) moved.push({ name: wish.name, wanted: first, chosen });
  }
  return { ports, moved };
}

/** Whether something can listen on this loopback port now: also false when another server listens on all addresses. */
export async function isPortFree(port: number): Promise<boolean> {
  return (await listenOnce(port)) !== undefined;
}

/** A free loopback port of the system's choice. */
export async function anyFreePort(): Promise<number> {
  const port = await listenOnce(0);
  if (port === undefined) throw new Error("the system has no free loopback port");
  return port;
}

function neighbours(first: number): readonly number[] {
  return Array.from({ length: NEIGHBOUR_COUNT_MAX + 1 }, (_, index) => first + index).filter(
    (port) => port <= PORT_MAX,
  );
}

async function firstFree(
  candidates: readonly number[],
  isOthers: (port: number) => boolean,
  isFree: (port: number) => Promise<boolean>,
): Promise<number | undefined> {
  for (const port of candidates) {
    if (!isOthers(port) && (await isFree(port))) return port;
  }
  return undefined;
}

/** The system may offer a port again that was given out a moment ago, since nothing listens there yet. */
const FRESH_TRIES_MAX = 20;

async function freshPort(
  given: ReadonlySet<number>,
  anyFree: () => Promise<number>,
): Promise<number> {
  for (let tries = 0; tries < FRESH_TRIES_MAX; tries++) {
    const port = await anyFree();
    if (!given.has(port)) return port;
  }
  throw new Error(`no free loopback port in ${FRESH_TRIES_MAX} tries`);
}

async function listenOnce(port: number): Promise<number | undefined> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(undefined));
    server.listen({ host: "127.0.0.1", port, exclusive: true }, () => {
      const address = server.address();
      const bound = typeof address === "object" && address !== null ? address.port : undefined;
      server.close(() => resolve(bound));
    });
  });
}
