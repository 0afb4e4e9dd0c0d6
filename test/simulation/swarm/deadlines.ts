/** Deadlines of the real peer (`answer-watch.ts`, `lease-fit.ts`), and what a simulated one remembers. */

export const NEXT_WORD_MS = 1000;
export const ASK_AGAIN_MS = 800;
export const PROMISE_SLACK_MS = 300;
export const BEGIN_MS = 15_000;
export const SLOWEST_BYTES_PER_MS = 256;
/** How soon an origin that refused is asked again by a host that goes on alone. */
export const ORIGIN_REST_MS = 1000;
/** Pieces that a host without scheduler takes from a known holder at a time. */
export const ALONE_PIECES_MAX = 8;
/** Ended leases that are remembered: what is told twice is told again within moments. */
export const RECENT_LEASES_MAX = 64;
