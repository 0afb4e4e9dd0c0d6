import { createServer, type Server, type Socket } from "node:net";
import { once } from "node:events";
import type { LeaseTokenClaims } from "@lacewing/contracts/gen/lacewing/assignments/v1/lease_token.ts";
import { type HostId, parseHostId } from "@lacewing/contracts/ids.ts";
import { signLeaseToken } from "@lacewing/contracts/lease-token.ts";
import { createMemoryLog } from "@lacewing/observability/memory-log.ts";
import { Secret } from "@lacewing/observability/secret.ts";
import { openPieceStore } from "@lacewing/peer/adapters/piece-store/piece-store.ts";
import {
  createPieceClient,
  type PieceClientLimits,
} from "@lacewing/peer/adapters/piece-transfer/piece-client.ts";
import { clusterHmac } from "@lacewing/runtime/cluster-secret.ts";
import {
  type PieceServerOptions,
  startPieceServer,
} from "@lacewing/peer/adapters/piece-transfer/piece-server.ts";
import { PieceArrivals } from "@lacewing/peer/app/piece-arrivals.ts";
import type {
  ParentRead,
  StoredTask,
  TaskDescription,
  TransferSink,
} from "@lacewing/peer/app/ports.ts";
import { systemClock } from "@lacewing/runtime/clock.ts";
import { bytesOf, seededContent } from "./content.ts";
import { aTask, fillTask } from "./task-builders.ts";
import { makeTempDir } from "./temp-dir.ts";
import { waitFor } from "./wait-for.ts";

export const CLUSTER_SECRET = new Secret("a secret of tests");
export const PARENT_HOST = hostId("parent");

export function hostId(text: string): HostId {
  const id = parseHostId(text);
  if (id === undefined) throw new Error(`"${text}" is no host id`);
  return id;
}

/** A store on disk with a piece server over it; both end with the scope. */
export async function startParent(overrides: Partial<PieceServerOptions> = {}) {
  const dir = await makeTempDir("parent");
  const log = createMemoryLog();
  const store = await openPieceStore({
    dataDir: dir.path,
    clock: systemClock,
    log,
    hashWorkers: 1,
  });
  const arrivals = new PieceArrivals();
  let sentBytes = 0;
  const server = await startPieceServer({
    listen: { host: "127.0.0.1", port: 0 },
    hostId: PARENT_HOST,
    clusterSecret: CLUSTER_SECRET,
    store,
    arrivals,
    clock: systemClock,
    log,
    isReady: () => true,
    metrics: () => "lacewing_test 1\n",
    serveBytes: { add: (bytes) => (sentBytes += bytes) },
    ...overrides,
  });
  return {
    dir,
    log,
    store,
    arrivals,
    server,
    get sentBytes() {
      return sentBytes;
    },
    [Symbol.asyncDispose]: async () => {
      await server.close();
      await store.close();
      await dir[Symbol.asyncDispose]();
    },
  };
}

/** A token for every piece of a task at {@link PARENT_HOST}, unless said otherwise. */
export function aToken(
  task: { readonly description: TaskDescription },
  overrides: Partial<LeaseTokenClaims> = {},
): string {
  const { taskId, lengthBytes, pieceLengthBytes } = task.description;
  const claims: LeaseTokenClaims = {
    leaseId: "0-1-1",
    taskId,
    childHostId: "child",
    parentHostId: PARENT_HOST,
    pieces: [{ start: 0, count: Math.ceil(lengthBytes / pieceLengthBytes) }],
    expiresAtMs: Date.now() + 60_000,
    degraded: false,
    ahead: false,
    ...overrides,
  };
  return signLeaseToken(claims, clusterHmac(CLUSTER_SECRET));
}

export type Parent = Awaited<ReturnType<typeof startParent>>;

export async function created(parent: Parent, description: TaskDescription): Promise<StoredTask> {
  const task = await parent.store.create(description);
  if (typeof task === "string") throw new Error(`refused: ${task}`);
  return task;
}

/** A whole content, and the parent's task that holds it. */
export async function holding(parent: Parent, name: string, lengthBytes: number) {
  const content = await bytesOf(seededContent(name, lengthBytes));
  const task = await created(parent, aTask(name, lengthBytes));
  await fillTask(task, content);
  await new Promise((resolve) => setImmediate(resolve));
  return { content, task };
}

/** A read of a span, of everything when none is named, with a token that covers the whole task. */
export function aRead(
  address: string,
  task: { readonly description: TaskDescription },
  span: { start: number; end: number } = { start: 0, end: task.description.lengthBytes },
  token: string = aToken(task),
): ParentRead {
  const { taskId, lengthBytes } = task.description;
  const isWhole = span.start === 0 && span.end === lengthBytes;
  return { address, taskId, span, isWhole, token, traceparent: "" };
}

/** A piece client that ends with the scope. */
export function startPieceClient(limits: Partial<PieceClientLimits> = {}) {
  const made = createPieceClient(limits);
  return { ...made, [Symbol.dispose]: () => made.close() };
}

/** A sink that keeps the bytes of one span in memory. */
export function memorySink(start: number, lengthBytes: number) {
  const bytes = Buffer.alloc(lengthBytes);
  const offsets: number[] = [];
  const write = async (buffer: Uint8Array, offset: number) => {
    bytes.set(buffer, offset - start);
  };
  const written = (endOffset: number) => {
    offsets.push(endOffset);
  };
  const sink: TransferSink = { write, written };
  return { bytes, offsets, sink, write, written };
}

/** A sink that writes into a stored task. */
export function taskSink(task: StoredTask): TransferSink {
  return { write: async (buffer, offset) => task.write(buffer, offset), written: () => {} };
}

/** A server that does with each connection what a test wants; ends with the scope. */
export async function startRawServer(onConnection: (socket: Socket, index: number) => void) {
  const sockets = new Set<Socket>();
  let count = 0;
  const server: Server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    socket.on("close", () => sockets.delete(socket));
    onConnection(socket, count++);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const bound = server.address();
  if (bound === null || typeof bound === "string") throw new Error("not a TCP address");
  return {
    address: `127.0.0.1:${bound.port}`,
    get connectionCount() {
      return count;
    },
    get openCount() {
      return sockets.size;
    },
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
}

/** Sockets and timers open now. @returns a wait until there are no more than that. */
export function countOpenHandles(): () => Promise<void> {
  const openCount = () =>
    process.getActiveResourcesInfo().filter((kind) => /TCP|Timeout/.test(kind)).length;
  const before = openCount();
  return async () => {
    await waitFor("sockets and timers to be gone", () => openCount() <= before);
  };
}
