import { kill } from "node:process";
import { besideTarget } from "../support/bench-conditions.ts";
import { messageOf } from "@lacewing/runtime/errors.ts";
import {
  type Blob,
  curlToNull,
  labConditions,
  type LabPeer,
  openPeerLab,
  say,
} from "./peer-lab.ts";

const PEER_COUNT = 64;
const FILE_COUNT = 40;
const FILE_BYTES = 4 * 2 ** 20;
const DOWNLOAD_COUNT = 800;
const KILLED_COUNT = 2;
/** Clients at once. */
const CLIENT_COUNT = 16;

/**
 * Many hosts on one machine, clients that download files through random ones of them, and two hosts killed when half of it is
 * done: while they have copies that others read. Clients do not ask through the killed ones.
 */
export async function runSwarm(): Promise<void> {
  await using lab = await openPeerLab({ peers: PEER_COUNT });
  const blobs: Blob[] = [];
  for (let count = 0; count < FILE_COUNT; count++) blobs.push(await lab.makeBlob(FILE_BYTES));
  const killed = lab.peers.slice(0, KILLED_COUNT);
  const asked = lab.peers.slice(KILLED_COUNT);
  // The first to have each file are those that will be killed: everybody begins by reading from them.
  for (const [index, blob] of blobs.entries()) {
    const holder = killed[index % KILLED_COUNT];
    if (holder !== undefined) await curlToNull(holder.urlOf(blob), FILE_BYTES);
  }
  const failures: string[] = [];
  const startedAtMs = performance.now();
  let next = 0;
  const client = async () => {
    while (next < DOWNLOAD_COUNT) {
      const turn = next++;
      if (turn === DOWNLOAD_COUNT / 4) for (const { pid } of killed) kill(pid, "SIGKILL");
      const failure = await failureOf(turn, blobs, asked);
      if (failure !== undefined) failures.push(failure);
    }
  };
  await Promise.all(Array.from({ length: CLIENT_COUNT }, client));
  const seconds = (performance.now() - startedAtMs) / 1000;
  const count = `${failures.length} of ${DOWNLOAD_COUNT} downloads failed`;
  say(
    `${PEER_COUNT} hosts, ${FILE_COUNT} files of ${FILE_BYTES} bytes, ${CLIENT_COUNT} clients, ${KILLED_COUNT} hosts killed: ${besideTarget(count, "0", failures.length === 0)}, ${seconds.toFixed(1)} s`,
  );
  for (const failure of failures.slice(0, 5)) say(`  ${failure}`);
  const sent = await lab.origin.sentBytes();
  const copies =
    [...sent.values()].reduce((sum, bytes) => sum + bytes, 0) / (FILE_COUNT * FILE_BYTES);
  say(`copies that the origin sent: ${copies.toFixed(2)}`);
  say(await labConditions());
}

/** Every file as often as every other, each time through another host. */
async function failureOf(
  turn: number,
  blobs: readonly Blob[],
  peers: readonly LabPeer[],
): Promise<string | undefined> {
  const blob = blobs[turn % blobs.length];
  const peer = peers[(turn * 7 + Math.floor(turn / blobs.length)) % peers.length];
  if (blob === undefined || peer === undefined) return "there is nothing to download";
  try {
    await curlToNull(peer.urlOf(blob), blob.sizeBytes);
    return undefined;
  } catch (error) {
    return `${peer.hostId}: ${messageOf(error)}`;
  }
}
