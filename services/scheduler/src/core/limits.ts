import { ANNOUNCE_INTERVAL_MS, ANNOUNCED_IDS_MAX } from "@lacewing/contracts/limits.ts";

const MIB = 2 ** 20;

/** Bytes of one lease from a parent while others compete: short enough that what a child got is offered on soon. */
export const LEASE_BYTES_MAX = 64 * MIB;
/** Bytes of one lease when no other child waits: fewer decisions, and a failure still repeats little. */
export const LEASE_BYTES_ALONE_MAX = 256 * MIB;
/**
 * Live leases of one child in one task: one that is sent, and one that is granted before that has ended. Of more, the parts share the
 * child's link, and hold up their senders' links too. One more beside a slow one; more where control messages take a good part of a piece's
 * time: see `Task.leaseDepth`.
 */
export const LEASE_DEPTH_MIN = 2;
export const LEASE_DEPTH_MAX = 12;
/** Likewise of one parent: what waits in its queue is not elsewhere, and holds up a rare piece that comes after it. */
export const UPLOAD_DEPTH_MIN = 2;
/** Of these from the same parent: the second hides the time of the next grant, a third would only block others. */
export const LEASES_PER_PAIR_MAX = 2;

/** Content up to this length takes no upload slot: many of them travel in one exchange between two hosts. */
export const TINY_CONTENT_BYTES_MAX = 128 * 1024;
/** Leases of such contents from one host at once: two exchanges' worth for clients, and as many for hosts that gather what they keep. */
export const TINY_LEASES_PER_HOST_MAX = 512;

/** A lease from a parent of unknown pace lives so long without progress, and a piece's time more; likewise a silent reader of the origin. */
export const LEASE_DURATION_MS_MIN = 15_000;
/** A lease from a parent of known pace lives so long and the time of some pieces: a short stall is not the end. */
export const LEASE_DURATION_MS_LEAST = 5_000;
/** Pieces' time at the parent's pace that a lease lives without one: others may share the parent meanwhile. */
export const LEASE_PATIENCE = 8;
/** A piece that arrives at this rate must not be cut off. */
export const SLOWEST_BYTES_PER_SECOND = 256 * 1024;
/** An open lease before the description: origins under load may take this long for their first byte. */
export const OPEN_LEASE_DURATION_MS = 60_000;
/** A lease under which nothing comes for so long is told its child again: the assignment may be lost. */
export const UNHEARD_AFTER_MS = 750;
/** And for so many pieces' time besides those that its parent has to send. */
export const UNHEARD_PIECES = 2;
/** And of tiny contents for the child's own keeping: it gathers those for six seconds. */
export const UNHEARD_KEPT_AFTER_MS = 7_000;
/** So many are told again at one tick: where everything is slow this must not add to it. */
export const REPEATED_PER_TICK_MAX = 512;
/** A lease is revoked this long after its duration: its last piece may be reported late. */
export const LEASE_GRACE_MS = 2_000;

/**
 * Leases granted in one turn: in a very large swarm tens of thousands can be granted at once, and the first would wait until the last is
 * decided, some 100 ms for these. The rest has the turn after the append.
 */
export const GRANTS_PER_TURN_MAX = 4_096;

/** A `pending` answer promises the next one within this. */
export const PENDING_NEXT_BY_MS = 2_000;
/** The next answer is given this long before it is due: it has to travel. */
export const PENDING_MARGIN_MS = 700;
/** Promised answers of one task are looked through this often at most: there may be one for each host. */
export const PROMISES_CHECK_MS = 100;

/**
 * A parent that a child could not reach is asked for a word, and stays a parent for others so long: it may be the child that is cut off. Nor
 * is it asked again while it was heard of so lately.
 */
export const SUSPECT_ASKED_MS = 1_000;
/** One that did not answer is left alone for this long, unless it is heard of before. */
export const SUSPECT_MS = 10_000;
/** A host that let its leases run out without a word is given none for so long, unless it is heard of before; doubles with each time in a row. */
export const SILENT_REST_MS = 5_000;
/** And so often at most: a host that cannot make itself heard is tried every 80 seconds, until it is declared lost. */
export const SILENT_RESTS_DOUBLED_MAX = 4;
/** Parents of such a host that are remembered, to be blamed if it lived: those of all its leases, as a rule. */
export const UNBLAMED_MAX = 16;
/** A child leaves a parent that failed it alone for this long; doubles with each failure in a row. */
export const AVOID_MS_MIN = 1_000;
export const AVOID_MS_MAX = 30_000;
/** After so many failures in a row the parent's copies no longer keep this child from the origin. */
export const FAILURES_TO_DISCOUNT = 3;
/**
 * A host that sent so many children wrong or malformed bytes, or refused them pieces it had reported, is no parent of the content before a new
 * incarnation. Of fewer it may be the children that lie or are damaged.
 */
export const ACCUSERS_TO_STRIKE = 3;
/** A child's word counts against so many parents of a content: one that is wrong about more is damaged itself. */
export const ACCUSED_PER_CHILD_MAX = 2;
/** An origin that refused a request is asked again after this; doubles with each refusal. */
export const ORIGIN_BACKOFF_MS_MIN = 1_000;
export const ORIGIN_BACKOFF_MS_MAX = 30_000;

/** A host that was not heard of for so long is lost: three announces went missing, and one more may be on its way. */
export const HOST_LOST_AFTER_MS = 3 * ANNOUNCE_INTERVAL_MS + 5_000;
/** A host that was not heard of for so long has missed an announce: its leases end and it is given none, as most such hosts are gone. */
export const MISSED_ANNOUNCE_MS = ANNOUNCE_INTERVAL_MS + 5_000;
/** A host that is lost or left and was silent for so long is forgotten with its copies: machines come and go for good. */
export const HOST_FORGOTTEN_AFTER_MS = 7 * 24 * 3_600_000;
/** A task that nobody holds, wants or is sent is forgotten after so long: a late word about it may still come. */
export const TASK_FORGOTTEN_AFTER_MS = 10 * 60_000;
/** A retired task is remembered for so long, to have hosts that come back drop their void copies. */
export const TASK_REMEMBERED_MS = 7 * 24 * 3_600_000;
/** So many retired tasks are remembered; beyond it the oldest are forgotten earlier. */
export const RETIRED_TASKS_MAX = 10_000;
/** All tasks are looked through for this so often. */
export const SWEEP_INTERVAL_MS = 60_000;
/** The index of a task that nobody asked for during this time is given up; it is made again in milliseconds. */
export const SWARM_IDLE_MS = 10 * 60_000;
/** Requests of one host at once; more are not taken, as its announce could not list them. */
export const REQUESTS_PER_HOST_MAX = ANNOUNCED_IDS_MAX;
/** Parents that one peer avoids; beyond it those whose time is over are forgotten. */
export const AVOIDED_PER_PEER_MAX = 64;
/** Announces in a row whose inventory differs from ours before the host is asked for everything it holds. */
export const INVENTORY_MISMATCHES_MAX = 2;
/** Boots of a host that are remembered, so that a late message of an old one is told from a new start. */
export const FORMER_BOOTS_MAX = 4;
/** Messages to hosts that wait for the next turn of a slice; what is dropped is repaired by the next announce. */
export const OUTBOX_MAX = 10_000;
/** Leases that ended and wait for the projection; beyond it the oldest are not projected. */
export const ENDED_LEASES_MAX = 200_000;
/** Words about leases that are projected already and wait for the projection; beyond it their bytes are not counted. */
export const LATE_BYTES_MAX = 50_000;
/** Downloads that wait for the projection; beyond it they are dropped, and sent again because no receipt came. */
export const DOWNLOADS_MAX = 50_000;
