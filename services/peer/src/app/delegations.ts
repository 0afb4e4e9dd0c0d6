import { parseDigest, type Sha256Hex, type TaskId, taskIdOf } from "@lacewing/contracts/ids.ts";
import type { Log } from "@lacewing/observability/log.ts";
import type { Clock } from "@lacewing/runtime/clock.ts";
import { canonicalUrl, sharingDomainOf, taskKey } from "../core/identity.ts";
import type { Rule } from "../core/rules.ts";
import { writtenParts } from "@lacewing/contracts/url-parts.ts";
import type { ExpectedClient } from "./expected-client.ts";
import { OriginAccess, type OriginMeans } from "./origin-access.ts";
import type { OriginClient, PieceStore } from "./ports.ts";
import { newRequestId } from "./request-id.ts";
import type { TaskRegistry } from "./task-registry.ts";

/** Credentials of other hosts' clients are kept for so long, in memory only: as long as signed links usually hold. */
export const DELEGATION_MS = 30 * 60_000;
/** Delegations held at once: with the longest URL and headers that is 24 MiB. More are refused; their readers need nobody. */
const DELEGATION_COUNT_MAX = 256;
/** How often it is looked whether a delegation has served its purpose: credentials should not stay without a reason. */
const SWEEP_MS = 1_000;

/** What a host hands to a seed host, so that it can read an origin in the name of a client. */
export interface Delegation {
  readonly taskId: TaskId;
  readonly fromHostId: string;
  /** Secret. */
  readonly means: OriginMeans;
  /** The validator under which this origin knows the content; empty when there is none. */
  readonly etag: string;
  /** How the scheduler knows the task, without secrets. */
  readonly shown: {
    readonly url: string;
    readonly sharingDomain: string;
    readonly anchor: string;
    readonly tag: string;
    readonly application: string;
    readonly priority: number;
  };
}

/** A delegation as it came from another host. */
export interface ReceivedDelegation extends Delegation {
  /** When its sender wants it forgotten, by the wall clock: being sent again does not renew it. */
  readonly expiresAtMs: number;
}

/** What becomes of a delegation that was offered. */
export type DelegationVerdict =
  | "taken"
  /** All of the content is held here. */
  | "not_needed"
  /** Somebody else has delegated the same task. */
  | "known"
  | "busy"
  /** Where it leads is not read for other hosts, or is not the content that it names. */
  | "denied";

interface Held {
  readonly client: ExpectedClient;
  readonly untilMs: number;
}

export interface DelegationsOptions {
  readonly store: PieceStore;
  readonly registry: TaskRegistry;
  /** Goes only where a remote host may have us go. */
  readonly origin: OriginClient;
  /** Why a URL is not read for other hosts; `undefined` when it is. */
  readonly urlProblem: (url: URL) => string | undefined;
  /** What this host's own rules say of a URL. */
  readonly ruleFor: (url: URL) => Rule;
  readonly sha256: Sha256Hex;
  readonly clock: Clock;
  readonly log: Log;
  readonly newId: () => string;
}

/**
 * Delegations that this host was given. For each, the scheduler is told of a request that may read the origin; what it grants for
 * it is fetched. A delegation ends when the content is here, when its time is over, or with the process.
 */
export class Delegations {
  readonly #options: DelegationsOptions;
  readonly #held = new Map<TaskId, Held>();
  #timer: NodeJS.Timeout | undefined;

  constructor(options: DelegationsOptions) {
    this.#options = options;
  }

  accept(delegation: ReceivedDelegation): DelegationVerdict {
    const { store, registry, urlProblem, clock, log } = this.#options;
    const { taskId, fromHostId } = delegation;
    const problem = urlProblem(delegation.means.url) ?? this.#identityProblem(delegation);
    if (problem !== undefined) {
      log.warn("delegation_denied", { task: taskId, fromHostId, reason: problem });
      return "denied";
    }
    if (store.get(taskId)?.held.isFull === true) return "not_needed";
    if (this.#held.has(taskId)) return "known";
    if (this.#held.size >= DELEGATION_COUNT_MAX) return "busy";
    const client = this.#clientOf(delegation);
    const heldMs = Math.min(DELEGATION_MS, delegation.expiresAtMs - clock.now());
    this.#held.set(taskId, { client, untilMs: clock.monotonic() + heldMs });
    registry.expect([client]);
    log.info("delegation_taken", { task: taskId, fromHostId });
    this.#watch();
    return "taken";
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#held.clear();
  }

  /** Nobody may have the content of one origin read from another one of his choice. */
  #identityProblem({ taskId, means, etag, shown }: Delegation): string | undefined {
    const { ruleFor, sha256 } = this.#options;
    const rule = ruleFor(means.url);
    const sharingDomain = sharingDomainOf(means.url, rule);
    const key = taskKey({
      anchor: parseDigest(shown.anchor),
      canonicalUrl: canonicalUrl(writtenParts(means.url, means.path), rule),
      strongValidator: etag === "" ? undefined : etag,
    });
    const isSame =
      key !== undefined &&
      shown.sharingDomain === sharingDomain &&
      taskIdOf(sharingDomain, key, sha256) === taskId;
    return isSame ? undefined : "by the rules here its URL is not that of its content";
  }

  #clientOf({ taskId, means, etag, shown }: Delegation): ExpectedClient {
    const requestId = newRequestId(this.#options.newId);
    const { origin } = this.#options;
    const access = new OriginAccess({ requestId, origin, ...means });
    if (etag !== "") access.noteValidator(etag);
    const wanted = { wantedStart: 0, wantedEnd: 0 };
    const asked = {
      taskId,
      requestId,
      ...shown,
      ...wanted,
      canReadOrigin: true,
      originOpen: false,
    };
    return { taskId, requestId, asked, access, traceparent: "", isDelegated: true };
  }

  #watch(): void {
    if (this.#timer !== undefined || this.#held.size === 0) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#sweep();
      this.#watch();
    }, SWEEP_MS);
    // Nobody is kept waiting by it.
    this.#timer.unref();
  }

  #sweep(): void {
    const { store, registry, clock, log } = this.#options;
    const nowMs = clock.monotonic();
    for (const [taskId, { client, untilMs }] of this.#held) {
      const isComplete = store.get(taskId)?.held.isFull === true;
      if (!isComplete && untilMs > nowMs) continue;
      this.#held.delete(taskId);
      const reason = isComplete ? "the content is here" : "the delegation's time is over";
      log.info("delegation_ended", { task: taskId, reason });
      registry.abandon(taskId, client.requestId, reason);
    }
  }
}
