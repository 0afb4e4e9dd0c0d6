import type { Figures } from "./metrics.ts";
import type { Scenario } from "./scenario.ts";
import type { ShellCosts } from "./scheduler-shell.ts";

const SECOND_MS = 1000;
const MIB = 2 ** 20;

/** One line for each scheduler, the bounds above them. */
export function tableOf(scenario: Scenario, rows: readonly Figures[]): string {
  const [first] = rows;
  if (first === undefined) return "";
  const header = [
    "",
    "makespan",
    "x bound",
    "eff",
    "p50",
    "p99",
    "p99/own",
    "origin",
    "zone mean/max",
    "ttfb p50/p99",
    "longest pause p50/p99",
    "ahead mean/max",
    "wasted",
    "alone",
    "done",
  ];
  const table = [header, ...rows.map((figures) => rowOf(scenario, figures))];
  const widths = header.map((_, column) =>
    Math.max(...table.map((cells) => cells[column]?.length ?? 0)),
  );
  const lines = table.map((cells) =>
    cells.map((cell, column) => cell.padStart(widths[column] ?? 0)).join("  "),
  );
  return [
    `${scenario.name}: ${scenario.title}`,
    conditions(scenario),
    boundsLine(first),
    ...lines,
    "",
  ].join("\n");
}

/** What it cost this machine: never the same twice. */
export function costLine(costs: ShellCosts, wallMs: number, eventCount: number): string {
  const perGrant = costs.grantCount === 0 ? 0 : (costs.cpuMs / costs.grantCount) * 1000;
  return (
    `scheduler core: ${costs.grantCount} grants, ${perGrant.toFixed(1)} µs of CPU per grant (folding included), ` +
    `${costs.eventCount} events in ${costs.messageCount} messages, ${costs.turnCount} turns; ` +
    `simulated ${eventCount} things in ${(wallMs / SECOND_MS).toFixed(1)} s, ${Math.round(process.memoryUsage().rss / MIB)} MiB resident\n`
  );
}

function conditions({ hosts, tasks, network, control, prngSeed }: Scenario): string {
  const [task] = tasks;
  const pieceMib = (task?.pieceBytes ?? 0) / MIB;
  const pieces = Math.ceil((task?.lengthBytes ?? 0) / (task?.pieceBytes ?? 1));
  return (
    `${hosts.length} hosts, ${tasks.length} x ${pieces} pieces of ${pieceMib} MiB; uplinks send ${network.servingMax} at a time; ` +
    `control ${control.latencyMs}+${control.jitterMs} ms, packed ${control.packMs} ms, append ${control.appendMs} ms` +
    `${control.lost > 0 ? `, ${percent(control.lost)} lost` : ""}; seed ${prngSeed}`
  );
}

function boundsLine({ bounds }: Figures): string {
  const parts = [
    `origin ${seconds(bounds.originMs)}`,
    `slowest host ${seconds(bounds.slowestHostMs)}`,
    `work ${seconds(bounds.workMs)}`,
    ...(bounds.zoneEntryMs > 0
      ? [`zone entry ${seconds(bounds.zoneEntryMs)}`, `zone work ${seconds(bounds.zoneWorkMs)}`]
      : []),
    ...(bounds.discreteMs === undefined ? [] : [`whole pieces ${seconds(bounds.discreteMs)}`]),
  ];
  return `bounds: ${parts.join(", ")}`;
}

function rowOf(scenario: Scenario, figures: Figures): string[] {
  const { completionMs, ttfbMs, longestStallMs, aheadPieces, copiesPerZone } = figures;
  const isBounded = !scenario.isSteady;
  return [
    figures.scheduler,
    figures.isFinished ? seconds(figures.makespanMs) : `> ${seconds(figures.makespanMs)}`,
    isBounded ? (1 / figures.efficiency).toFixed(3) : "",
    isBounded ? percent(figures.efficiency) : "",
    seconds(completionMs.p50),
    seconds(completionMs.p99),
    scenario.tasks.length === 1 ? figures.p99Ratio.toFixed(3) : "",
    figures.originCopies.toFixed(2),
    `${copiesPerZone.mean.toFixed(2)}/${copiesPerZone.max.toFixed(2)}`,
    `${seconds(ttfbMs.p50)}/${seconds(ttfbMs.p99)}`,
    `${seconds(longestStallMs.p50)}/${seconds(longestStallMs.p99)}`,
    `${aheadPieces.mean.toFixed(1)}/${aheadPieces.p99Max}`,
    `${(figures.wastedBytes / 2 ** 30).toFixed(2)} GiB`,
    String(figures.aloneCount),
    `${figures.finishedCount}${figures.goneCount > 0 ? `+${figures.goneCount} gone` : ""}`,
  ];
}

function seconds(ms: number): string {
  return `${(ms / SECOND_MS).toFixed(2)} s`;
}

function percent(share: number): string {
  return `${(share * 100).toFixed(1)} %`;
}
