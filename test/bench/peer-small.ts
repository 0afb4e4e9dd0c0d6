import { besideTarget } from "../support/bench-conditions.ts";
import { quantilesOf } from "../support/quantiles.ts";
import {
  type Blob,
  curlToNull,
  inTurns,
  labConditions,
  median,
  medianOf,
  openPeerLab,
  say,
} from "./peer-lab.ts";
import { runSmallObjects } from "./small-objects.ts";
import { runWrk } from "./wrk.ts";

const SMALL_BYTES = 16 * 1024;
const REQUESTS_PER_SECOND_MIN = 15_000;
const RIVAL_SHARE_MIN = 0.25;
const LOCAL_P50_MS_MAX = 1;
const REMOTE_P50_MS_MAX = 10;
const ADDED_TTFB_MS_MAX = 10;
const WRK_SECONDS = 4;
/** Contents in a row, each asked for once. */
const REMOTE_COUNT = 300;
/** Told apart: those just after a start, when the first few are done, and those of a host that has been in service for a while. */
const START_COUNT = 20;
const WARM_UP_COUNT = 150;
const TTFB_COUNT = 250;
const TTFB_BYTES = 2 ** 20;
const LFS_COUNT = 5000;
const LFS_COLD_MAX = 1.2;
const LFS_REMOTE_MAX = 1;

/** A small content that everybody may read, from the disk of both: many connections, and few. */
export async function runLocalSmall(rounds: number): Promise<void> {
  await using lab = await openPeerLab({ peers: 1 });
  const [peer] = lab.peers;
  if (peer === undefined) throw new Error("the cluster has no host");
  const blob = await lab.makeBlob(SMALL_BYTES);
  const urls = [`${lab.rival.url}${blob.path}`, peer.urlOf(blob)] as const;
  for (const url of urls) await runWrk(url, { connections: 4, seconds: 1 });
  for (const connections of [64, 4]) {
    const load = { connections, seconds: WRK_SECONDS };
    const pairs = await inTurns(
      rounds,
      async () => runWrk(urls[0], load),
      async () => runWrk(urls[1], load),
    );
    const rates = pairs.map(({ ours }) => ours.requestsPerSecond);
    const shares = pairs.map(({ ours, rival }) => ours.requestsPerSecond / rival.requestsPerSecond);
    const isFast = median(rates) >= REQUESTS_PER_SECOND_MIN || median(shares) >= RIVAL_SHARE_MIN;
    say(
      `${connections} connections: nginx proxy_cache ${medianOf(
        pairs.map(({ rival }) => rival.requestsPerSecond),
        0,
      )}/s`,
    );
    const target = `≥ ${REQUESTS_PER_SECOND_MIN}/s or ≥ ${RIVAL_SHARE_MIN} of it`;
    say(
      `  lacewing ${besideTarget(`${medianOf(rates, 0)}/s, share ${medianOf(shares)}`, target, isFast)}`,
    );
    const late = pairs.reduce((sum, { ours }) => sum + ours.lateCount, 0);
    if (late > 0) say(`  ${late} answers took more than 2 s`);
    const p50 = pairs.map(({ ours }) => ours.p50Ms);
    const isPrompt = median(p50) <= LOCAL_P50_MS_MAX;
    // With many connections on few cores the time is that of waiting in line.
    const said =
      connections === 4
        ? besideTarget(`${medianOf(p50)} ms`, `≤ ${LOCAL_P50_MS_MAX} ms`, isPrompt)
        : `${medianOf(p50)} ms`;
    say(`  p50 ${said}; nginx ${medianOf(pairs.map(({ rival }) => rival.p50Ms))} ms`);
  }
  say(await labConditions());
}

/** Small contents of another host, one after the other, each asked for the first time: scheduling and all. */
export async function runRemoteSmall(): Promise<void> {
  await using lab = await openPeerLab({ peers: 2 });
  const [parent, child] = lab.peers;
  if (parent === undefined || child === undefined) throw new Error("the cluster has no two hosts");
  const blobs: Blob[] = [];
  for (let count = 0; count < REMOTE_COUNT; count++) {
    const blob = await lab.makeBlob(SMALL_BYTES);
    await curlToNull(parent.urlOf(blob), SMALL_BYTES);
    blobs.push(blob);
  }
  const times: number[] = [];
  for (const blob of blobs) {
    times.push((await curlToNull(child.urlOf(blob), SMALL_BYTES)).seconds * 1000);
  }
  sayLatency("", times, REMOTE_P50_MS_MAX, "connection included");
  say(await labConditions());
}

/** How much later the first byte of a content that nobody has comes through a peer than from the origin itself. */
export async function runAddedTtfb(): Promise<void> {
  await using lab = await openPeerLab({ peers: 1 });
  const [peer] = lab.peers;
  if (peer === undefined) throw new Error("the cluster has no host");
  const blobs: Blob[] = [];
  for (let count = 0; count < TTFB_COUNT; count++) blobs.push(await lab.makeBlob(TTFB_BYTES));
  const urls = blobs.map((blob) => ({
    direct: `${lab.origin.url}${blob.path}`,
    own: peer.urlOf(blob),
  }));
  const pairs = await inTurns(
    TTFB_COUNT,
    async (round) => (await curlToNull(urls[round]?.direct ?? "", TTFB_BYTES)).firstByteMs,
    async (round) => (await curlToNull(urls[round]?.own ?? "", TTFB_BYTES)).firstByteMs,
  );
  const added = pairs.map(({ ours, rival }) => ours - rival);
  const direct = quantilesOf(pairs.map(({ rival }) => rival)).p50.toFixed(1);
  sayLatency("added ", added, ADDED_TTFB_MS_MAX, `direct p50 ${direct} ms`);
  say(await labConditions());
}

/** The same target for a host just after its start and for one in service. @param times ms, in the order in which they were taken. */
function sayLatency(what: string, times: readonly number[], p50Max: number, how: string): void {
  for (const [when, sample] of [
    [`in service, after ${WARM_UP_COUNT} others`, times.slice(WARM_UP_COUNT)],
    [`just after a start, after ${START_COUNT}`, times.slice(START_COUNT, WARM_UP_COUNT)],
  ] as const) {
    const { p50, p99 } = quantilesOf(sample);
    const text = besideTarget(`${p50.toFixed(1)} ms`, `≤ ${p50Max} ms`, p50 <= p50Max);
    say(`${when}: ${what}p50 ${text}, p99 ${p99.toFixed(1)} ms, ${how}`);
  }
}

/** Thousands of Git LFS objects by the real client. */
export async function runManyLfsObjects(rounds: number): Promise<void> {
  const ratios = await runSmallObjects({
    objectCount: LFS_COUNT,
    size: "20KiB",
    rounds,
    distanceMs: 0,
  });
  const cold = median(ratios.cold);
  const remote = median(ratios.fromTheOtherHost);
  say(
    `cold: ${besideTarget(`${cold.toFixed(2)}x direct`, `≤ ${LFS_COLD_MAX}`, cold <= LFS_COLD_MAX)}`,
  );
  say(
    `from another host: ${besideTarget(`${remote.toFixed(2)}x direct`, `≤ ${LFS_REMOTE_MAX}`, remote <= LFS_REMOTE_MAX)}`,
  );
}
