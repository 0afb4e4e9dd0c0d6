import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { setTimeout as pause } from "node:timers/promises";
import { besideTarget } from "../support/bench-conditions.ts";
import { rssMaxOf, rssOf } from "../support/memory-use.ts";
import {
  type Blob,
  cpuOf,
  curlToNull,
  labConditions,
  type LabPeer,
  openPeerLab,
  type PeerLab,
  say,
} from "./peer-lab.ts";

const MB = 1e6;
const IDLE_MB_MAX = 120;
const IDLE_CORE_MAX = 0.01;
const IDLE_SECONDS = 20;
const MOVING_MB_MAX = 300;
const GROWTH_MB_MAX = 100;
const MOVED_BYTES = 10e9;
const CLIENTS_MB_MAX = 400;
const IDLE_CLIENT_COUNT = 1000;
const ACTIVE_CLIENT_COUNT = 200;
const ACTIVE_SECONDS = 15;
/** Of the contents that are moved. */
const BLOB_BYTES = 2 ** 30;
const SMALL_BYTES = 16 * 1024;

/** What a host needs: at rest, while it moves 10 GB, and with many clients. */
export async function runMemory(): Promise<void> {
  await using lab = await openPeerLab({ peers: 1 });
  const [peer] = lab.peers;
  if (peer === undefined) throw new Error("the cluster has no host");
  await tellIdle(peer);
  const blob = await tellMoving(lab, peer);
  await tellClients(lab, peer, blob);
  say(await labConditions());
}

async function tellIdle(peer: LabPeer): Promise<void> {
  const { cpuSeconds } = await cpuOf([peer.pid], async () => pause(IDLE_SECONDS * 1000));
  const megabytes = (await rssOf(peer.pid)) / MB;
  const share = cpuSeconds / IDLE_SECONDS;
  tell("idle: RSS", megabytes, IDLE_MB_MAX);
  const percent = `${(100 * share).toFixed(1)} % of a core`;
  say(`idle: CPU ${besideTarget(percent, "< 1 %", share < IDLE_CORE_MAX)}`);
}

/** Half of the contents new, half held; of each its first quarter warms up, from which growth counts. */
async function tellMoving(lab: PeerLab, peer: LabPeer): Promise<Blob> {
  let blob = await lab.makeBlob(BLOB_BYTES);
  let movedBytes = 0;
  let early = 0;
  const most = await rssMaxOf(peer.pid, async () => {
    while (movedBytes < MOVED_BYTES) {
      if (movedBytes > 0) blob = await lab.makeBlob(BLOB_BYTES);
      for (let turn = 0; turn < 2; turn++) {
        await curlToNull(peer.urlOf(blob), BLOB_BYTES);
        movedBytes += BLOB_BYTES;
      }
      if (early === 0) early = await rssOf(peer.pid);
    }
  });
  tell(`moving ${(movedBytes / 1e9).toFixed(1)} GB: RSS at most`, most / MB, MOVING_MB_MAX);
  const growth = ((await rssOf(peer.pid)) - early) / MB;
  tell(
    `moving: growth after the first ${((2 * BLOB_BYTES) / 1e9).toFixed(1)} GB`,
    growth,
    GROWTH_MB_MAX,
  );
  return blob;
}

/** Idle ones have had an answer and keep their connection; active ones read a large content as fast as it comes. */
async function tellClients(lab: PeerLab, peer: LabPeer, blob: Blob): Promise<void> {
  const small = await lab.makeBlob(SMALL_BYTES);
  const { hostname, port } = new URL(peer.proxyUrl);
  const sockets: Socket[] = [];
  const open = async (): Promise<Socket> => {
    const socket = connect({ host: hostname, port: Number(port) });
    sockets.push(socket);
    socket.on("error", () => {});
    await once(socket, "connect");
    return socket;
  };
  const ask = (socket: Socket, { path }: Blob) => {
    socket.write(`GET /url/${lab.origin.url}${path} HTTP/1.1\r\nHost: ${hostname}:${port}\r\n\r\n`);
  };
  try {
    for (let count = 0; count < IDLE_CLIENT_COUNT; count++) {
      const socket = await open();
      ask(socket, small);
      const head = await new Promise<string>((resolve) => {
        socket.once("data", (bytes: Buffer) => resolve(bytes.toString("latin1")));
      });
      if (!head.startsWith("HTTP/1.1 200 ")) throw new Error(`refused: ${head}`);
    }
    const active: Socket[] = [];
    while (active.length < ACTIVE_CLIENT_COUNT) active.push(await open());
    let receivedBytes = 0;
    const most = await rssMaxOf(peer.pid, async () => {
      // Not opened one by one here: with what comes in by then, that takes longer than idle clients are kept.
      for (const socket of active) {
        socket.on("data", (chunk: Buffer) => (receivedBytes += chunk.length));
        ask(socket, blob);
      }
      await pause(ACTIVE_SECONDS * 1000);
    });
    const openCount = sockets.filter(({ destroyed }) => !destroyed).length;
    if (openCount < sockets.length)
      throw new Error(`${sockets.length - openCount} clients were dropped`);
    tell(
      `${IDLE_CLIENT_COUNT} idle clients and ${ACTIVE_CLIENT_COUNT} that took ${(receivedBytes / 1e9).toFixed(1)} GB in ${ACTIVE_SECONDS} s: RSS at most`,
      most / MB,
      CLIENTS_MB_MAX,
    );
  } finally {
    for (const socket of sockets) socket.destroy();
  }
}

function tell(what: string, megabytes: number, atMost: number): void {
  say(
    `${what} ${besideTarget(`${megabytes.toFixed(0)} MB`, `≤ ${atMost} MB`, megabytes <= atMost)}`,
  );
}
