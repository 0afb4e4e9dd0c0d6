import { randomBytes } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { Bitmap } from "@lacewing/contracts/bitmap.ts";
import { parseTaskId } from "@lacewing/contracts/ids.ts";
import { pieceSpan } from "@lacewing/contracts/pieces.ts";
import { Secret } from "@lacewing/observability/secret.ts";
import { signSelfToken } from "@lacewing/peer/adapters/piece-transfer/self-token.ts";
import { bytesOf, seededContent } from "../support/content.ts";
import { type HttpAnswer, httpGet } from "../support/http.ts";
import { signedUrlOf } from "../support/lfs-batch-client.ts";
import { type LfsObject, type LfsOrigin, startLfsOrigin } from "../support/lfs-origin.ts";
import { listTasks } from "../support/peer-api.ts";
import { type PeerProcess, startPeerProcess } from "../support/peer-process.ts";
import { memorySink, startPieceClient } from "../support/piece-hosts.ts";
import { seededRandom } from "../support/scheduler-world.ts";
import { makeTempDir } from "../support/temp-dir.ts";

/**
 * Goal: however often a peer is killed in the middle of downloads, no wrong byte comes out of it, neither to a client nor to
 * another host, and no complete content is lost.
 *
 * Method: a real process without a scheduler, killed by SIGKILL when a random number of bytes has reached its clients, and
 * started again on what it left, KILL_COUNT times. What it holds is read back as another host would read it.
 */

const MIB = 2 ** 20;
const KILL_COUNT = 30;
const PRNG_SEED = 20_261_128;
const HOST_ID = "killed";
const SMALL_COUNT = 8;
/** A kill comes after a random share, up to this, of the bytes that its round's clients want. */
const KILL_SPREAD = 1.25;

interface Source {
  readonly object: LfsObject;
  readonly bytes: Buffer;
}

async function offered(origin: LfsOrigin, name: string, sizeBytes: number): Promise<Source> {
  const content = seededContent(name, sizeBytes);
  return { object: await origin.addObject(content), bytes: await bytesOf(content) };
}

/** Every piece that the host says it holds, as another host gets it. */
async function expectOffersRight(
  peer: PeerProcess,
  secret: Secret,
  sources: ReadonlyMap<string, Source>,
): Promise<void> {
  using pieces = startPieceClient();
  for (const task of await listTasks(peer)) {
    const taskId = parseTaskId(task.taskId);
    const source = sources.get(task.anchor);
    if (taskId === undefined || source === undefined)
      throw new RangeError(`unknown: ${task.anchor}`);
    const { pieceCount, lengthBytes, pieceLengthBytes } = task;
    const reader = { childHostId: "child", parentHostId: HOST_ID, taskId, pieceCount };
    const token = signSelfToken(secret, Date.now(), reader);
    const held = new Bitmap(pieceCount);
    held.orBytes(task.bitmap);
    for (const pieceIndex of held) {
      const span = pieceSpan({ lengthBytes, pieceLengthBytes }, pieceIndex);
      const { bytes, sink } = memorySink(span.start, span.end - span.start);
      const isWhole = span.start === 0 && span.end === lengthBytes;
      const read = { address: peer.transferAddress, taskId, span, isWhole, token, traceparent: "" };
      await pieces.read(read, sink, new AbortController().signal);
      expect(bytes.equals(source.bytes.subarray(span.start, span.end))).toBe(true);
    }
  }
}

function expectPrefix(answer: HttpAnswer, { bytes }: Source): void {
  expect(answer.body.equals(bytes.subarray(0, answer.bodyBytes))).toBe(true);
}

test(
  `${KILL_COUNT} times kill -9 in mid-download: right bytes only, nothing complete is lost`,
  { timeout: 600_000 },
  async () => {
    await using dir = await makeTempDir("kills");
    await using origin = await startLfsOrigin();
    const random = seededRandom(PRNG_SEED);
    const secret = randomBytes(32).toString("hex");
    const secretFile = dir.join("secret");
    await writeFile(secretFile, secret);
    const settings = { hostId: HOST_ID, dataDir: dir.join("data"), secretFile };
    const sources = new Map<string, Source>();
    /** Anchors of content that some client got to its end, or that was verified at some start. */
    const complete = new Set<string>();
    let lossCount = 0;

    for (let kill = 0; kill <= KILL_COUNT; kill++) {
      await using peer = await startPeerProcess(settings);
      const tasks = await listTasks(peer);
      for (const anchor of complete) {
        const task = tasks.find((listed) => listed.anchor === anchor);
        if (task?.isVerified !== true || task.heldPieceCount < task.pieceCount) lossCount++;
      }
      for (const { anchor, isVerified } of tasks) if (isVerified) complete.add(anchor);
      await expectOffersRight(peer, new Secret(secret), sources);
      expect(peer.entries.filter(({ level }) => level === "error" || level === 50)).toEqual([]);
      if (kill === KILL_COUNT) break;

      const fresh = await Promise.all([
        offered(origin, `large ${kill}`, 3 * MIB + 12_345),
        ...Array.from({ length: SMALL_COUNT }, async (_, index) =>
          offered(origin, `small ${kill} ${index}`, 20_000 + index),
        ),
      ]);
      for (const source of fresh) sources.set(`sha256:${source.object.oid}`, source);
      // What was broken off before goes on beside what is new.
      const wanted = [...sources.values()].filter(
        ({ object }) => !complete.has(`sha256:${object.oid}`),
      );
      // Some of the kills come after the last byte.
      const wantedBytes = wanted.reduce((sum, { object }) => sum + object.sizeBytes, 0);
      const killAtBytes = Math.floor(random() * KILL_SPREAD * wantedBytes);
      let receivedBytes = 0;
      const downloads = wanted.map(async (source) => {
        const url = await signedUrlOf(origin, source.object.oid);
        const onChunk = (chunk: Buffer): void => {
          receivedBytes += chunk.length;
          if (receivedBytes >= killAtBytes) peer.child.kill("SIGKILL");
        };
        const answer = await httpGet(url, { proxyUrl: peer.proxyUrl, onChunk });
        expectPrefix(answer, source);
        const isWhole = answer.isComplete && answer.bodyBytes === source.object.sizeBytes;
        // Small content is in its file a little later: until then a crash forgets it.
        if (isWhole && source.object.sizeBytes > MIB) complete.add(`sha256:${source.object.oid}`);
      });
      // What came after the kill found nobody there.
      const failures = (await Promise.allSettled(downloads)).flatMap(failureOf);
      expect(failures.filter((text) => !/ECONNRE|socket hang up/i.test(text))).toEqual([]);
      await peer.end("SIGKILL");
    }
    expect(lossCount).toBe(0);
    expect(complete.size).toBeGreaterThan(KILL_COUNT / 2);
  },
);

function failureOf(settled: PromiseSettledResult<void>): readonly string[] {
  return settled.status === "rejected" ? [String(settled.reason)] : [];
}
