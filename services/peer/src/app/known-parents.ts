import type { Lease } from "@lacewing/contracts/gen/lacewing/assignments/v1/assignments.ts";
import { indexesOf } from "@lacewing/contracts/pieces.ts";
import type { FetchSource } from "./lease-fetch.ts";

/** Length of a SHA-256. */
const DIGEST_BYTES = 32;

type ParentSource = Extract<FetchSource, { kind: "parent" }>;

interface KnownParent {
  readonly address: string;
  readonly digests: Map<number, Uint8Array>;
}

/** The hosts that served a task before, and the piece digests that came with their leases: of use when the scheduler is silent. */
export class KnownParents {
  readonly #parents = new Map<string, KnownParent>();

  /** The source that a parent's lease names; remembered. */
  sourceOf(lease: Lease): ParentSource {
    const { parentHostId: hostId, parentAddress: address, token } = lease;
    const digests = new Map<number, Uint8Array>();
    let at = 0;
    for (const index of indexesOf(lease.pieces)) {
      digests.set(index, lease.pieceDigests.subarray(at, at + DIGEST_BYTES));
      at += DIGEST_BYTES;
    }
    const all = this.#parents.get(hostId)?.digests ?? new Map<number, Uint8Array>();
    for (const [index, digest] of digests) all.set(index, digest);
    this.#parents.set(hostId, { address, digests: all });
    return { kind: "parent", hostId, address, token, digests };
  }

  forget(hostId: string): void {
    this.#parents.delete(hostId);
  }

  /** A host that probably still has some of `pieces`, whose digests are known. */
  holderOf(
    pieces: readonly number[],
    signToken: (hostId: string) => string,
  ): { readonly source: ParentSource; readonly pieces: readonly number[] } | undefined {
    for (const [hostId, { address, digests }] of this.#parents) {
      const known = pieces.filter((index) => digests.has(index));
      if (known.length === 0) continue;
      return {
        source: { kind: "parent", hostId, address, digests, token: signToken(hostId) },
        pieces: known,
      };
    }
    return undefined;
  }
}
