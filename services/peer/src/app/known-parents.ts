import type { Lease } from "@lacewing/contracts/gen/lacewing/assignments/v1/assignments.ts";
import { indexesOf } from "@lacewing/contracts/pieces.ts";
import { DIGEST_BYTES } from "../core/named-digests.ts";
import type { ExpectedDigests } from "./expected-digests.ts";
import type { FetchSource } from "./lease-fetch.ts";

type ParentSource = Extract<FetchSource, { kind: "parent" }>;

interface KnownParent {
  readonly address: string;
  /** What leases named. */
  readonly pieces: Set<number>;
}

/** The hosts that served a task before: of use when the scheduler is silent. */
export class KnownParents {
  readonly #parents = new Map<string, KnownParent>();
  readonly #expected: ExpectedDigests;

  /** @param expected of the task; learns what comes with leases. */
  constructor(expected: ExpectedDigests) {
    this.#expected = expected;
  }

  /** The source that a parent's lease names; remembered. */
  sourceOf(lease: Lease): ParentSource {
    const { parentHostId: hostId, parentAddress: address, token } = lease;
    const named = new Map<number, Uint8Array>();
    let at = 0;
    for (const index of indexesOf(lease.pieces)) {
      named.set(index, lease.pieceDigests.subarray(at, at + DIGEST_BYTES));
      at += DIGEST_BYTES;
    }
    this.#expected.learn(named);
    const pieces = this.#parents.get(hostId)?.pieces ?? new Set<number>();
    for (const index of named.keys()) pieces.add(index);
    this.#parents.set(hostId, { address, pieces });
    // What a lease ahead does not name yet comes later, by itself or with another lease.
    return {
      kind: "parent",
      hostId,
      address,
      token,
      digests: lease.ahead ? this.#expected : named,
    };
  }

  forget(hostId: string): void {
    this.#parents.delete(hostId);
  }

  /** A host that probably still has some of `pieces`, whose digests are known. */
  holderOf(
    pieces: readonly number[],
    signToken: (hostId: string) => string,
  ): { readonly source: ParentSource; readonly pieces: readonly number[] } | undefined {
    const digests = this.#expected;
    for (const [hostId, { address, pieces: named }] of this.#parents) {
      const known = pieces.filter((index) => named.has(index) && digests.get(index) !== undefined);
      if (known.length === 0) continue;
      return {
        source: { kind: "parent", hostId, address, digests, token: signToken(hostId) },
        pieces: known,
      };
    }
    return undefined;
  }
}
