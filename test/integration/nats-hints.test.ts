import { hintsSubject } from "@lacewing/contracts/subjects.ts";
import type { ReaderHint } from "@lacewing/contracts/hints.ts";
import { parseTaskId } from "@lacewing/contracts/ids.ts";
import { sliceOf } from "@lacewing/contracts/slices.ts";
import { jetstreamManager } from "@nats-io/jetstream";
import { createMemoryLog } from "@lacewing/observability/memory-log.ts";
import { NatsControlPlane } from "@lacewing/peer/adapters/nats/nats-control-plane.ts";
import { listenForHints } from "@lacewing/scheduler/adapters/nats/hint-listener.ts";
import { expect, test } from "vitest";
import { startTestNats } from "../support/nats.ts";
import { hostId } from "../support/piece-hosts.ts";
import { waitFor } from "../support/wait-for.ts";

const taskId = parseTaskId("c0ffee42".repeat(8));
if (taskId === undefined) throw new Error("the id is none");

test("the scheduler hears what holds a peer's reader up, and refuses what is no hint", async () => {
  await using nats = await startTestNats();
  const heard: ReaderHint[] = [];
  const log = createMemoryLog();
  const connection = await nats.connect();
  listenForHints(connection, log, (hint) => heard.push(hint));
  await connection.flush();
  const host = hostId("reader");
  const controlPlane = new NatsControlPlane({
    url: nats.url,
    hostId: host,
    log: createMemoryLog(),
  });
  await waitFor("the peer is connected", () => controlPlane.isConnected);

  connection.publish(hintsSubject(sliceOf(taskId), host), new TextEncoder().encode("?"));
  controlPlane.readerBlocked(taskId, 7);
  await waitFor("a hint", () => heard.length > 0);
  await controlPlane.close();

  expect(heard).toEqual([{ hostId: host, taskId, pieceIndex: 7 }]);
  expect(log.entries.filter(({ event }) => event === "hint refused")).toHaveLength(1);
  await connection.close();
});

test("a NATS user who may publish no hints is told of once, and events are still taken", async () => {
  await using nats = await startTestNats();
  await nats.restart({ denied: "lw.v1.hint.>" });
  const heard: ReaderHint[] = [];
  const connection = await nats.connect();
  listenForHints(connection, createMemoryLog(), (hint) => heard.push(hint));
  await connection.flush();
  const { streams } = await jetstreamManager(connection);
  await streams.add({ name: "TEST", subjects: ["test.events"] });
  const log = createMemoryLog();
  const controlPlane = new NatsControlPlane({ url: nats.url, hostId: hostId("reader"), log });
  await waitFor("the peer is connected", () => controlPlane.isConnected);
  const refusals = () =>
    log.entries.filter(({ event }) => event.startsWith("the scheduler cannot be told"));

  controlPlane.readerBlocked(taskId, 7);
  await waitFor("the refusal", () => refusals().length > 0);
  controlPlane.readerBlocked(taskId, 8);
  controlPlane.readerBlocked(taskId, 9);
  // What the server says to those hints comes before this is acknowledged.
  await controlPlane.publish("test.events", new Uint8Array(1), "event-1", "");

  await controlPlane.close();
  const hint = "let this NATS user publish to lw.v1.hint.*.reader";
  expect(refusals().map(({ fields }) => fields)).toEqual([{ hint }]);
  expect(log.entries.filter(({ level }) => level === "error")).toEqual([]);
  expect(heard).toEqual([]);
  await connection.close();
});
