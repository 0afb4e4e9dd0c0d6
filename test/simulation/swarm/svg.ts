import { idealCurve } from "./bounds.ts";
import type { Scenario } from "./scenario.ts";

/** One line of the picture. */
export interface Curve {
  readonly name: string;
  readonly points: readonly { readonly atMs: number; readonly share: number }[];
}

const WIDTH = 960;
const HEIGHT = 480;
const LEFT = 60;
const RIGHT = 20;
const TOP = 50;
const BOTTOM = 40;
const BOUND_COLOR = "#888888";
const COLORS = ["#0b66c3", "#c2410c", "#15803d", "#7c3aed"];
const TICKS = 5;
/** Points of a line: more are not seen. */
const POINTS_MAX = 600;

/** How much of all that is wanted is held, over time, beside the bound. */
export function progressSvg(scenario: Scenario, curves: readonly Curve[]): string {
  const bound: Curve = { name: "bound", points: idealCurve(scenario) };
  const endMs = Math.max(...[bound, ...curves].map(({ points }) => points.at(-1)?.atMs ?? 0), 1);
  const x = (atMs: number): number => LEFT + (atMs / endMs) * (WIDTH - LEFT - RIGHT);
  const y = (share: number): number => HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM);
  const line = (curve: Curve, color: string, dash: string): string => {
    const points = thinned(curve.points)
      .map(({ atMs, share }) => `${x(atMs).toFixed(1)},${y(share).toFixed(1)}`)
      .join(" ");
    return `<polyline fill="none" stroke="${color}" stroke-width="2"${dash} points="${points}"/>`;
  };
  const shown = [bound, ...curves];
  const colorOf = (at: number): string =>
    at === 0 ? BOUND_COLOR : (COLORS[(at - 1) % COLORS.length] ?? BOUND_COLOR);
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif" font-size="12">`,
    `<rect width="${WIDTH}" height="${HEIGHT}" fill="#ffffff"/>`,
    `<text x="${LEFT}" y="20" font-size="14">${escaped(`${scenario.name}: ${scenario.title}`)}</text>`,
    ...grid(endMs, x, y),
    ...shown.map((curve, at) =>
      line(curve, colorOf(at), at === 0 ? ' stroke-dasharray="6 4"' : ""),
    ),
    ...shown.map(({ name, points }, at) => {
      const end = ((points.at(-1)?.atMs ?? 0) / 1000).toFixed(2);
      return `<text x="${LEFT + 10 + at * 200}" y="${TOP - 10}" fill="${colorOf(at)}">${escaped(name)}: ${end} s</text>`;
    }),
    "</svg>",
    "",
  ].join("\n");
}

function grid(
  endMs: number,
  x: (atMs: number) => number,
  y: (share: number) => number,
): readonly string[] {
  const lines: string[] = [];
  for (let tick = 0; tick <= TICKS; tick++) {
    const share = tick / TICKS;
    const atMs = share * endMs;
    lines.push(
      `<line x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${y(share)}" y2="${y(share)}" stroke="#e5e5e5"/>`,
      `<text x="${LEFT - 8}" y="${y(share) + 4}" text-anchor="end">${(share * 100).toFixed(0)} %</text>`,
      `<text x="${x(atMs)}" y="${HEIGHT - BOTTOM + 18}" text-anchor="middle">${(atMs / 1000).toFixed(1)} s</text>`,
    );
  }
  return lines;
}

function thinned(points: Curve["points"]): Curve["points"] {
  const step = Math.ceil(points.length / POINTS_MAX);
  return points.filter((_, at) => at % step === 0 || at === points.length - 1);
}

function escaped(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
}
