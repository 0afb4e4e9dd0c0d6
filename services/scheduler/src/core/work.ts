import { SLICE_COUNT } from "@lacewing/contracts/slices.ts";
import { Alarms } from "./agenda.ts";
import type { Answer } from "./answer.ts";
import type { Task } from "./state.ts";

/** What the next turn has to look at; indexes, so that no turn scans all tasks. */
export interface Work {
  /** By slice: tasks of which something changed. */
  readonly dirtyTaskIds: readonly Set<string>[];
  /** Tasks in which somebody wants pieces that could not be granted. */
  readonly hungryTaskIds: Set<string>;
  /** Tasks with sources that are to be looked at when their uploads are about to end, by the first of these times; see `wakePaced`. */
  readonly pacedTasks: Alarms<Task>;
  /** When all tasks were last looked through for those that nobody uses. */
  sweptAtMs: number;
  /** No host is lost before this; see `decideLostHosts`. */
  lossDueAtMs: number;
  /** Hosts that are suspect until some time; see `Host.isSuspect`. */
  readonly suspectIds: Set<string>;
  /** Hosts that are given no leases for a while, as they let the last ones run out without a word. */
  readonly silentIds: Set<string>;
  /** By slice: messages to hosts that folding made necessary. */
  readonly outbox: readonly Answer[][];
}

export function newWork(): Work {
  return {
    dirtyTaskIds: Array.from({ length: SLICE_COUNT }, () => new Set<string>()),
    hungryTaskIds: new Set(),
    pacedTasks: new Alarms(),
    sweptAtMs: 0,
    lossDueAtMs: 0,
    suspectIds: new Set(),
    silentIds: new Set(),
    outbox: Array.from({ length: SLICE_COUNT }, (): Answer[] => []),
  };
}
