/** The four cases of the document, in its order. */
export const SCENARIOS = ["direct", "cold_boot", "remote_peer", "local_peer"] as const;
export type Scenario = (typeof SCENARIOS)[number];

export const SCENARIO_TITLES = {
  direct: "Git LFS direct",
  cold_boot: "cold boot",
  remote_peer: "hit remote peer",
  local_peer: "hit local peer",
} as const satisfies Record<Scenario, string>;

/** Times of one file size in all scenarios. */
export interface Series {
  readonly label: string;
  readonly seconds: Readonly<Partial<Record<Scenario, number>>>;
}

/**
 * What Dragonfly published for the same experiment: seconds of `git lfs pull`, one machine, objects at GitHub.
 * https://www.cncf.io/blog/2024/01/15/dragonfly-accelerates-distribution-of-large-files-with-git-lfs
 */
export const PUBLISHED: readonly Series[] = [
  {
    label: "512 MB",
    seconds: { direct: 43.58, cold_boot: 45.12, remote_peer: 12.85, local_peer: 6.49 },
  },
  {
    label: "1 GB",
    seconds: { direct: 79.31, cold_boot: 80.93, remote_peer: 19.41, local_peer: 11.06 },
  },
];

/** Seconds of a scenario divided by those of the direct download; under 1 is faster. */
export function ratioToDirect(series: Series, scenario: Scenario): number | undefined {
  const { direct } = series.seconds;
  const seconds = series.seconds[scenario];
  return direct === undefined || seconds === undefined || direct === 0
    ? undefined
    : seconds / direct;
}

/** `1.04× time` or `3.4× faster`. */
export function formatRatio(ratio: number | undefined): string {
  if (ratio === undefined) return "–";
  if (ratio === 1) return "1";
  return ratio > 1 / 1.1 ? `${ratio.toFixed(2)}× time` : `${(1 / ratio).toFixed(1)}× faster`;
}
