import { type Bounds, boundsOf } from "./bounds.ts";
import type { Copy } from "./copy.ts";
import { pieceCountOfTask, type Scenario } from "./scenario.ts";

/** What a run came to; milliseconds and bytes unless a name says otherwise. */
export interface Figures {
  readonly scheduler: "lacewing" | "rival" | "rival, random order";
  readonly isFinished: boolean;
  readonly finishedCount: number;
  /** Clients whose host is gone. */
  readonly goneCount: number;
  /** Until the last client was served. */
  readonly makespanMs: number;
  /** From each client's request. */
  readonly completionMs: Quantiles;
  readonly ttfbMs: Quantiles;
  /** Without anything new for a client that reads in order. */
  readonly longestStallMs: Quantiles;
  /** Pieces held out of order. */
  readonly aheadPieces: { readonly mean: number; readonly p99Max: number };
  readonly bounds: Bounds;
  /** Lowest bound over makespan. */
  readonly efficiency: number;
  /** A client's own bound, F over the slower of its ways in and the origin, over the p99. */
  readonly p99Ratio: number;
  readonly originCopies: number;
  /** Copies that came into each zone from outside, mean and most. */
  readonly copiesPerZone: { readonly mean: number; readonly max: number };
  readonly wastedBytes: number;
  readonly uploadFairness: number;
  readonly aloneCount: number;
  readonly failures: Readonly<Record<string, number>>;
  readonly messages: { readonly sent: number; readonly lost: number };
}

export interface Quantiles {
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

/** What either driver of the network knows at its end. */
export interface RunFacts {
  readonly scheduler: Figures["scheduler"];
  readonly startMs: number;
  readonly endMs: number;
  readonly isFinished: boolean;
  readonly copies: readonly Copy[];
  readonly isGone: (host: number) => boolean;
  readonly originBytes: number;
  readonly zoneBytes: ReadonlyMap<string, number>;
  readonly sentBytes: readonly number[];
  readonly wastedBytes: number;
  readonly aloneCount: number;
  readonly failures: ReadonlyMap<string, number>;
  readonly messages: { readonly sent: number; readonly lost: number };
}

export function figuresOf(scenario: Scenario, facts: RunFacts): Figures {
  const { copies, startMs } = facts;
  const asked = copies.filter(({ host, task }) =>
    scenario.hosts[host]?.wants.some((want) => want.task === task),
  );
  const finished = asked.filter(({ isFull }) => isFull);
  const bytes = scenario.tasks.reduce((sum, { lengthBytes }) => sum + lengthBytes, 0);
  const lastMs = Math.max(...finished.map(({ completedAtMs }) => completedAtMs ?? 0), startMs);
  const makespanMs = (facts.isFinished ? lastMs : facts.endMs) - startMs;
  const bounds = boundsOf(scenario);
  const completionMs = quantiles(
    finished.map(({ completedAtMs, askedAtMs }) => (completedAtMs ?? 0) - askedAtMs),
  );
  const zones = [...new Set(scenario.hosts.map(({ idc }) => idc))];
  const zoneCopies = zones.map((idc) => (facts.zoneBytes.get(idc) ?? 0) / bytes);
  return {
    scheduler: facts.scheduler,
    isFinished: facts.isFinished,
    finishedCount: finished.length,
    goneCount: asked.filter(({ host, isFull }) => !isFull && facts.isGone(host)).length,
    makespanMs,
    completionMs,
    ttfbMs: quantiles(asked.flatMap((copy) => durationOf(copy, copy.firstPieceAtMs))),
    longestStallMs: quantiles(finished.map(({ longestStallMs }) => longestStallMs)),
    aheadPieces: {
      mean: mean(finished.map(({ aheadSum, pieceCount }) => aheadSum / pieceCount)),
      p99Max: quantiles(finished.map(({ aheadMax }) => aheadMax)).p99,
    },
    bounds,
    efficiency: bounds.lowestMs / makespanMs,
    p99Ratio: completionMs.p99 / ownBoundMs(scenario),
    originCopies: facts.originBytes / bytes,
    copiesPerZone: { mean: mean(zoneCopies), max: Math.max(...zoneCopies) },
    wastedBytes: facts.wastedBytes,
    uploadFairness: fairness(
      facts.sentBytes.map((sent, host) => sent / (scenario.hosts[host]?.upBytesPerMs ?? 1)),
    ),
    aloneCount: facts.aloneCount,
    failures: Object.fromEntries(facts.failures),
    messages: facts.messages,
  };
}

/** The value below which the given share of the values lies. */
export function quantiles(values: readonly number[]): Quantiles {
  const sorted = values.toSorted((a, b) => a - b);
  const at = (share: number): number =>
    sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0;
  return { p50: at(0.5), p99: at(0.99), max: sorted.at(-1) ?? 0 };
}

function ownBoundMs({ tasks, origin, hosts }: Scenario): number {
  const bytes = Math.max(...tasks.map((task) => pieceCountOfTask(task) * task.pieceBytes));
  const slowest = Math.min(...hosts.map(({ downBytesPerMs }) => downBytesPerMs));
  return bytes / Math.min(slowest, origin.upBytesPerMs);
}

function durationOf(copy: Copy, atMs: number | undefined): number[] {
  return atMs === undefined ? [] : [atMs - copy.askedAtMs];
}

function mean(values: readonly number[]): number {
  return values.length === 0 ? 0 : values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** Jain's index: 1 when all are equal, 1/n when one has everything. */
function fairness(values: readonly number[]): number {
  const total = values.reduce((sum, value) => sum + value, 0);
  const squares = values.reduce((sum, value) => sum + value * value, 0);
  return squares === 0 ? 1 : (total * total) / (values.length * squares);
}
