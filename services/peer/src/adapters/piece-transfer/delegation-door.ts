import type { IncomingMessage } from "node:http";
import type { Log } from "@lacewing/observability/log.ts";
import type { Secret } from "@lacewing/observability/secret.ts";
import type { Clock } from "@lacewing/runtime/clock.ts";
import type { ReceivedDelegation, DelegationVerdict } from "../../app/delegations.ts";
import { decodeDelegation, DELEGATION_BYTES_MAX } from "./delegation-codec.ts";
import { unseal } from "./delegation-seal.ts";

/** Bodies received at once, from senders that are not known before the last byte: 1.5 MiB. */
const RECEIVING_COUNT_MAX = 16;

/** A status and a word for people. */
export interface DoorAnswer {
  readonly status: number;
  readonly text: string;
}

/** The one table from verdicts to the wire. */
const STATUS_OF_VERDICT = {
  taken: 202,
  not_needed: 200,
  known: 200,
  busy: 503,
  denied: 403,
} as const satisfies Record<DelegationVerdict, number>;

/** Where other hosts hand in delegations: opens what was sealed for this host and lets nothing else in. */
export class DelegationDoor {
  readonly #options: {
    readonly hostId: string;
    readonly clusterSecret: Secret;
    readonly clock: Clock;
    readonly log: Log;
  };
  #receivingCount = 0;
  #accept: ((delegation: ReceivedDelegation) => DelegationVerdict) | undefined;

  constructor(options: {
    readonly hostId: string;
    readonly clusterSecret: Secret;
    readonly clock: Clock;
    readonly log: Log;
  }) {
    this.#options = options;
  }

  /** From now on delegations are taken; before, the host is not ready for them. */
  open(accept: (delegation: ReceivedDelegation) => DelegationVerdict): void {
    this.#accept = accept;
  }

  async receive(request: IncomingMessage): Promise<DoorAnswer> {
    const length = Number(request.headers["content-length"] ?? Number.NaN);
    if (!(length <= DELEGATION_BYTES_MAX)) return { status: 413, text: "too_long" };
    if (this.#receivingCount >= RECEIVING_COUNT_MAX) return { status: 503, text: "busy" };
    this.#receivingCount++;
    try {
      return this.#verdictOn(await bodyOf(request));
    } finally {
      this.#receivingCount--;
    }
  }

  #verdictOn(sealed: Uint8Array): DoorAnswer {
    const { hostId, clusterSecret, clock, log } = this.#options;
    const plain = unseal(clusterSecret, hostId, sealed);
    if (plain === undefined) {
      log.warn("delegation_refused", { reason: "it was not sealed for this host by its cluster" });
      return { status: 401, text: "not_sealed_for_this_host" };
    }
    const delegation = decodeDelegation(plain, clock.now());
    if (typeof delegation === "string") {
      log.warn("delegation_refused", { reason: delegation });
      return { status: 400, text: "malformed" };
    }
    const verdict = this.#accept?.(delegation) ?? "busy";
    return { status: STATUS_OF_VERDICT[verdict], text: verdict };
  }
}

/** Its length was checked: the parser lets no more through than `Content-Length` says. */
async function bodyOf(request: IncomingMessage): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of request) if (chunk instanceof Uint8Array) chunks.push(chunk);
  return Buffer.concat(chunks);
}
