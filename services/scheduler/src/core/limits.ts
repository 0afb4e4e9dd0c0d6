import { ANNOUNCE_INTERVAL_MS } from "@lacewing/contracts/limits.ts";

const MIB = 2 ** 20;

/** Bytes of one lease from a parent while others compete: short enough that what a child got is offered on soon. */
export const LEASE_BYTES_MAX = 64 * MIB;
/** Bytes of one lease when no other child waits: fewer decisions, and a failure still repeats little. */
export const LEASE_BYTES_ALONE_MAX = 256 * MIB;
/** Live leases of one child in one task: two keep a transfer busy while the next is granted, more spread over parents. */
export const LEASES_PER_PEER_MAX = 4;
/** Of these from the same parent: the second hides the time of the next grant, a third would only block others. */
export const LEASES_PER_PAIR_MAX = 2;
/** Holders looked at for one grant, drawn at random: more find hardly better ones and cost time. */
export const CANDIDATE_PARENTS_MAX = 64;

/** A lease without progress lives at least this long: a stalled connection is given up by the child before. */
export const LEASE_DURATION_MS_MIN = 15_000;
/** A piece that arrives at this rate must not be cut off. */
export const SLOWEST_BYTES_PER_SECOND = 256 * 1024;
/** An open lease before the description: origins under load may take this long for their first byte. */
export const OPEN_LEASE_DURATION_MS = 60_000;
/** A lease is revoked this long after its duration: its last piece may be reported late. */
export const LEASE_GRACE_MS = 2_000;

/** A `pending` answer promises the next one within this. */
export const PENDING_NEXT_BY_MS = 2_000;
/** The next answer is given this long before it is due: it has to travel. */
export const PENDING_MARGIN_MS = 700;

/** A parent that could not be reached is left alone for this long, unless it is heard of before. */
export const SUSPECT_MS = 10_000;
/** A child leaves a parent that failed it alone for this long; doubles with each failure in a row. */
export const AVOID_MS_MIN = 1_000;
export const AVOID_MS_MAX = 30_000;
/** After so many failures in a row the parent's copies no longer keep this child from the origin. */
export const FAILURES_TO_DISCOUNT = 3;
/** An origin that refused a request is asked again after this; doubles with each refusal. */
export const ORIGIN_BACKOFF_MS_MIN = 1_000;
export const ORIGIN_BACKOFF_MS_MAX = 30_000;

/** A host that was not heard of for so long is lost: three announces went missing, and one more may be on its way. */
export const HOST_LOST_AFTER_MS = 3 * ANNOUNCE_INTERVAL_MS + 5_000;
/** Announces in a row whose inventory differs from ours before the host is asked for everything it holds. */
export const INVENTORY_MISMATCHES_MAX = 2;
/** Boots of a host that are remembered, so that a late message of an old one is told from a new start. */
export const FORMER_BOOTS_MAX = 4;
/** Messages to hosts that wait for the next turn of a slice; what is dropped is repaired by the next announce. */
export const OUTBOX_MAX = 10_000;
/** Leases that ended and wait for the projection; beyond it the oldest are not projected. */
export const ENDED_LEASES_MAX = 200_000;
/** Downloads that wait for the projection; beyond it they are dropped, and sent again because no receipt came. */
export const DOWNLOADS_MAX = 50_000;
