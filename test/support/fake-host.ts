import { createHash, randomUUID } from "node:crypto";
import type { Socket } from "node:net";
import { jetstream, type JetStreamClient } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/transport-node";
import { Bitmap } from "@lacewing/contracts/bitmap.ts";
import { EVENT_VERSION } from "@lacewing/contracts/events/decode.ts";
import { type Event, EventMessage } from "@lacewing/contracts/gen/lacewing/events/v1/events.ts";
import { digestOfHex, type HostId, type TaskId, taskIdOf } from "@lacewing/contracts/ids.ts";
import { type InventoryEntry, inventoryDigest } from "@lacewing/contracts/inventory.ts";
import { pieceLengthOf } from "@lacewing/contracts/piece-length.ts";
import { sliceOf } from "@lacewing/contracts/slices.ts";
import { eventsSubject, hostSubject, inboxPrefix } from "@lacewing/contracts/subjects.ts";
import { connectNats } from "@lacewing/runtime/nats.ts";
import { bytesOf, type Content } from "./content.ts";
import { hostId, startRawServer } from "./piece-hosts.ts";

/** A span of a task's bytes that a child asks for. */
export interface AskedSpan {
  readonly start: number;
  /** Inclusive, as in the `Range` header. */
  readonly last: number;
  /** Of the whole content. */
  readonly lengthBytes: number;
}

/** What a parent does with a request of a child. */
export type Misbehaviour = (socket: Socket, span: AskedSpan) => void;

/** A copy that a fake host says it has. */
interface Claim {
  readonly behaviour: Misbehaviour;
  readonly lengthBytes: number;
  requestCount: number;
}

/** A request's head is a few hundred bytes and a token. */
const HEAD_BYTES_MAX = 64 * 1024;

/** Announces a host of that name to the scheduler behind `natsUrl`; it leaves in order when its scope ends. */
export async function startFakeHost(natsUrl: string, name: string): Promise<FakeHost> {
  const claims = new Map<string, Claim>();
  const server = await startRawServer((socket) => answerRequests(socket, claims));
  const connection = await connectNats({ url: natsUrl, name, inboxPrefix: inboxPrefix(name) });
  const host = new FakeHost(hostId(name), server, connection, claims);
  await host.announce();
  return host;
}

/** A host that exists only in events and answers its children as a test wants. */
export class FakeHost {
  readonly hostId: HostId;
  readonly #server: Awaited<ReturnType<typeof startRawServer>>;
  readonly #connection: NatsConnection;
  readonly #broker: JetStreamClient;
  readonly #claims: Map<string, Claim>;
  readonly #inventory: InventoryEntry[] = [];
  readonly #bootId = randomUUID();
  #sequence = 0;

  constructor(
    id: HostId,
    server: Awaited<ReturnType<typeof startRawServer>>,
    connection: NatsConnection,
    claims: Map<string, Claim>,
  ) {
    this.hostId = id;
    this.#server = server;
    this.#connection = connection;
    this.#broker = jetstream(connection);
    this.#claims = claims;
  }

  /** Says that it holds all of an LFS object of an origin, with the right digests. */
  async claim(
    origin: { readonly port: number },
    content: Content,
    behaviour: Misbehaviour,
  ): Promise<{ readonly taskId: TaskId; readonly requestCount: () => number }> {
    const bytes = await bytesOf(content);
    const anchor = digestOfHex(sha256(bytes).toString("hex")) ?? "";
    const sharingDomain = `http://127.0.0.1:${origin.port}`;
    const taskId = taskIdOf(sharingDomain, ["anchor", anchor], (text) =>
      sha256(Buffer.from(text)).toString("hex"),
    );
    const pieceLengthBytes = pieceLengthOf(bytes.length);
    const digests = pieceDigestsOf(bytes, pieceLengthBytes);
    const bitmap = new Bitmap(digests.length);
    for (const { pieceIndex } of digests) bitmap.add(pieceIndex);
    const claim: Claim = { behaviour, lengthBytes: bytes.length, requestCount: 0 };
    this.#claims.set(taskId, claim);
    this.#inventory.push({ taskId, incarnation: 1, heldPieceCount: digests.length });
    const described = { etag: "", lastModified: "", contentType: "", anchor, sharingDomain };
    const url = `${sharingDomain}/`;
    await this.#publish(eventsSubject(sliceOf(taskId), this.hostId), [
      {
        $case: "taskDescribed",
        value: {
          taskId,
          url,
          lengthBytes: bytes.length,
          pieceLengthBytes,
          originRanges: false,
          ...described,
        },
      },
      {
        $case: "piecesAvailable",
        value: { taskId, incarnation: 1, bitmap: bitmap.toBytes(), digests, leasesEnded: [] },
      },
    ]);
    await this.announce();
    return { taskId, requestCount: () => claim.requestCount };
  }

  async announce(): Promise<void> {
    const value = {
      kind: "normal",
      transferAddress: this.#server.address,
      idc: "local",
      location: `local|${this.hostId}`,
      uploadSlots: 16,
      freeBytes: 2 ** 30,
      quotaBytes: 2 ** 30,
      inventoryDigest: inventoryDigest(this.#inventory),
      liveLeaseIds: [],
      liveRequestIds: [],
      full: true,
    };
    await this.#publish(hostSubject(this.hostId), [{ $case: "hostAnnounced", value }]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#publish(hostSubject(this.hostId), [{ $case: "hostLeft", value: {} }]);
    await this.#connection.close();
    await this.#server[Symbol.asyncDispose]();
  }

  async #publish(subject: string, kinds: readonly NonNullable<Event["kind"]>[]): Promise<void> {
    this.#sequence += 1;
    const message = EventMessage.encode({
      version: EVENT_VERSION,
      hostId: this.hostId,
      bootId: this.#bootId,
      sequence: this.#sequence,
      sentAtMs: Date.now(),
      events: kinds.map((kind) => ({ traceparent: "", kind })),
    }).finish();
    const msgID = `${this.hostId}:${this.#bootId}:${this.#sequence}`;
    await this.#broker.publish(subject, message, { msgID });
  }
}

function pieceDigestsOf(bytes: Buffer, pieceLengthBytes: number) {
  const pieceCount = Math.ceil(bytes.length / pieceLengthBytes);
  return Array.from({ length: pieceCount }, (_, pieceIndex) => {
    const start = pieceIndex * pieceLengthBytes;
    return { pieceIndex, sha256: sha256(bytes.subarray(start, start + pieceLengthBytes)) };
  });
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
