import { jetstream } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/transport-node";
import { Bitmap } from "@lacewing/contracts/bitmap.ts";
import { type Event, EventMessage } from "@lacewing/contracts/gen/lacewing/events/v1/events.ts";
import { type HostId, parseHostId } from "@lacewing/contracts/ids.ts";
import { eventsSubject, hostSubject } from "@lacewing/contracts/subjects.ts";
import { announcement, description, taskIdOfSlice } from "./scheduler-world.ts";

/** Messages under way at once: a window, as hosts have. */
const WINDOW = 512;
const PIECE_LENGTH_BYTES = 2 ** 20;

/** A swarm that downloads: every host announces itself once, and then tells of 1 to 8 new pieces in each message. */
export interface Traffic {
  readonly hostCount: number;
  readonly taskCount: number;
  readonly messageCount: number;
  readonly pieceCount: number;
  /** Reports of new pieces in one message. */
  readonly factsPerMessage: number;
}

export interface TrafficMessage {
  readonly subject: string;
  readonly data: Uint8Array;
  readonly messageId: string;
  readonly factCount: number;
}

/** The messages of the traffic, each from the next host: announces, one description of each task, then pieces. */
export function* trafficMessages(traffic: Traffic): Generator<TrafficMessage> {
  const sequences = new Map<string, number>();
  const message = (
    hostId: HostId,
    slice: number | "host",
    kinds: readonly NonNullable<Event["kind"]>[],
  ): TrafficMessage => {
    const sequence = (sequences.get(hostId) ?? 0) + 1;
    sequences.set(hostId, sequence);
    const data = EventMessage.encode({
      version: 1,
      hostId,
      bootId: "boot-1",
      sequence,
      sentAtMs: 0,
      events: kinds.map((kind) => ({ traceparent: "", kind })),
    }).finish();
    const subject = slice === "host" ? hostSubject(hostId) : eventsSubject(slice, hostId);
    return { subject, data, messageId: `${hostId}:boot-1:${sequence}`, factCount: kinds.length };
  };
  const hosts = Array.from({ length: traffic.hostCount }, (_, index) => hostIdOf(index));
  for (const hostId of hosts) {
    yield message(hostId, "host", [{ $case: "hostAnnounced", value: announcement(hostId, {}) }]);
  }
  for (let task = 0; task < traffic.taskCount; task++) {
    const value = description({
      taskId: taskIdOf(task),
      lengthBytes: traffic.pieceCount * PIECE_LENGTH_BYTES,
      pieceLengthBytes: PIECE_LENGTH_BYTES,
    });
    yield message(hostIdOf(0), task, [{ $case: "taskDescribed", value }]);
  }
  const held = hosts.map(() => new Bitmap(traffic.pieceCount));
  for (let count = 0; count < traffic.messageCount; count++) {
    const index = count % hosts.length;
    const hostId = hosts[index] ?? hostIdOf(index);
    const bitmap = held[index] ?? new Bitmap(traffic.pieceCount);
    const kinds = Array.from({ length: traffic.factsPerMessage }, (_, fact) => {
      addPieces(bitmap, 1 + ((count + fact) % 8), index);
      const value = {
        taskId: taskIdOf(index % traffic.taskCount),
        incarnation: 1,
        bitmap: bitmap.toBytes(),
        digests: [],
        leasesEnded: [],
      };
      return { $case: "piecesAvailable", value } as const;
    });
    yield message(hostId, index % traffic.taskCount, kinds);
  }
}

/** Publishes with a window, as fast as the broker takes it. @returns the stream sequence of the last message. */
export async function publishTraffic(
  connection: NatsConnection,
  messages: Iterable<TrafficMessage>,
): Promise<number> {
  const client = jetstream(connection);
  const open = new Set<Promise<void>>();
  let last = 0;
  for (const { subject, data, messageId } of messages) {
    const publish: Promise<void> = client
      .publish(subject, data, { msgID: messageId, timeout: 30_000 })
      .then((ack) => {
        last = Math.max(last, ack.seq);
        open.delete(publish);
      });
    open.add(publish);
    if (open.size >= WINDOW) await Promise.race(open);
  }
  await Promise.all(open);
  return last;
}

/** The next pieces in an order of the host's own. */
function addPieces(bitmap: Bitmap, count: number, hostIndex: number): void {
  for (let piece = 0; piece < count; piece++) {
    bitmap.add((bitmap.count * 7 + hostIndex) % bitmap.size);
  }
}

function hostIdOf(index: number): HostId {
  const hostId = parseHostId(`host-${index}`);
  if (hostId === undefined) throw new Error(`no host id for ${index}`);
  return hostId;
}

/** At most 64: one for each slice. */
function taskIdOf(index: number): string {
  return taskIdOfSlice(index);
}
