import { FAILING_SEEDS_FILE, saveFailingSeeds, seedsToPlayFirst } from "./failing-seeds.ts";
import { checkSeed, PropertyBroken } from "./properties.ts";

/** Failures that are told in full; the seeds of all are saved. */
const TOLD_MAX = 5;

export interface SeedsPlayed {
  readonly playedCount: number;
  readonly failures: readonly PropertyBroken[];
  /** What to show: empty when everything holds. */
  readonly text: string;
}

/** Plays saved and committed seeds, then `count` from `first` on. What fails is saved, and played first the next time. */
export async function playSeeds(first: number, count: number): Promise<SeedsPlayed> {
  const fresh = Array.from({ length: count }, (_, at) => first + at);
  const prngSeeds = [...new Set([...(await seedsToPlayFirst()), ...fresh])];
  const failures: PropertyBroken[] = [];
  for (const prngSeed of prngSeeds) {
    try {
      checkSeed(prngSeed);
    } catch (error) {
      if (!(error instanceof PropertyBroken)) throw error;
      failures.push(error);
    }
  }
  await saveFailingSeeds(failures.map(({ prngSeed }) => prngSeed));
  return { playedCount: prngSeeds.length, failures, text: textOf(failures) };
}

function textOf(failures: readonly PropertyBroken[]): string {
  const [first] = failures;
  if (first === undefined) return "";
  return [
    ...failures.slice(0, TOLD_MAX).map(({ message }) => message),
    `${failures.length} seeds failed, saved in ${FAILING_SEEDS_FILE}; one alone: npm run simulate -- properties --seed ${first.prngSeed} --seeds 1`,
    "A seed that was worth it belongs in test/simulation/swarm/regressions.json.",
  ].join("\n");
}
