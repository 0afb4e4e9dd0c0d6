import { writeFile } from "node:fs/promises";
import { parse } from "node:path";
import { countOf, parseOptions } from "../../support/parse-options.ts";
import { idealMakespanMs } from "./ideal.ts";
import { playSeeds } from "./play-seeds.ts";
import { costLine, tableOf } from "./report.ts";
import { runRival } from "./rival.ts";
import { runScenario } from "./run.ts";
import type { Scenario } from "./scenario.ts";
import { SCENARIOS, scenariosOf } from "./scenarios.ts";
import { type Curve, progressSvg } from "./svg.ts";
import type { Progress } from "./progress.ts";
import { START_MS } from "./world.ts";

/**
 * Plays scenarios in virtual time: `npm run simulate -- s1 s6 --hosts 1000`. What is printed before the costs is the same on every
 * machine for the same seed.
 */
const OPTIONS = {
  json: { type: "boolean", default: false },
  svg: { type: "string" },
  seed: { type: "string" },
  seeds: { type: "string", default: "1000" },
  hosts: { type: "string" },
  pieces: { type: "string" },
  serving: { type: "string" },
  slots: { type: "string" },
  "latency-ms": { type: "string" },
  "pack-ms": { type: "string" },
  "no-rival": { type: "boolean", default: false },
  ideal: { type: "boolean", default: false },
  help: { type: "boolean", default: false },
} as const;

const USAGE = `usage: npm run simulate -- <scenario>... [options]

  all         every scenario below
  properties  random fault schedules: --seeds N from --seed on; failing seeds are saved and played first

  --hosts N --pieces M --seed N   size and randomness
  --serving N                     pieces that an uploader sends at the same time
  --slots N                       leases that an uploader serves at the same time
  --latency-ms X --pack-ms X      control plane: one way, and the packing time of hosts
  --no-rival                      leave the rival's rule out, where it can be played
  --ideal                         also what perfect knowledge without latency reaches (slow beyond 2,000 hosts)
  --json                          one JSON object for each scenario
  --svg FILE                      progress over time against the bound
`;

const { values, positionals } = parseOptions(OPTIONS);
process.exitCode = await main(values.help ? [] : positionals);

async function main(names: readonly string[]): Promise<number> {
  if (names[0] === "properties") return properties();
  const wanted = names.includes("all") ? Object.keys(SCENARIOS) : names;
  const unknown = wanted.filter((name) => !(name in SCENARIOS));
  if (wanted.length === 0 || unknown.length > 0) {
    const lines = Object.entries(SCENARIOS).map(([id, { title }]) => `  ${id.padEnd(10)}${title}`);
    process.stdout.write(`${USAGE}\n${lines.join("\n")}\n`);
    return wanted.length === 0 ? 0 : 64;
  }
  for (const name of wanted) {
    const scenarios = scenariosOf(name, {
      ...(values.hosts === undefined ? {} : { hosts: countOf("hosts", values.hosts) }),
      ...(values.pieces === undefined ? {} : { pieces: countOf("pieces", values.pieces) }),
      ...(values.seed === undefined ? {} : { prngSeed: Number(values.seed) }),
    });
    for (const scenario of scenarios) await play(adjusted(scenario), scenarios.length > 1);
  }
  return 0;
}

async function properties(): Promise<number> {
  const startedAtMs = performance.now();
  const { playedCount, failures, text } = await playSeeds(
    Number(values.seed ?? 1),
    Number(values.seeds),
  );
  if (text !== "") process.stdout.write(`${text}\n`);
  const seconds = ((performance.now() - startedAtMs) / 1000).toFixed(1);
  process.stdout.write(`${playedCount} fault schedules, ${failures.length} failed, ${seconds} s\n`);
  return failures.length === 0 ? 0 : 1;
}

/** @param isOneOfMany several pictures need several files */
async function play(scenario: Scenario, isOneOfMany: boolean): Promise<void> {
  const ours = runScenario(scenario);
  const rivals =
    values["no-rival"] || scenario.tasks.length > 1
      ? []
      : (["arrival", "random"] as const).map((order) => runRival(scenario, order));
  const idealMs = values.ideal ? idealMakespanMs(scenario) : undefined;
  if (values.json) {
    const { name } = scenario;
    const { costs, wallMs } = ours;
    const report = {
      scenario: name,
      lacewing: ours.figures,
      rivals: rivals.map(({ figures }) => figures),
      idealMs,
      costs,
      wallMs,
    };
    process.stdout.write(`${JSON.stringify(report)}\n`);
  } else {
    const rows = [ours.figures, ...rivals.map(({ figures }) => figures)];
    process.stdout.write(tableOf(scenario, rows));
    if (idealMs !== undefined) process.stdout.write(`   ideal  ${(idealMs / 1000).toFixed(2)} s\n`);
    process.stdout.write(`${costLine(ours.costs, ours.wallMs, ours.eventCount)}\n`);
  }
  if (values.svg === undefined) return;
  const curves = [
    curveOf("lacewing", ours.world.progress, START_MS),
    ...rivals.map(({ figures, progress }) => curveOf(figures.scheduler, progress, 0)),
  ];
  const { dir, name, ext } = parse(values.svg);
  const file = isOneOfMany
    ? `${dir === "" ? "." : dir}/${name}-${scenario.name}${ext}`
    : values.svg;
  await writeFile(file, progressSvg(scenario, curves));
}

function curveOf(name: string, { samples, wantedCount }: Progress, startMs: number): Curve {
  const points = samples.map(({ atMs, heldCount }) => ({
    atMs: atMs - startMs,
    share: heldCount / wantedCount,
  }));
  return { name, points: [{ atMs: 0, share: 0 }, ...points] };
}

/** What the command line says about network and control plane goes before the scenario's own. */
function adjusted(scenario: Scenario): Scenario {
  const { network, control, hosts } = scenario;
  return {
    ...scenario,
    hosts:
      values.slots === undefined
        ? hosts
        : hosts.map((host) => ({ ...host, uploadSlots: Number(values.slots) })),
    network: { ...network, servingMax: Number(values.serving ?? network.servingMax) },
    control: {
      ...control,
      latencyMs: Number(values["latency-ms"] ?? control.latencyMs),
      packMs: Number(values["pack-ms"] ?? control.packMs),
    },
  };
}
