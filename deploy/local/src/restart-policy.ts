import { type BackoffLimits, backoffMs } from "@lacewing/runtime/backoff.ts";
import { EXIT_CODE } from "@lacewing/runtime/lifecycle.ts";

/** A killed server must be back before its clients' deadlines; a broken one must not eat the machine. */
export const RESTART_BACKOFF: BackoffLimits = { firstMs: 100, maxMs: 5_000 };

/** A child that ran this long was well: the next failure counts as the first. */
export const WELL_AFTER_MS = 10_000;

/** Tries of a child that never became ready, before the whole start is given up: a port or a lock may free itself. */
export const FIRST_START_TRIES_MAX = 4;

/** How a child ended. */
export interface ChildExit {
  readonly exitCode: number | null;
  /** Milliseconds from ready to exit; 0 when it never became ready. */
  readonly ranMs: number;
  /** Whether this child has been ready since the cluster started. */
  readonly wasEverReady: boolean;
  /** Failures in a row before this one. */
  readonly failureCount: number;
}

/** What to do about a child that ended although nobody asked it to. */
export type RestartDecision =
  | { readonly kind: "restart"; readonly inMs: number; readonly failureCount: number }
  | { readonly kind: "give_up"; readonly because: "wrong_settings" | "never_ready" };

/** @param random in [0, 1) */
export function decideRestart(exit: ChildExit, random: number): RestartDecision {
  if (exit.exitCode === EXIT_CODE.wrongSettings) {
    return { kind: "give_up", because: "wrong_settings" };
  }
  const failureCount = exit.ranMs >= WELL_AFTER_MS ? 1 : exit.failureCount + 1;
  if (!exit.wasEverReady && failureCount >= FIRST_START_TRIES_MAX) {
    return { kind: "give_up", because: "never_ready" };
  }
  return {
    kind: "restart",
    inMs: Math.round(backoffMs(failureCount - 1, RESTART_BACKOFF, random)),
    failureCount,
  };
}
