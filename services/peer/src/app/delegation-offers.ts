import type {
  Lease,
  SeedHost,
} from "@lacewing/contracts/gen/lacewing/assignments/v1/assignments.ts";
import type { Log } from "@lacewing/observability/log.ts";
import { messageOf } from "@lacewing/runtime/errors.ts";
import type { AttachedRequest } from "./attached-requests.ts";
import type { Delegation } from "./delegations.ts";
import type { StoredTask } from "./ports.ts";

/** Content below this is read before a seed host could be of help. */
const DELEGATED_BYTES_MIN = 8 * 2 ** 20;
/** Offers under way at once; when seed hosts are slow to answer, further ones are left out. */
const OFFER_COUNT_MAX = 32;

/** The way to another host: a message that only it can read, directly from here. */
export interface DelegationSender {
  /**
   * @returns the receiver's verdict, a word.
   * @throws {PortError} `delegation_not_sent`. The message holds no secret.
   */
  send(seed: SeedHost, delegation: Delegation): Promise<string>;
}

/** Offers seed hosts the means to read an origin, when this host is the one that reads it. */
export class DelegationOffers {
  readonly #sender: DelegationSender;
  readonly #hostId: string;
  readonly #log: Log;
  #offerCount = 0;

  constructor(options: {
    readonly sender: DelegationSender;
    readonly hostId: string;
    readonly log: Log;
  }) {
    this.#sender = options.sender;
    this.#hostId = options.hostId;
    this.#log = options.log;
  }

  /** Offers what a lease of the origin says may be offered; nobody waits for it. */
  offer(lease: Lease, task: StoredTask, request: AttachedRequest): void {
    const { delegateTo: seed, parentHostId } = lease;
    const { lengthBytes, taskId, anchor = "" } = task.description;
    if (seed === undefined || parentHostId !== "" || seed.hostId === this.#hostId) return;
    if (lengthBytes < DELEGATED_BYTES_MIN || request.isPlace === true) return;
    if (this.#offerCount >= OFFER_COUNT_MAX) {
      this.#log.warn("delegation_left_out", { task: taskId, countMax: OFFER_COUNT_MAX });
      return;
    }
    this.#offerCount++;
    const { asked, access } = request;
    const { url, sharingDomain, tag, application, priority } = asked;
    const delegation: Delegation = {
      taskId,
      fromHostId: this.#hostId,
      means: access.revealMeans(),
      etag: access.validator ?? "",
      shown: { url, sharingDomain, anchor, tag, application, priority },
    };
    void this.#send(seed, delegation);
  }

  async #send(seed: SeedHost, delegation: Delegation): Promise<void> {
    const facts = { task: delegation.taskId, seedHostId: seed.hostId };
    try {
      const verdict = await this.#sender.send(seed, delegation);
      this.#log.info("delegation_offered", { ...facts, verdict });
    } catch (error) {
      this.#log.warn("delegation_not_offered", { ...facts, reason: messageOf(error) });
    } finally {
      this.#offerCount--;
    }
  }
}
