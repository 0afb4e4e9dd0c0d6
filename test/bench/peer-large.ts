import { besideTarget } from "../support/bench-conditions.ts";
import { fileContent } from "../support/content.ts";
import { startLfsOriginProcess } from "../support/lfs-origin-process.ts";
import { formatRate } from "../support/units.ts";
import {
  type Blob,
  cpuOf,
  curlToNull,
  type Download,
  inTurns,
  labConditions,
  type LabPeer,
  median,
  medianOf,
  openPeerLab,
  type PeerLab,
  say,
} from "./peer-lab.ts";

const LOCAL_SPEED_MIN = 0.9;
const LOCAL_CPU_MAX = 1.5;
const REMOTE_BYTES_PER_SECOND_MIN = 0.5e9;
const REMOTE_SPEED_MIN = 0.8;
const COLD_SPEED_MIN = 0.8;
const COLD_TIME_MAX = 1.02;
const SLOW_ORIGIN_BYTES_PER_SECOND = 100e6;
/** Downloads in one measurement of CPU time, which the system counts in steps of 10 ms. */
const HITS_PER_ROUND = 3;

interface Measured extends Download {
  readonly cpuSecondsPerGb: number;
}

/** A content that is on the disk of both: how fast one client gets it, and what it costs the server. */
export async function runLocalLarge(sizeBytes: number, rounds: number): Promise<void> {
  await using lab = await openPeerLab({ peers: 1 });
  const [peer] = lab.peers;
  if (peer === undefined) throw new Error("the cluster has no host");
  const blob = await lab.makeBlob(sizeBytes);
  const direct = `${lab.origin.url}${blob.path}`;
  // Once cold, once to warm up.
  for (let turn = 0; turn < 2; turn++) {
    for (const url of [direct, peer.urlOf(blob)]) await curlToNull(url, sizeBytes);
  }
  const pairs = await inTurns(
    rounds,
    async () => hits(direct, sizeBytes, lab.origin.pids()),
    async () => hits(peer.urlOf(blob), sizeBytes, [peer.pid]),
  );
  tellSpeed(pairs, "nginx sendfile");
  const speeds = pairs.map(({ ours, rival }) => ours.bytesPerSecond / rival.bytesPerSecond);
  const costs = pairs.map(({ ours, rival }) => ours.cpuSecondsPerGb / rival.cpuSecondsPerGb);
  const isFast = median(speeds) >= LOCAL_SPEED_MIN;
  say(
    `throughput against nginx sendfile: ${besideTarget(medianOf(speeds), `≥ ${LOCAL_SPEED_MIN}`, isFast)}`,
  );
  const isCheap = median(costs) <= LOCAL_CPU_MAX;
  say(
    `CPU against nginx sendfile: ${besideTarget(medianOf(costs), `≤ ${LOCAL_CPU_MAX}`, isCheap)}`,
  );
  say(await labConditions());
}

/** A content that another host has: client, child and parent on one machine, against a cache that fills from another nginx. */
export async function runRemoteLarge(sizeBytes: number, rounds: number): Promise<void> {
  await using lab = await openPeerLab({ peers: 2 });
  const [parent, child] = lab.peers;
  if (parent === undefined || child === undefined) throw new Error("the cluster has no two hosts");
  const name = "nginx proxy_cache filling from nginx";
  const pairs = await firstHits(lab, { peer: child, parent, sizeBytes, rounds });
  tellSpeed(pairs, name);
  const speed = median(pairs.map(({ ours }) => ours.bytesPerSecond));
  const target = `≥ ${formatRate(REMOTE_BYTES_PER_SECOND_MIN)}`;
  const isFast = speed >= REMOTE_BYTES_PER_SECOND_MIN;
  say(`to the client, verified: ${besideTarget(formatRate(speed), target, isFast)}`);
  tellRatio(pairs, name, REMOTE_SPEED_MIN);
  say(await labConditions());
}

/** A content that nobody has, from an origin as fast as the machine. */
export async function runColdLarge(sizeBytes: number, rounds: number): Promise<void> {
  await using lab = await openPeerLab({ peers: 1 });
  const [peer] = lab.peers;
  if (peer === undefined) throw new Error("the cluster has no host");
  const pairs = await firstHits(lab, { peer, parent: undefined, sizeBytes, rounds });
  tellSpeed(pairs, "nginx proxy_cache cold");
  tellRatio(pairs, "nginx proxy_cache cold", COLD_SPEED_MIN);
  say(await labConditions());
}

/** A content that nobody has, from an origin that sends {@link SLOW_ORIGIN_BYTES_PER_SECOND}: the time it takes against direct. */
export async function runColdFromSlowOrigin(sizeBytes: number, rounds: number): Promise<void> {
  await using lab = await openPeerLab({ peers: 1 });
  await using origin = await startLfsOriginProcess({
    rateBytesPerSecond: SLOW_ORIGIN_BYTES_PER_SECOND,
  });
  const [peer] = lab.peers;
  if (peer === undefined) throw new Error("the cluster has no host");
  const urls: string[] = [];
  const urlOf = async (round: number): Promise<string> => {
    const known = urls[round];
    if (known !== undefined) return known;
    const blob = await lab.makeBlob(sizeBytes);
    await origin.putFile(blob.path.slice(1), await fileContent(blob.file));
    return (urls[round] = `${origin.url}/files${blob.path}`);
  };
  const pairs = await inTurns(
    rounds,
    async (round) => curlToNull(await urlOf(round), sizeBytes),
    async (round) => curlToNull(`${peer.proxyUrl}/url/${await urlOf(round)}`, sizeBytes),
  );
  const ratios = pairs.map(({ ours, rival }) => ours.seconds / rival.seconds);
  const isMet = median(ratios) <= COLD_TIME_MAX;
  say(`time against direct: ${besideTarget(medianOf(ratios, 3), `≤ ${COLD_TIME_MAX}`, isMet)}`);
  say(`direct: s ${medianOf(pairs.map(({ rival }) => rival.seconds))}`);
  say(`${formatRate(SLOW_ORIGIN_BYTES_PER_SECOND)} · ${await labConditions()}`);
}

/**
 * The first download of contents through a peer, in turns with the first of the same through the caching nginx; one round more
 * than asked for warms everybody's code up. Whoever sends has read the content a moment before: the system may have taken it out
 * of the page cache since it was made.
 */
async function firstHits(
  lab: PeerLab,
  {
    peer,
    parent,
    sizeBytes,
    rounds,
  }: {
    readonly peer: LabPeer;
    /** Has it already; `undefined`: nobody has. */
    readonly parent: LabPeer | undefined;
    readonly sizeBytes: number;
    readonly rounds: number;
  },
) {
  const pids = parent === undefined ? [peer.pid] : [parent.pid, peer.pid];
  const blobs: Blob[] = [];
  const blobOf = async (round: number): Promise<Blob> => {
    const blob = (blobs[round] ??= await lab.makeBlob(sizeBytes));
    await curlToNull(`${lab.origin.url}${blob.path}`, sizeBytes);
    return blob;
  };
  const pairs = await inTurns(
    rounds + 1,
    async (round) => {
      const blob = await blobOf(round);
      return measured(`${lab.rival.url}${blob.path}`, sizeBytes, lab.rival.pids());
    },
    async (round) => {
      const blob = await blobOf(round);
      // The second time it is only read.
      for (let turn = 0; parent !== undefined && turn < 2; turn++) {
        await curlToNull(parent.urlOf(blob), sizeBytes);
      }
      return measured(peer.urlOf(blob), sizeBytes, pids);
    },
  );
  await tellOriginCopies(lab, blobs);
  return pairs.slice(1);
}

async function hits(url: string, sizeBytes: number, pids: readonly number[]): Promise<Measured> {
  const { result, cpuSeconds } = await cpuOf(pids, async () => {
    let seconds = 0;
    for (let turn = 0; turn < HITS_PER_ROUND; turn++) {
      seconds += (await curlToNull(url, sizeBytes)).seconds;
    }
    return seconds;
  });
  const bytes = HITS_PER_ROUND * sizeBytes;
  const cpuSecondsPerGb = cpuSeconds / (bytes / 1e9);
  return { seconds: result, firstByteMs: 0, bytesPerSecond: bytes / result, cpuSecondsPerGb };
}

async function measured(
  url: string,
  sizeBytes: number,
  pids: readonly number[],
): Promise<Measured> {
  const { result, cpuSeconds } = await cpuOf(pids, async () => curlToNull(url, sizeBytes));
  return { ...result, cpuSecondsPerGb: cpuSeconds / (sizeBytes / 1e9) };
}

function tellSpeed(
  pairs: readonly { readonly rival: Measured; readonly ours: Measured }[],
  rivalName: string,
): void {
  const sides = [
    [rivalName, pairs.map(({ rival }) => rival)],
    ["lacewing", pairs.map(({ ours }) => ours)],
  ] as const;
  for (const [name, samples] of sides) {
    const speeds = samples.map(({ bytesPerSecond }) => bytesPerSecond / 1e9);
    const costs = samples.map(({ cpuSecondsPerGb }) => cpuSecondsPerGb);
    say(`${name}: GB/s ${medianOf(speeds)}; CPU s/GB ${medianOf(costs)}`);
  }
}

function tellRatio(
  pairs: readonly { readonly rival: Download; readonly ours: Download }[],
  rivalName: string,
  atLeast: number,
): void {
  const ratios = pairs.map(({ ours, rival }) => ours.bytesPerSecond / rival.bytesPerSecond);
  const isMet = median(ratios) >= atLeast;
  say(`throughput against ${rivalName}: ${besideTarget(medianOf(ratios), `≥ ${atLeast}`, isMet)}`);
}

/** What the origin sent to peers, less what was read before each download and by the rival: one copy, or something is wrong. */
async function tellOriginCopies(lab: PeerLab, blobs: readonly Blob[]): Promise<void> {
  const sent = await lab.origin.sentBytes();
  const copies = blobs.map(({ path, sizeBytes }) => (sent.get(path) ?? 0) / sizeBytes - 3);
  say(`copies that the origin sent to peers: ${medianOf(copies)}`);
}
