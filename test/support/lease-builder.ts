import { Lease } from "@lacewing/scheduler/core/lease.ts";

type Terms = ConstructorParameters<typeof Lease>[0];

/** A lease with the terms that a test is about. Others: of slice 7, without pieces, from the origin, granted at 0 ms. */
export function aLease(terms: Pick<Terms, "child"> & Partial<Terms>): Lease {
  return new Lease({
    number: 0,
    decided: { slice: 7, epoch: 1, decidedAtMs: 0 },
    parent: undefined,
    pieces: [],
    isOpen: false,
    requestId: "",
    reason: "",
    candidateCount: 1,
    durationMs: 1,
    traceparent: "",
    isAhead: false,
    ...terms,
  });
}
