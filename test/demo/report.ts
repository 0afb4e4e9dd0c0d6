import { renderTable } from "../support/table.ts";
import { formatCount, formatSize } from "../support/units.ts";
import type { HitRateRow } from "./cluster-facts.ts";
import { describeConditions, type Conditions } from "./conditions.ts";
import type { Measurement } from "./experiment.ts";
import {
  formatRatio,
  PUBLISHED,
  ratioToDirect,
  SCENARIO_TITLES,
  type Series,
} from "./scenarios.ts";
import type { TraceSummary } from "./trace.ts";

/** Everything that one run of the demo found out. */
export interface DemoResult {
  readonly conditions: Conditions;
  readonly measurements: readonly Measurement[];
  readonly hitRates: readonly HitRateRow[];
  /** What SQL says that downloads took from the origin. */
  readonly backToSourceBytes: number;
  /** What the origin counted while clients went through the cluster. */
  readonly originBytes: number;
  /** The trace of the last hit on a remote peer; `null` when spans went elsewhere. */
  readonly trace: TraceSummary | null;
  readonly svgFile: string;
  readonly keptFolder: string | null;
}

export interface Verdict {
  readonly isRight: boolean;
  /** Sentences; empty when all is right. */
  readonly problems: readonly string[];
}

/** Whether the run shows what it should: every file right, every byte accounted for. Times are not judged. */
export function judge(
  result: Pick<DemoResult, "measurements" | "backToSourceBytes" | "originBytes">,
): Verdict {
  const problems = result.measurements.flatMap(({ scenario, sizeBytes, failures }) =>
    failures.map((text) => `${formatSize(sizeBytes)}, ${SCENARIO_TITLES[scenario]}: ${text}`),
  );
  if (result.backToSourceBytes !== result.originBytes) {
    problems.push(
      `SQL counts ${formatCount(result.backToSourceBytes)} bytes from the origin, the origin sent ${formatCount(result.originBytes)}`,
    );
  }
  return { isRight: problems.length === 0, problems };
}

/** One series per size, for ratios and the chart. */
export function seriesOf(measurements: readonly Measurement[]): readonly Series[] {
  const bySize = Map.groupBy(measurements, ({ sizeBytes }) => sizeBytes);
  return [...bySize].map(([sizeBytes, group]) => ({
    label: formatSize(sizeBytes),
    seconds: Object.fromEntries(group.map(({ scenario, seconds }) => [scenario, seconds])),
  }));
}

/** The report for a person. */
export function renderReport(result: DemoResult): string {
  const verdict = judge(result);
  const blocks = [
    ...seriesOf(result.measurements).map((series) => renderSeries(series, result.measurements)),
    describeConditions(result.conditions),
    `select * from cache_hit_rate_hourly\n${renderRows(result.hitRates)}`,
    renderComparison(result),
    ...(result.trace === null ? [] : [renderTrace(result.trace)]),
    `Chart: ${result.svgFile}`,
    ...(result.keptFolder === null ? [] : [renderKept(result.keptFolder)]),
    ...verdict.problems.map((problem) => `PROBLEM: ${problem}`),
  ];
  return `${blocks.join("\n\n")}\n`;
}

/** The report for a program. */
export function jsonReport(result: DemoResult): object {
  const series = seriesOf(result.measurements);
  return {
    ...result,
    ...judge(result),
    measurements: result.measurements.map((measurement) => {
      const own = series.find(({ label }) => label === formatSize(measurement.sizeBytes));
      const ratio = own === undefined ? undefined : ratioToDirect(own, measurement.scenario);
      return { ...measurement, ratioToDirect: ratio };
    }),
    published: PUBLISHED,
  };
}

function renderSeries(series: Series, measurements: readonly Measurement[]): string {
  const own = measurements.filter(({ sizeBytes }) => formatSize(sizeBytes) === series.label);
  const rows = own.map(({ scenario, seconds, originBytes, traceId, failures }) => [
    SCENARIO_TITLES[scenario],
    failures.length > 0 ? "failed" : seconds.toFixed(2),
    failures.length > 0 ? "" : formatRatio(ratioToDirect(series, scenario)),
    formatCount(originBytes),
    traceId ?? "–",
    ...PUBLISHED.map((published) => {
      const seconds = (published.seconds[scenario] ?? 0).toFixed(2);
      return scenario === "direct"
        ? seconds
        : `${seconds}, ${formatRatio(ratioToDirect(published, scenario))}`;
    }),
  ]);
  return renderTable(
    [
      { title: series.label, align: "left" },
      { title: "seconds", align: "right" },
      { title: "vs direct", align: "right" },
      { title: "origin bytes", align: "right" },
      { title: "trace id", align: "left" },
      ...PUBLISHED.map(({ label }) => ({ title: `published ${label}`, align: "right" }) as const),
    ],
    rows,
  );
}

function renderTrace({ traceId, spanCount, services }: TraceSummary): string {
  return `Trace ${traceId} (hit remote peer): ${spanCount} spans of ${services.join(", ")}.`;
}

/** The cluster ends with the demo; its data, kept, bring traces and tables back. */
function renderKept(folder: string): string {
  return `Kept in ${folder}. To look at traces and tables: npx lacewing up --data ${folder}/cluster`;
}

/** One column per row: the view has more columns than a terminal. */
function renderRows(rows: readonly HitRateRow[]): string {
  const names = Object.keys(rows[0] ?? {});
  if (names.length === 0) return "(no rows)";
  const [first = "", ...others] = names;
  return renderTable(
    [
      { title: first, align: "left" },
      ...rows.map((row) => ({ title: renderValue(row[first]), align: "right" }) as const),
    ],
    others.map((name) => [name, ...rows.map((row) => renderValue(row[name]))]),
  );
}

function renderValue(value: unknown): string {
  if (value instanceof Date) return value.toISOString();
  if (typeof value === "string" || typeof value === "number") return String(value);
  return value === null || value === undefined ? "" : JSON.stringify(value);
}

function renderComparison(result: DemoResult): string {
  const { backToSourceBytes, originBytes } = result;
  const agreement = backToSourceBytes === originBytes ? "agree to the byte" : "DIFFER";
  return `Bytes from the origin through the cluster: SQL ${formatCount(backToSourceBytes)}, the origin's own count ${formatCount(originBytes)}: they ${agreement}.`;
}
