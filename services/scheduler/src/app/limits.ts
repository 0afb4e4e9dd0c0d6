/** Messages folded before a turn is forced: a burst must not keep waiting clients from their answers. */
export const FOLDED_PER_TURN_MAX = 256;
/** Bytes of one decision message: half of what the broker takes, as the parts are only estimated. */
export const DECISION_MESSAGE_BYTES_MAX = 512 * 1024;
/** Bytes of one assignment message, likewise. */
export const ASSIGNMENT_MESSAGE_BYTES_MAX = 512 * 1024;
/** Download ids in one receipt message: 64 bytes each. */
export const RECEIPTS_PER_MESSAGE_MAX = 4_096;
/**
 * Decision messages that a replay holds back to put them in order: only appends that were repeated after a lost connection come
 * late, and there is at most one of each slice.
 */
export const REPLAY_WINDOW_MAX = 4_096;
/** Messages of which something could not be read, until the projection has them; beyond it they are only logged. */
export const DEAD_LETTERS_MAX = 10_000;
/** Requests whose span waits for the answer; an answer takes milliseconds. */
export const OPEN_SPANS_MAX = 10_000;
/** Waits between tries of an append or a flush: short at first, as clients wait, and never so long that a recovery drags. */
export const RETRY_BACKOFF = { firstMs: 50, maxMs: 2_000 } as const;
/** Tries to become the newest writer of a slice while its former owner still appends. */
export const FENCE_ATTEMPTS_MAX = 20;
/** A token outlives its lease by this much: the child may work through a queue, and clocks differ. */
export const TOKEN_GRACE_MS = 10 * 60_000;
/** Likewise of a lease ahead, under which hundreds of pieces are asked for one after another. */
export const AHEAD_TOKEN_GRACE_MS = 12 * 60 * 60_000;
/** How often time itself is looked at: leases that ran out, answers that are due. */
export const TICK_MS = 500;
/** A tick that comes so late shows that the process stood still, or has far too much to do. */
export const LATE_TICK_MS = 2_000;
/** Hints of blocked readers that are heard between two ticks: each has its task looked at, and events come first. Who is still blocked says so again. */
export const HINTS_PER_TICK_MAX = 1_000;
/** While parents wait for their own uploads to end, how often it is looked whether one is about to: a part of what a piece takes. */
export const PACE_MS = 5;
/** Facts folded before a flush is due, whatever the time. */
export const FLUSH_FACTS_MAX = 5_000;
/** A flush waits for a quiet interval; while there is none it comes after this many intervals. */
export const FLUSH_INTERVALS_MAX = 4;
/** A stop waits this long for the last flush: less than a supervisor's patience. */
export const STOP_FLUSH_MS = 3_000;
/** A standby looks this often whether the slices are free: one small statement, and a stop is noticed as soon. */
export const STANDBY_POLL_MS = 200;
/**
 * A stop waits this long for the database to answer a renewal that is under way and to take the slices back; without it they run out
 * by themselves.
 */
export const RELEASE_TIMEOUT_MS = 2_000;
/** Messages folded by a replay before others have their turn: the ownership has to be renewed while millions are folded. */
export const REPLAYED_PER_TURN_MAX = 2_000;
/** Facts folded by a rebuild between two writes: as many as a flush has, so that its statements are as large. */
export const REBUILD_FACTS_PER_WRITE = 5_000;
/** Rows taken into the state before others have their turn: of tasks with thousands of digests they take some 100 ms. */
export const ROWS_PER_TURN_MAX = 500;
