import { writeFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { besideTarget } from "../support/bench-conditions.ts";
import { runProcessOrThrow } from "../support/processes.ts";
import {
  type Blob,
  cpuOf,
  curlToNull,
  inTurns,
  labConditions,
  type LabPeer,
  median,
  medianOf,
  openPeerLab,
  type PeerLab,
  say,
} from "./peer-lab.ts";
import { runWrk } from "./wrk.ts";

const LARGE_COST_MAX = 1.05;
const SMALL_COST_MAX = 1.15;
const SMALL_BYTES = 16 * 1024;
const WRK = { connections: 4, seconds: 4 };
/** Large hits in one measurement: the system counts CPU time in steps of 10 ms. */
const HITS = 4;
/** Small contents that nobody has, in one measurement, by one client one after the other. */
const COLD_COUNT = 300;
/** A host has worked off so many of them before it is measured. */
const COLD_WARM_UP_TURNS = 3;
/** Spans leave seconds after they ended: they belong to what is measured. */
const EXPORT_WAIT_MS = 4_000;

interface Side {
  readonly lab: PeerLab;
  readonly peer: LabPeer;
  readonly large: Blob;
  readonly small: Blob;
}

/**
 * CPU time of a host with every request traced beside one without traces: large contents that it holds, small ones that nobody
 * has, and one small content again and again, which is told by the second and not by the request.
 */
export async function runTracing(sizeBytes: number, rounds: number): Promise<void> {
  await using offLab = await openPeerLab({ peers: 1, env: { LACEWING_TRACE_RATIO: "0" } });
  await using onLab = await openPeerLab({ peers: 1, env: { LACEWING_TRACE_RATIO: "1" } });
  const off = await sideOf(offLab, sizeBytes);
  const on = await sideOf(onLab, sizeBytes);
  const large = await inTurns(
    rounds,
    async () => largeCost(off),
    async () => largeCost(on),
  );
  const small = await inTurns(
    rounds,
    async () => coldCost(off),
    async () => coldCost(on),
  );
  const again = await inTurns(
    rounds,
    async () => hitCost(off),
    async () => hitCost(on),
  );
  for (const [name, pairs, unit, atMost] of [
    ["large", large, "s/GB", LARGE_COST_MAX],
    ["small", small, "ms/request", SMALL_COST_MAX],
    ["small, held, again and again", again, "ms/request", SMALL_COST_MAX],
  ] as const) {
    const ratios = pairs.map(({ ours, rival }) => ours / rival);
    const isMet = median(ratios) <= atMost;
    say(
      `${name}: CPU with traces against without: ${besideTarget(medianOf(ratios), `≤ ${atMost}`, isMet)}`,
    );
    say(
      `  ${unit} with ${medianOf(
        pairs.map(({ ours }) => ours),
        3,
      )}, without ${medianOf(
        pairs.map(({ rival }) => rival),
        3,
      )}`,
    );
  }
  say(await labConditions());
}

/** Both contents held, the code warm. */
async function sideOf(lab: PeerLab, sizeBytes: number): Promise<Side> {
  const [peer] = lab.peers;
  if (peer === undefined) throw new Error("the cluster has no host");
  const side = {
    lab,
    peer,
    large: await lab.makeBlob(sizeBytes),
    small: await lab.makeBlob(SMALL_BYTES),
  };
  await largeCost(side);
  for (let turn = 0; turn < COLD_WARM_UP_TURNS; turn++) await coldCost(side);
  await hitCost(side);
  return side;
}

async function largeCost({ peer, large }: Side): Promise<number> {
  const { cpuSeconds } = await cpuOf([peer.pid], async () => {
    for (let turn = 0; turn < HITS; turn++) await curlToNull(peer.urlOf(large), large.sizeBytes);
  });
  return cpuSeconds / ((HITS * large.sizeBytes) / 1e9);
}

async function coldCost({ lab, peer }: Side): Promise<number> {
  const transfers: string[] = [];
  for (let count = 0; count < COLD_COUNT; count++) {
    const blob = await lab.makeBlob(SMALL_BYTES);
    transfers.push(`url = "${peer.urlOf(blob)}"\noutput = "/dev/null"\n`);
  }
  const list = lab.dir.join("urls");
  await writeFile(list, transfers.join(""));
  const { cpuSeconds } = await cpuOf([peer.pid], async () => {
    await runProcessOrThrow({ command: "curl", args: ["-sS", "--fail", "-K", list] });
    await sleep(EXPORT_WAIT_MS);
  });
  return (cpuSeconds * 1000) / COLD_COUNT;
}

async function hitCost({ peer, small }: Side): Promise<number> {
  const url = peer.urlOf(small);
  const { result, cpuSeconds } = await cpuOf([peer.pid], async () => runWrk(url, WRK));
  return (cpuSeconds * 1000) / result.requestCount;
}
