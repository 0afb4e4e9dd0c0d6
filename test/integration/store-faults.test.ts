import { join } from "node:path";
import { rm } from "node:fs/promises";
import { describe, expect, test } from "vitest";
import { nodeDisk } from "@lacewing/peer/adapters/disk/node-disk.ts";
import { type Clock, systemClock } from "@lacewing/runtime/clock.ts";
import {
  type DiskFault,
  type DiskStep,
  FAULTS,
  FaultyDisk,
  isOwnFault,
} from "../support/faulty-disk.ts";
import { seededRandom } from "../support/scheduler-world.ts";
import {
  CONTENT_NAMES,
  type LifeAction,
  SCRIPTED_LIFE,
  startAgain,
  StoreLife,
} from "../support/store-life.ts";
import { makeTempDir } from "../support/temp-dir.ts";
import savedSeeds from "./store-faults-seeds.json" with { type: "json" };

/**
 * Goal: whatever a disk does to the store, and wherever the process or the machine dies, no wrong byte is served or offered, what
 * was complete stays unless it is what failed, the accounts agree with the disk, and a log line says what happened.
 *
 * Method: one scripted life that comes by everything a store does. It is lived once for every step it asks of the disk and every
 * fault, that fault at that step; then the real code starts again on what is left. And random lives with random faults: one
 * seed is one life; a failing seed goes to store-faults-seeds.json.
 */

/** Hundreds of lives, each with hundreds of steps on a real file system. */
const EVERY_STEP_TIMEOUT_MS = 600_000;
/** Random lives besides the saved ones. */
const SEED_COUNT = 25;

/** Uses within a millisecond would count as at the same time, and eviction go by id. */
function tickingClock(): Clock {
  let nowMs = 1_700_000_000_000;
  return { ...systemClock, now: () => ++nowMs };
}

interface Outcome {
  readonly problems: readonly string[];
  readonly steps: readonly DiskStep[];
}

async function live(
  root: string,
  actions: readonly LifeAction[],
  faultAt: (step: DiskStep) => DiskFault | undefined,
  random?: () => number,
): Promise<Outcome> {
  nodeDisk.makeFolder(root);
  const clock = tickingClock();
  const disk = new FaultyDisk(root, faultAt);
  const life = new StoreLife(root, disk, clock);
  await life.run(actions);
  const wasKilled = disk.isDead;
  const leftOpen = wasKilled ? [] : disk.openPaths;
  await disk.die();
  await rm(join(root, "store.lock"), { force: true });
  if (random !== undefined) disk.losePower(random);
  const after = await startAgain(root, life, { disk: nodeDisk, clock });
  await rm(root, { recursive: true });

  const problems = [...life.wrong, ...after.wrong].map((what) => `wrong: ${what}`);
  if (random === undefined) {
    for (const name of life.promised) if (!after.verified.has(name)) problems.push(`lost: ${name}`);
    if (after.givenUpCount > 0) problems.push(`${after.givenUpCount} pieces given up without need`);
  }
  for (const name of after.offeredEarly) problems.push(`offered before it was hashed: ${name}`);
  for (const name of after.stale) problems.push(`incarnation used before: ${name}`);
  for (const file of after.leaked) problems.push(`leaked: ${file}`);
  for (const path of leftOpen) problems.push(`left open: ${path}`);
  if (after.usedBytes !== after.sumBytes) {
    problems.push(`${after.usedBytes} bytes accounted for, ${after.sumBytes} there`);
  }
  const lines = life.log.entries.filter(({ level }) => level === "warn" || level === "error");
  const isTold = life.told.length > 0 || lines.length > 0;
  const failed = disk.steps.find((step) => isFailure(faultAt(step)) && !MAY_FAIL.has(step.name));
  if (failed !== undefined && !wasKilled && !isTold) problems.push("nobody was told");
  for (const { event, fields } of lines) if (!saysWhat(fields)) problems.push(`unclear: ${event}`);
  return { problems, steps: disk.steps };
}

/** Their failure harms nobody: the kernel gives the descriptor back; a file that cannot be looked at is hashed. */
const MAY_FAIL: ReadonlySet<string> = new Set(["close", "lookSync", "touch"]);

function isFailure(fault: DiskFault | undefined): boolean {
  return fault === "EIO" || fault === "ENOSPC" || fault === "torn";
}

/** A line of the log says why; and of which task, if it speaks of one. */
function saysWhat(fields: Readonly<Record<string, unknown>>): boolean {
  const why = ["error", "why", "damage", "pieceIndexes", "evictedCount", "lengthBytes"];
  return "task" in fields || why.some((name) => name in fields);
}

async function scriptedSteps(root: string): Promise<readonly DiskStep[]> {
  const { problems, steps } = await live(join(root, "sound"), SCRIPTED_LIFE, () => undefined);
  expect(problems).toEqual([]);
  return steps;
}

/** Of several equal calls in a row, as for the parts of a long read, the first and the last say it all. */
function distinct(steps: readonly DiskStep[]): readonly DiskStep[] {
  const isSame = (a: DiskStep | undefined, b: DiskStep): boolean =>
    a?.name === b.name && a.path === b.path;
  return steps.filter((step, at) => !isSame(steps[at - 1], step) || !isSame(steps[at + 1], step));
}

async function problemsAtEveryStep(
  isWanted: (step: DiskStep) => boolean,
  live1: (step: DiskStep, root: string) => Promise<Outcome>,
): Promise<readonly string[]> {
  await using dir = await makeTempDir("faults");
  const failures: string[] = [];
  const steps = distinct(await scriptedSteps(dir.path)).filter(isWanted);
  expect(steps.length).toBeGreaterThan(20);
  for (const step of steps) {
    const { problems } = await live1(step, join(dir.path, `step-${step.index}`));
    const at = `${step.index} ${step.name} ${step.path}`;
    failures.push(...problems.map((problem) => `${at}: ${problem}`));
  }
  return failures;
}

describe("a store whose disk fails at one step", () => {
  test.each(FAULTS)(
    "by %s, whichever step it is",
    { timeout: EVERY_STEP_TIMEOUT_MS },
    async (fault) => {
      const problems = await problemsAtEveryStep(
        (step) => isOwnFault(step, fault),
        async (step, root) =>
          live(root, SCRIPTED_LIFE, ({ index }) => (index === step.index ? fault : undefined)),
      );
      expect(problems).toEqual([]);
    },
  );

  test(
    "by a loss of power, whichever step it is, with whatever was not synced",
    { timeout: EVERY_STEP_TIMEOUT_MS },
    async () => {
      const everywhere = (): boolean => true;
      const problems = await problemsAtEveryStep(everywhere, async (step, root) => {
        const crash = ({ index }: DiskStep) => (index === step.index ? "crash" : undefined);
        return live(root, SCRIPTED_LIFE, crash, seededRandom(step.index));
      });
      expect(problems).toEqual([]);
    },
  );
});

function randomActions(random: () => number): readonly LifeAction[] {
  const pick = <T>(from: readonly T[]): T =>
    from[Math.floor(random() * from.length)] ?? neverEmpty();
  return Array.from({ length: 30 }, (): LifeAction => {
    const name = pick(CONTENT_NAMES);
    const kind = pick([
      "fill",
      "fill",
      "fill",
      "verify",
      "verify",
      "read",
      "recheck",
      "remove",
      "settle",
      "wrong_piece",
      "restart",
    ] as const);
    if (kind === "restart") return { kind };
    // Only the large ones have a first piece of this length.
    if (kind === "wrong_piece") return { kind, name: pick(["a", "b", "c"] as const) };
    return { kind, name };
  });
}

function neverEmpty(): never {
  throw new RangeError("nothing to pick from");
}

describe("a store with a random life", () => {
  const seeds = [...savedSeeds, ...Array.from({ length: SEED_COUNT }, (_, index) => index + 1)];
  test.each(seeds)("and random faults, seed %i", async (prngSeed) => {
    await using dir = await makeTempDir("faults");
    const random = seededRandom(prngSeed);
    const actions = randomActions(random);
    const faults = new Map<number, DiskFault>();
    for (let count = Math.floor(random() * 4); count > 0; count--) {
      faults.set(Math.floor(random() * 250), FAULTS[Math.floor(random() * FAULTS.length)] ?? "EIO");
    }
    const power = random() < 0.4 ? random : undefined;
    const faultAt = ({ index }: DiskStep) => faults.get(index);
    const { problems } = await live(join(dir.path, "life"), actions, faultAt, power);
    expect({ prngSeed, problems }).toEqual({ prngSeed, problems: [] });
  });
});
