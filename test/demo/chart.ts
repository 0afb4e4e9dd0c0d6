import {
  ratioToDirect,
  SCENARIO_TITLES,
  SCENARIOS,
  type Scenario,
  type Series,
} from "./scenarios.ts";

export interface ChartData {
  readonly measured: readonly Series[];
  readonly published: readonly Series[];
  /** Small print under the figure. */
  readonly conditions: string;
}

interface Bar {
  readonly value: number;
  readonly label: string;
  readonly fill: string;
  /** Under the bar; empty when the group's title says it all. */
  readonly caption: string;
}

interface Group {
  readonly title: string;
  readonly bars: readonly Bar[];
}

interface Panel {
  readonly x: number;
  readonly width: number;
  readonly title: string;
  readonly subtitle: string;
  readonly groups: readonly Group[];
}

const WIDTH = 1080;
const HEIGHT = 560;
const PLOT_TOP = 150;
const PLOT_BOTTOM = 430;
const MARGIN = 48;
const PANEL_GAP = 56;
const INK = "#1f2933";
const QUIET_INK = "#616e7c";
const GRID = "#e4e7eb";
const FILLS = {
  direct: "#9aa5b1",
  cold_boot: "#e0a458",
  remote_peer: "#3d8bb8",
  local_peer: "#2f9e78",
} as const satisfies Record<Scenario, string>;
const SMALL_PRINT_CHARACTERS_MAX = 170;
/** Narrow series should not turn into walls. */
const BAR_WIDTH_MAX = 46;

/** The document's bar chart, with our figures; beside it the speed-ups next to the published ones. */
export function renderChart(data: ChartData): string {
  const half = (WIDTH - 2 * MARGIN - PANEL_GAP) / 2;
  const body = [
    text({ x: MARGIN, y: 44, size: 22, weight: 600 }, "Git LFS through Lacewing"),
    renderLegend(MARGIN, 72),
    renderPanel(secondsPanel(data.measured, { x: MARGIN, width: half })),
    renderPanel(speedUpPanel(data, { x: MARGIN + half + PANEL_GAP, width: half })),
    ...smallPrint(data.conditions),
  ];
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" width="${WIDTH}" height="${HEIGHT}" font-family="Inter, 'Segoe UI', 'Helvetica Neue', 'DejaVu Sans', sans-serif" role="img" aria-label="Seconds to download by git lfs pull in four scenarios">
<defs>${SCENARIOS.map((scenario) => hatch(scenario)).join("")}</defs>
<rect width="${WIDTH}" height="${HEIGHT}" rx="12" fill="#ffffff"/>
${body.join("\n")}
</svg>
`;
}

function secondsPanel(
  measured: readonly Series[],
  place: { readonly x: number; readonly width: number },
): Panel {
  const groups = measured.map((series) => ({
    title: series.label,
    bars: SCENARIOS.map((scenario) => {
      const value = series.seconds[scenario] ?? 0;
      return { value, label: formatSeconds(value), fill: FILLS[scenario], caption: "" };
    }),
  }));
  return { ...place, title: "Time of git lfs pull", subtitle: "seconds, less is better", groups };
}

function speedUpPanel(
  data: ChartData,
  place: { readonly x: number; readonly width: number },
): Panel {
  const groups = (["remote_peer", "local_peer"] as const).map((scenario) => ({
    title: SCENARIO_TITLES[scenario],
    bars: [
      ...data.published.map((series) => speedUpBar(series, scenario, `url(#hatch-${scenario})`)),
      ...data.measured.map((series) => speedUpBar(series, scenario, FILLS[scenario])),
    ],
  }));
  return {
    ...place,
    title: "Times faster than direct",
    subtitle: "more is better; hatched: published for Dragonfly",
    groups,
  };
}

function speedUpBar(series: Series, scenario: Scenario, fill: string): Bar {
  const ratio = ratioToDirect(series, scenario);
  const value = ratio === undefined || ratio === 0 ? 0 : 1 / ratio;
  return { value, label: `${value.toFixed(1)}×`, fill, caption: series.label };
}

function renderPanel(panel: Panel): string {
  const values = panel.groups.flatMap(({ bars }) => bars.map(({ value }) => value));
  const scale = niceScale(Math.max(...values, 0));
  const yOf = (value: number) => PLOT_BOTTOM - (value / scale.max) * (PLOT_BOTTOM - PLOT_TOP);
  const groupWidth = panel.width / Math.max(1, panel.groups.length);
  return [
    text({ x: panel.x, y: 112, size: 15, weight: 600 }, panel.title),
    text({ x: panel.x, y: 130, size: 11, fill: QUIET_INK }, panel.subtitle),
    ...scale.ticks.map((tick) => renderTick(panel, tick, yOf(tick))),
    ...panel.groups.map((group, index) =>
      renderGroup(group, { x: panel.x + index * groupWidth, width: groupWidth, yOf }),
    ),
  ].join("\n");
}

function renderTick(panel: Panel, tick: number, y: number): string {
  const line = `<line x1="${panel.x}" x2="${panel.x + panel.width}" y1="${y}" y2="${y}" stroke="${tick === 0 ? QUIET_INK : GRID}"/>`;
  return `${line}${text({ x: panel.x - 8, y: y + 4, size: 11, fill: QUIET_INK, anchor: "end" }, String(tick))}`;
}

function renderGroup(
  group: Group,
  place: { readonly x: number; readonly width: number; readonly yOf: (value: number) => number },
): string {
  const slot = Math.min(BAR_WIDTH_MAX + 8, (place.width * 0.86) / group.bars.length);
  const barWidth = slot - 8;
  const left = place.x + (place.width - slot * group.bars.length) / 2;
  const bars = group.bars.map((bar, index) => {
    const x = left + index * slot + 4;
    const y = place.yOf(bar.value);
    const middle = x + barWidth / 2;
    return [
      `<path d="${roundedTop(x, y, barWidth, PLOT_BOTTOM - y)}" fill="${bar.fill}"/>`,
      text({ x: middle, y: y - 6, size: 11, weight: 600, anchor: "middle" }, bar.label),
      text(
        { x: middle, y: PLOT_BOTTOM + 15, size: 9, fill: QUIET_INK, anchor: "middle" },
        bar.caption,
      ),
    ].join("");
  });
  const title = { x: place.x + place.width / 2, y: PLOT_BOTTOM + 34, size: 13, weight: 600 };
  return [...bars, text({ ...title, anchor: "middle" }, group.title)].join("\n");
}

function renderLegend(x: number, y: number): string {
  let at = x;
  return SCENARIOS.map((scenario) => {
    const title = SCENARIO_TITLES[scenario];
    const entry = `<rect x="${at}" y="${y - 10}" width="12" height="12" rx="2" fill="${FILLS[scenario]}"/>${text({ x: at + 18, y, size: 12 }, title)}`;
    at += 40 + title.length * 7;
    return entry;
  }).join("");
}

function smallPrint(conditions: string): readonly string[] {
  const lines: string[] = [""];
  for (const part of conditions.split(" · ")) {
    const line = lines.at(-1) ?? "";
    const longer = line === "" ? part : `${line} · ${part}`;
    if (longer.length <= SMALL_PRINT_CHARACTERS_MAX) lines[lines.length - 1] = longer;
    else lines.push(part);
  }
  return lines.map((line, index) =>
    text({ x: MARGIN, y: 500 + index * 16, size: 11, fill: QUIET_INK }, line),
  );
}

/** The first of 1, 2, 2.5, 5 × 10ⁿ that covers the values in at most five steps, with room for a label. */
export function niceScale(max: number): {
  readonly max: number;
  readonly ticks: readonly number[];
} {
  const rough = (max > 0 ? max * 1.06 : 1) / 5;
  const magnitude = 10 ** Math.floor(Math.log10(rough));
  const factor = [1, 2, 2.5, 5, 10].find((candidate) => candidate * magnitude >= rough) ?? 10;
  const step = factor * magnitude;
  const count = Math.ceil((max > 0 ? max * 1.06 : 1) / step);
  const ticks = Array.from({ length: count + 1 }, (_, index) =>
    Number((index * step).toPrecision(6)),
  );
  return { max: count * step, ticks };
}

function formatSeconds(value: number): string {
  return value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

function roundedTop(x: number, y: number, width: number, height: number): string {
  const radius = Math.min(3, height, width / 2);
  return `M${x} ${y + height}V${y + radius}q0 ${-radius} ${radius} ${-radius}h${width - 2 * radius}q${radius} 0 ${radius} ${radius}V${y + height}Z`;
}

function hatch(scenario: Scenario): string {
  return `<pattern id="hatch-${scenario}" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect width="6" height="6" fill="${FILLS[scenario]}" fill-opacity="0.25"/><rect width="2" height="6" fill="${FILLS[scenario]}" fill-opacity="0.6"/></pattern>`;
}

function text(
  style: {
    readonly x: number;
    readonly y: number;
    readonly size: number;
    readonly weight?: number;
    readonly fill?: string;
    readonly anchor?: "start" | "middle" | "end";
  },
  content: string,
): string {
  const weight = style.weight === undefined ? "" : ` font-weight="${style.weight}"`;
  return `<text x="${style.x}" y="${style.y}" font-size="${style.size}"${weight} fill="${style.fill ?? INK}" text-anchor="${style.anchor ?? "start"}">${escapeXml(content)}</text>`;
}

function escapeXml(content: string): string {
  return content.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}
