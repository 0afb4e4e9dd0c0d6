import { fork } from "node:child_process";
import { once } from "node:events";
import { cpus } from "node:os";
import { parseArgs } from "node:util";
import { createMemoryLog } from "@lacewing/observability/memory-log.ts";
import { openPieceStore } from "@lacewing/peer/adapters/piece-store/piece-store.ts";
import { createPieceClient } from "@lacewing/peer/adapters/piece-transfer/piece-client.ts";
import type { StoredTask, TransferSink } from "@lacewing/peer/app/ports.ts";
import { pieceLengthOf } from "@lacewing/contracts/piece-length.ts";
import { pieceSpan } from "@lacewing/contracts/pieces.ts";
import { systemClock } from "@lacewing/runtime/clock.ts";
import { z } from "zod";
import { openContent, seededContent } from "../support/content.ts";
import { aToken, startParent } from "../support/piece-hosts.ts";
import { aTask } from "../support/task-builders.ts";
import { makeTempDir } from "../support/temp-dir.ts";

/**
 * How fast one child reads one content from one parent in another process over loopback, and what both pay for it:
 *
 *   node test/bench/piece-transfer.ts [--mib 1024] [--connections 2]
 *
 * `null sink` throws the bytes away; `store` writes them, hashes each piece and the whole, and journals. Both files are in
 * the page cache. Parent and child share the machine, so the figures are of use as ratios on one machine only.
 */
const NAME = "bench";
const { values } = parseArgs({
  options: {
    mib: { type: "string", default: "1024" },
    connections: { type: "string", default: "2" },
    parent: { type: "boolean", default: false },
  },
});
const lengthBytes = Number(values.mib) * 2 ** 20;
const connectionCount = Number(values.connections);
const description = aTask(NAME, lengthBytes, { pieceLengthBytes: pieceLengthOf(lengthBytes) });

const fromParent = z.union([
  z.object({ address: z.string(), digests: z.array(z.string()) }),
  z.object({ cpuSeconds: z.number() }),
]);

await (values.parent ? runParent() : runChild());

/** Makes the content, serves it, and tells on request what CPU time it has used so far. */
async function runParent(): Promise<void> {
  const parent = await startParent();
  const task = await parent.store.create(description);
  if (typeof task === "string") throw new Error(task);
  await using content = await openContent(seededContent(NAME, lengthBytes));
  for (let index = 0; index < task.held.size; index++) {
    const { start, end } = pieceSpan(task.layout, index);
    await task.write(await content.read(start, end - start), start);
    await task.commitPiece(index, undefined);
  }
  await task.contentDigest();
  const digests = [...task.held].map((index) =>
    Buffer.from(task.digestOf(index) ?? []).toString("hex"),
  );
  process.on("message", () => process.send?.({ cpuSeconds: cpuSeconds() }));
  process.send?.({ address: parent.server.address, digests });
  await once(process, "disconnect");
  await parent[Symbol.asyncDispose]();
  process.exit();
}

async function runChild(): Promise<void> {
  const parent = fork(new URL(import.meta.url), [...process.argv.slice(2), "--parent"]);
  const ask = async () => {
    const messages: readonly unknown[] = await once(parent, "message");
    return fromParent.parse(messages[0]);
  };
  const ready = await ask();
  if (!("address" in ready)) throw new Error("the parent process did not say where it listens");
  const parentCpuSeconds = async () => {
    const answered = ask();
    parent.send("cpu");
    const answer = await answered;
    return "cpuSeconds" in answer ? answer.cpuSeconds : Number.NaN;
  };
  print(
    `${values.mib} MiB, ${connectionCount} connections, Node ${process.version}, ${cpus().length} x ${cpus()[0]?.model}`,
  );
  for (const [name, run] of [
    ["null sink", runNull],
    ["store", runStore],
  ] as const) {
    for (let round = 0; round < 3; round++) {
      const before = [performance.now(), cpuSeconds(), await parentCpuSeconds()] as const;
      const seconds = await run(ready.address, ready.digests);
      const gigabytes = lengthBytes / 1e9;
      const child = (cpuSeconds() - before[1]) / gigabytes;
      const server = ((await parentCpuSeconds()) - before[2]) / gigabytes;
      print(
        `${name.padEnd(10)} ${(gigabytes / seconds).toFixed(2)} GB/s, CPU s/GB: child ${child.toFixed(2)}, parent ${server.toFixed(2)}, RSS ${Math.round(process.memoryUsage.rss() / 1e6)} MB`,
      );
    }
  }
  parent.disconnect();
  await once(parent, "exit");
}

async function runNull(address: string): Promise<number> {
  const startedAtMs = performance.now();
  await readAll(address, { write: async () => {}, written: () => {} }, () => {});
  return (performance.now() - startedAtMs) / 1000;
}

async function runStore(address: string, digests: readonly string[]): Promise<number> {
  await using dir = await makeTempDir("bench");
  const log = createMemoryLog();
  const store = await openPieceStore({ dataDir: dir.path, clock: systemClock, log });
  const task = await store.create(description);
  if (typeof task === "string") throw new Error(task);
  const startedAtMs = performance.now();
  const commits: Promise<void>[] = [];
  const sink = {
    write: async (buffer: Uint8Array, offset: number) => task.write(buffer, offset),
    written: () => {},
  };
  await readAll(address, sink, (index) => commits.push(commit(task, index, digests[index] ?? "")));
  await Promise.all(commits);
  await task.contentDigest();
  const seconds = (performance.now() - startedAtMs) / 1000;
  await store.close();
  return seconds;
}

async function commit(task: StoredTask, index: number, digest: string): Promise<void> {
  const { ok } = await task.commitPiece(index, Buffer.from(digest, "hex"));
  if (!ok) throw new Error(`piece ${index} arrived damaged`);
}

/** Each connection takes the next piece that nobody has taken. */
async function readAll(
  address: string,
  sink: TransferSink,
  onPiece: (pieceIndex: number) => void,
): Promise<void> {
  const client = createPieceClient();
  const token = aToken({ description });
  const never = new AbortController().signal;
  const pieceCount = Math.ceil(lengthBytes / description.pieceLengthBytes);
  let next = 0;
  const readOn = async () => {
    while (next < pieceCount) {
      const index = next++;
      const span = pieceSpan(description, index);
      const { taskId } = description;
      const read = { address, taskId, span, isWhole: false, token, traceparent: "" };
      await client.read(read, sink, never);
      onPiece(index);
    }
  };
  await Promise.all(Array.from({ length: connectionCount }, readOn));
  client.close();
}

function cpuSeconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}
