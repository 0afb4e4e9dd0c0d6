import { systemClock } from "@lacewing/runtime/clock.ts";
import { type ChildEvent, type ChildSpec, SupervisedChild } from "./children.ts";
import type { ClusterFile } from "./cluster-file.ts";
import { LocalError } from "./local-error.ts";
import { SCHEDULER } from "./services.ts";

/**
 * All children of a cluster: starts them, keeps them running, stops them in order. When one of them cannot be kept
 * running, {@link ended} resolves with the reason and whoever holds the supervision stops the rest.
 */
export class Supervision {
  /** Resolves when the supervision is over: with an error when a child was lost, without one after {@link stop}. */
  readonly ended: Promise<LocalError | undefined>;
  /** Called after a restarted child has its new pid. */
  onPidsChanged: () => void = () => {};
  readonly #children = new Map<string, SupervisedChild>();
  readonly #peerIds = new Set<string>();
  readonly #onEvent: (event: ChildEvent) => void;
  readonly #stopping = new AbortController();
  readonly #end: (lost: LocalError | undefined) => void;
  readonly #started = new AbortController();

  /** @param cancel ends a start that is under way; has no effect after {@link started}. */
  constructor(onEvent: (event: ChildEvent) => void, cancel?: AbortSignal) {
    const ended = Promise.withResolvers<LocalError | undefined>();
    this.ended = ended.promise;
    this.#end = ended.resolve;
    this.#onEvent = (event) => {
      if (event.type === "child.started") this.onPidsChanged();
      onEvent(event);
    };
    this.signal =
      cancel === undefined
        ? this.#stopping.signal
        : AbortSignal.any([this.#stopping.signal, cancel]);
    cancel?.addEventListener("abort", () => void this.#stopChildren(), {
      once: true,
      signal: this.#started.signal,
    });
  }

  /** Aborts when the cluster is to stop: nothing new may be started. */
  readonly signal: AbortSignal;

  /**
   * Starts a child and resolves when it is ready.
   *
   * @param hostId set for a peer: its pid is listed among the peers'.
   */
  async start(spec: ChildSpec, hostId?: string): Promise<void> {
    this.signal.throwIfAborted();
    const child = new SupervisedChild(spec, {
      clock: systemClock,
      random: Math.random,
      onEvent: this.#onEvent,
      onLost: (error) => this.#end(error),
    });
    this.#children.set(spec.name, child);
    if (hostId !== undefined) this.#peerIds.add(hostId);
    await child.start();
  }

  /** Says that the cluster is up: from now on its holder stops it, with {@link stop}. */
  started(): void {
    this.#started.abort();
  }

  /** The pids as `cluster.json` lists them; `null` for servers that are not ours. */
  pids(): ClusterFile["pids"] {
    const pidOf = (name: string) => this.#children.get(name)?.pid ?? null;
    return {
      nats: pidOf("nats"),
      postgres: pidOf("postgres"),
      scheduler: pidOf("scheduler"),
      traces: pidOf("traces"),
      peers: Object.fromEntries([...this.#peerIds].map((hostId) => [hostId, pidOf(hostId)])),
    };
  }

  /**
   * Stops all children: peers first, so that clients see their end and events are flushed; then who reads the events;
   * last the servers that all of them use. Never rejects; safe to call again.
   */
  async stop(): Promise<void> {
    this.#stopping.abort(new LocalError("the cluster is being stopped"));
    await this.#stopChildren();
    this.#end(undefined);
  }

  /** Ends all children at once. */
  kill(): void {
    this.#stopping.abort(new LocalError("the cluster was killed"));
    for (const child of this.#children.values()) child.kill();
  }

  async #stopChildren(): Promise<void> {
    // The standbys first: they need not take over from one that is stopped too.
    const standbys = [...this.#children.keys()].filter((name) => name.startsWith(`${SCHEDULER}-`));
    const order = [[...this.#peerIds], standbys, [SCHEDULER], ["traces"], ["nats", "postgres"]];
    for (const names of order) {
      await Promise.all(names.map(async (name) => this.#children.get(name)?.stop()));
    }
  }
}
