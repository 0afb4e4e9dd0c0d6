import { pieceCountOfTask, type Scenario } from "./scenario.ts";

/**
 * Times that no schedule can beat, in milliseconds, for one content that all hosts ask for at once. The fluid ones let bits be
 * passed on as they arrive (Kumar and Ross 2006); the discrete one is of equal hosts that pass on whole pieces (Mundinger, Weber
 * and Weiss 2008).
 */
export interface Bounds {
  /** The origin sends every byte once. */
  readonly originMs: number;
  /** The slowest way in takes every byte. */
  readonly slowestHostMs: number;
  /** All uplinks together send everything that is received. */
  readonly workMs: number;
  /** Every zone lets one copy in. */
  readonly zoneEntryMs: number;
  /** What a zone's hosts receive came in or was sent by one of them. */
  readonly zoneWorkMs: number;
  /** Whole pieces among equals; undefined where hosts differ. */
  readonly discreteMs: number | undefined;
  /** The largest of all. */
  readonly lowestMs: number;
}

export function boundsOf(scenario: Scenario): Bounds {
  const { hosts, tasks, origin, zones } = scenario;
  const [task] = tasks;
  if (task === undefined) throw new RangeError("a scenario without content has no bound");
  const bytes = tasks.reduce((sum, { lengthBytes }) => sum + lengthBytes, 0);
  const takers = hosts.filter(({ wants, kind }) => wants.length > 0 || kind === "seed");
  const up = sum(takers.map(({ upBytesPerMs }) => upBytesPerMs));
  const received = sum(
    takers.map(({ wants, kind }) =>
      kind === "seed" ? bytes : sum(wants.map((want) => tasks[want.task]?.lengthBytes ?? 0)),
    ),
  );
  const originMs = bytes / origin.upBytesPerMs;
  const slowestHostMs = Math.max(
    ...takers.map(
      ({ wants, downBytesPerMs }) =>
        sum(wants.map((want) => tasks[want.task]?.lengthBytes ?? 0)) / downBytesPerMs,
    ),
  );
  const workMs = received / (origin.upBytesPerMs + up);
  const zoneEntryMs = Math.max(0, ...zones.map((zone) => bytes / zone.ingressBytesPerMs));
  const zoneWorkMs = Math.max(
    0,
    ...zones.map((zone) => {
      const inside = takers.filter(({ idc }) => idc === zone.idc);
      const insideUp = sum(inside.map(({ upBytesPerMs }) => upBytesPerMs));
      return (inside.length * bytes) / (zone.ingressBytesPerMs + insideUp);
    }),
  );
  const discreteMs = areEqual(scenario)
    ? (pieceCountOfTask(task) + Math.floor(Math.log2(takers.length))) *
      (task.pieceBytes / origin.upBytesPerMs)
    : undefined;
  const lowestMs = Math.max(
    originMs,
    slowestHostMs,
    workMs,
    zoneEntryMs,
    zoneWorkMs,
    discreteMs ?? 0,
  );
  return { originMs, slowestHostMs, workMs, zoneEntryMs, zoneWorkMs, discreteMs, lowestMs };
}

/** The most pieces that can be held at a time, for the picture: doubling at first, then one piece for each host and round. */
export function idealCurve(
  scenario: Scenario,
): readonly { readonly atMs: number; readonly share: number }[] {
  const { lowestMs } = boundsOf(scenario);
  const [task] = scenario.tasks;
  if (task === undefined || !areEqual(scenario)) {
    return [
      { atMs: 0, share: 0 },
      { atMs: lowestMs, share: 1 },
    ];
  }
  const roundMs = task.pieceBytes / scenario.origin.upBytesPerMs;
  const hostCount = scenario.hosts.length;
  const wanted = hostCount * pieceCountOfTask(task);
  const points = [{ atMs: 0, share: 0 }];
  let held = 0;
  for (let round = 1; held < wanted; round++) {
    held = Math.min(wanted, held + Math.min(2 ** (round - 1), hostCount));
    points.push({ atMs: round * roundMs, share: held / wanted });
  }
  return points;
}

/** One content, asked for at once by hosts that send as fast as the origin and receive no slower. */
function areEqual({ hosts, tasks, origin }: Scenario): boolean {
  if (tasks.length !== 1 || hosts.length === 0) return false;
  return hosts.every(
    ({ upBytesPerMs, downBytesPerMs, wants, kind }) =>
      upBytesPerMs === origin.upBytesPerMs &&
      downBytesPerMs >= upBytesPerMs &&
      kind === "normal" &&
      wants.length === 1,
  );
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
