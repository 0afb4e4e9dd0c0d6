import { createHash, randomUUID } from "node:crypto";
import type { Socket } from "node:net";
import { jetstream } from "@nats-io/jetstream";
import { Bitmap } from "@lacewing/contracts/bitmap.ts";
import { EVENT_VERSION } from "@lacewing/contracts/events/decode.ts";
import { type Event, EventMessage } from "@lacewing/contracts/gen/lacewing/events/v1/events.ts";
import { digestOfHex, type TaskId, taskIdOf } from "@lacewing/contracts/ids.ts";
import { inventoryDigest } from "@lacewing/contracts/inventory.ts";
import { pieceLengthOf } from "@lacewing/contracts/piece-length.ts";
import { sliceOf } from "@lacewing/contracts/slices.ts";
import { eventsSubject, hostSubject, inboxPrefix } from "@lacewing/contracts/subjects.ts";
import { connectNats } from "@lacewing/runtime/nats.ts";
import { bytesOf, type Content } from "./content.ts";
import { hostId } from "./piece-hosts.ts";
import { startRawServer } from "./piece-hosts.ts";

/** What a parent does with a request for a span of a task's bytes. */
export type Misbehaviour = (socket: Socket, span: PieceSpanRequest) => void;

export interface PieceSpanRequest {
  readonly start: number;
  /** Inclusive, as in the `Range` header. */
  readonly last: number;
  readonly lengthBytes: number;
}

/** A host that exists only in events and answers its children as a test wants. */
export interface FakeHost {
  readonly hostId: string;
  /** Claims to hold all of an LFS object of an origin, with the right digests. */
  claim(
    origin: { readonly port: number },
    content: Content,
    behaviour: Misbehaviour,
  ): Promise<{ readonly taskId: TaskId; readonly requestCount: () => number }>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** A request's head is a few hundred bytes and a token. */
const HEAD_BYTES_MAX = 64 * 1024;

interface Claim {
  readonly behaviour: Misbehaviour;
  readonly lengthBytes: number;
  requestCount: number;
}

/** Announces a host of that name to the scheduler behind `natsUrl`; it leaves in order when its scope ends. */
export async function startFakeHost(natsUrl: string, name: string): Promise<FakeHost> {
  const id = hostId(name);
  const claims = new Map<string, Claim>();
  const server = await startRawServer((socket) => {
    answerRequests(socket, claims);
  });
  const connection = await connectNats({ url: natsUrl, name, inboxPrefix: inboxPrefix(name) });
  const broker = jetstream(connection);
  const bootId = randomUUID();
  const inventory: { taskId: TaskId; incarnation: number; heldPieceCount: number }[] = [];
  let sequence = 0;

  async function publish(subject: string, ...kinds: readonly Event["kind"][]): Promise<void> {
    const message = EventMessage.encode({
      version: EVENT_VERSION,
      hostId: id,
      bootId,
      sequence: ++sequence,
      sentAtMs: Date.now(),
      events: kinds.map((kind) => ({ traceparent: "", kind })),
    }).finish();
    await broker.publish(subject, message, { msgID: `${id}:${bootId}:${sequence}` });
  }

  async function announce(): Promise<void> {
    await publish(hostSubject(id), {
      $case: "hostAnnounced",
      value: {
        kind: "normal",
        transferAddress: server.address,
        idc: "local",
        location: `local|${name}`,
        uploadSlots: 16,
        freeBytes: 2 ** 30,
        quotaBytes: 2 ** 30,
        inventoryDigest: inventoryDigest(inventory),
        liveLeaseIds: [],
        full: true,
        liveRequestIds: [],
      },
    });
  }

  await announce();
  return {
    hostId: name,
    claim: async (origin, content, behaviour) => {
      const bytes = await bytesOf(content);
      const oid = sha256(bytes).toString("hex");
      const anchor = digestOfHex(oid) ?? "";
      const sharingDomain = `127.0.0.1:${origin.port}`;
      const taskId = taskIdOf(sharingDomain, ["anchor", anchor], (text) =>
        sha256(Buffer.from(text)).toString("hex"),
      );
      const pieceLengthBytes = pieceLengthOf(bytes.length);
      const digests = Array.from(
        { length: Math.ceil(bytes.length / pieceLengthBytes) },
        (_, pieceIndex) => ({
          pieceIndex,
          sha256: sha256(
            bytes.subarray(pieceIndex * pieceLengthBytes, (pieceIndex + 1) * pieceLengthBytes),
          ),
        }),
      );
      const bitmap = new Bitmap(digests.length);
      for (const { pieceIndex } of digests) bitmap.add(pieceIndex);
      const claim: Claim = { behaviour, lengthBytes: bytes.length, requestCount: 0 };
      claims.set(taskId, claim);
      inventory.push({ taskId, incarnation: 1, heldPieceCount: digests.length });
      await publish(
        eventsSubject(sliceOf(taskId), id),
        {
          $case: "taskDescribed",
          value: {
            taskId,
            lengthBytes: bytes.length,
            pieceLengthBytes,
            etag: "",
            lastModified: "",
            contentType: "",
            anchor,
            url: `http://${sharingDomain}/`,
            sharingDomain,
          },
        },
        {
          $case: "piecesAvailable",
          value: { taskId, incarnation: 1, bitmap: bitmap.toBytes(), digests, leasesEnded: [] },
        },
      );
      await announce();
      return { taskId, requestCount: () => claim.requestCount };
    },
    [Symbol.asyncDispose]: async () => {
      await publish(hostSubject(id), { $case: "hostLeft", value: {} });
      await connection.close();
      await server[Symbol.asyncDispose]();
    },
  };
}

function sha256(bytes: Uint8Array): Buffer {
  return createHash("sha256").update(bytes).digest();
}

/** Reads heads of requests, one after the other, and has each answered as its task's claim wants. */
function answerRequests(socket: Socket, claims: ReadonlyMap<string, Claim>): void {
  let head = "";
  socket.on("data", (chunk: Buffer) => {
    head = (head + chunk.toString("latin1")).slice(-HEAD_BYTES_MAX);
    const end = head.indexOf("\r\n\r\n");
    if (end < 0) return;
    const taskId = /^GET \/v1\/tasks\/([0-9a-f]{64})\/content /.exec(head)?.[1] ?? "";
    const [, start, last] = /^range:\s*bytes=(\d+)-(\d+)\s*$/im.exec(head.slice(0, end)) ?? [];
    head = head.slice(end + 4);
    const claim = claims.get(taskId);
    if (claim === undefined) {
      socket.destroy();
      return;
    }
    claim.requestCount += 1;
    const { lengthBytes } = claim;
    claim.behaviour(socket, { start: Number(start), last: Number(last), lengthBytes });
  });
}
