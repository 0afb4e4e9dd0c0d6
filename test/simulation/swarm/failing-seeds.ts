import { mkdir, readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { z } from "zod";

/** Seeds that failed on this machine: played first the next time, until they pass. */
export const FAILING_SEEDS_FILE = join(tmpdir(), "lacewing-simulation", "failing-seeds.json");
/** Seeds that failed once, for everybody and for ever. */
const REGRESSIONS_FILE = new URL("./regressions.json", import.meta.url);
/** More say no more than the first ones. */
const FAILING_SEEDS_MAX = 100;

const seedList = z.array(z.int());

/** Seeds to play before any others. */
export async function seedsToPlayFirst(): Promise<readonly number[]> {
  const regressions = seedList.parse(JSON.parse(await readFile(REGRESSIONS_FILE, "utf8")));
  return [...new Set([...regressions, ...(await savedSeeds())])];
}

export async function saveFailingSeeds(prngSeeds: readonly number[]): Promise<void> {
  if (prngSeeds.length === 0 && (await savedSeeds()).length === 0) return;
  await mkdir(dirname(FAILING_SEEDS_FILE), { recursive: true });
  await writeFile(FAILING_SEEDS_FILE, `${JSON.stringify(prngSeeds.slice(0, FAILING_SEEDS_MAX))}\n`);
}

async function savedSeeds(): Promise<readonly number[]> {
  let text: string;
  try {
    text = await readFile(FAILING_SEEDS_FILE, "utf8");
  } catch {
    return [];
  }
  // A file that cannot be read was written by another version or by hand: it is of no use.
  const parsed = seedList.safeParse(parseJson(text));
  return parsed.success ? parsed.data : [];
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
