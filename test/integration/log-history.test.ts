import { jetstream, jetstreamManager } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/transport-node";
import { DecisionMessage } from "@lacewing/contracts/gen/lacewing/decisions/v1/decisions.ts";
import { parseHostId } from "@lacewing/contracts/ids.ts";
import {
  DECISIONS_STREAM,
  decisionsSubject,
  EVENTS_STREAM,
  eventsSubject,
  MIXED,
} from "@lacewing/contracts/subjects.ts";
import { createMemoryLog } from "@lacewing/observability/memory-log.ts";
import { PortError } from "@lacewing/runtime/errors.ts";
import { openNatsLogs } from "@lacewing/scheduler/adapters/nats/open-nats-logs.ts";
import type { LogHistory } from "@lacewing/scheduler/app/explain/ports.ts";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startTestNats, type TestNats } from "../support/nats.ts";
import { waitFor } from "../support/wait-for.ts";

const SLICE = 3;
/** More than two pulls. */
const MESSAGE_COUNT = 150;

let nats: TestNats;
let connection: NatsConnection;
let history: LogHistory;
beforeAll(async () => {
  nats = await startTestNats();
  connection = await nats.connect();
  const limits = {
    eventsBytesMax: -1,
    eventsAgeMs: 3_600_000,
    decisionsAgeMs: 3_600_000,
    replicas: 1,
  };
  ({ history } = await openNatsLogs(connection, limits, createMemoryLog()));
  for (let at = 0; at < MESSAGE_COUNT; at++) {
    // Two hosts, some of it beside what is of other slices, and another slice in between.
    await publish(eventsSubject(isMixed(at) ? MIXED : SLICE, hostOf(at)), new Uint8Array([at]));
    if (at % 10 === 0) await publish(eventsSubject(SLICE + 1, hostOf(at)), new Uint8Array([at]));
  }
  const decided = {
    version: 1,
    slice: SLICE,
    epoch: 1,
    eventsSequence: 9,
    decidedAtMs: 1,
    decisions: [],
  };
  await publish(decisionsSubject(SLICE), DecisionMessage.encode(decided).finish());
});
afterAll(async () => {
  await nats[Symbol.asyncDispose]();
});

const isMixed = (at: number) => at % 7 === 3;

function hostOf(at: number) {
  const hostId = parseHostId(`host-${at % 2}`);
  if (hostId === undefined) throw new Error("not a host id");
  return hostId;
}

async function publish(subject: string, data: Uint8Array): Promise<void> {
  await jetstream(connection).publish(subject, data);
}

async function allOf<Stored>(log: AsyncIterable<Stored>): Promise<readonly Stored[]> {
  const all: Stored[] = [];
  for await (const stored of log) all.push(stored);
  return all;
}

async function readersLeft(): Promise<number> {
  const manager = await jetstreamManager(connection);
  let count = 0;
  for (const stream of [EVENTS_STREAM, DECISIONS_STREAM])
    for await (const _ of manager.consumers.list(stream)) count++;
  return count;
}

test("gives every event of one slice in order, pull after pull, and ends at the end of the log", async () => {
  const read: number[] = [];
  for await (const stored of history.events(SLICE, 0)) read.push(stored.data[0] ?? -1);
  expect(read).toEqual(Array.from({ length: MESSAGE_COUNT }, (_, at) => at));
});

test("gives decisions with their place in the log", async () => {
  const [stored, ...more] = await allOf(history.decisions(SLICE, 0));
  expect(stored).toMatchObject({ streamSequence: 1, message: { eventsSequence: 9 } });
  expect(more).toEqual([]);
});

test("what may be about any slice is given for each of them", async () => {
  const read = (await allOf(history.events(60, 0))).map(({ data }) => data[0]);
  expect(read).toEqual(Array.from({ length: MESSAGE_COUNT }, (_, at) => at).filter(isMixed));
});

test("a slice of which nothing is stored, or nothing since then, ends at once", async () => {
  expect(await allOf(history.decisions(60, 0))).toEqual([]);
  expect(await allOf(history.events(SLICE, Date.now() + 3_600_000))).toEqual([]);
});

test("a reader that has enough leaves nothing behind at the broker", async () => {
  for await (const stored of history.events(SLICE, 0)) if (stored.data[0] === 70) break;
  const left = await waitFor("no reader to be left", async () => {
    const count = await readersLeft();
    return count === 0 && { count };
  });
  expect(left).toEqual({ count: 0 });
});

test("a broker that is away is a failure at once, and one that may mend", async () => {
  await connection.close();
  const failure: unknown = await allOf(history.events(SLICE, 0)).catch((e: unknown) => e);
  expect(failure).toBeInstanceOf(PortError);
});
