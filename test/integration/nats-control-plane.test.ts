import { connect } from "@nats-io/transport-node";
import { AssignmentMessage } from "@lacewing/contracts/gen/lacewing/assignments/v1/assignments.ts";
import type { HostId } from "@lacewing/contracts/ids.ts";
import { assignmentsSubject } from "@lacewing/contracts/subjects.ts";
import { createMemoryLog, type MemoryLog } from "@lacewing/observability/memory-log.ts";
import { NatsControlPlane } from "@lacewing/peer/adapters/nats/nats-control-plane.ts";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startTestNats, type TestNats } from "../support/nats.ts";
import { hostId } from "../support/piece-hosts.ts";
import { waitFor } from "../support/wait-for.ts";

const PASSWORD = "right";
/** Nothing tells of repeated refusals, which are what these tests are about. */
const REFUSING_MS = 3_000;

let nats: TestNats;
beforeAll(async () => {
  nats = await startTestNats();
});
afterAll(async () => {
  await nats[Symbol.asyncDispose]();
});

/** A peer's control plane that ends with its scope. */
function openControlPlane(name: string) {
  const id = hostId(name);
  const log = createMemoryLog();
  const controlPlane = new NatsControlPlane({ url: nats.urlWith(PASSWORD), hostId: id, log });
  const received: AssignmentMessage[] = [];
  controlPlane.onAssignments((message) => received.push(message));
  return {
    id,
    log,
    controlPlane,
    received,
    [Symbol.asyncDispose]: () => controlPlane.close(),
  };
}

/** The scheduler's part: one message to the host. */
async function assign(id: HostId): Promise<void> {
  const connection = await connect({ servers: nats.url, user: "tester", pass: PASSWORD });
  connection.publish(
    assignmentsSubject(id),
    AssignmentMessage.encode(AssignmentMessage.create()).finish(),
  );
  await connection.drain();
}

function count(log: MemoryLog, event: string): number {
  return log.entries.filter((entry) => entry.event === event).length;
}

/** Several refused logins: the client tries twice a second, tells only the first refusal, and gave up at the second once. */
async function someRefusals(): Promise<void> {
  const since = performance.now();
  await waitFor("refusals have passed", () => performance.now() - since > REFUSING_MS);
}

test("a peer whose login was refused for a while hears of assignments again", async () => {
  await nats.restart({ password: PASSWORD });
  await using peer = openControlPlane("refused-later");
  await waitFor("the first connection", () => peer.controlPlane.isConnected);

  await nats.restart({ password: "wrong" });
  await someRefusals();
  const isConnectedMeanwhile = peer.controlPlane.isConnected;
  await nats.restart({ password: PASSWORD });
  await waitFor("the connection is back", () => peer.controlPlane.isConnected);
  await assign(peer.id);
  await waitFor("the assignment arrives", () => peer.received.length > 0);

  expect(isConnectedMeanwhile).toBe(false);
  expect(count(peer.log, "control plane lost, going on without it")).toBe(1);
  expect(count(peer.log, "control plane error")).toBe(1);
  expect(count(peer.log, "control plane connected")).toBe(2);
});

test("a peer that starts while its login is refused hears of assignments once it is accepted", async () => {
  await nats.restart({ password: "wrong" });
  await using peer = openControlPlane("refused-first");
  await someRefusals();

  await nats.restart({ password: PASSWORD });
  await waitFor("the connection", () => peer.controlPlane.isConnected);
  await assign(peer.id);
  await waitFor("the assignment arrives", () => peer.received.length > 0);

  expect(count(peer.log, "control plane connected")).toBe(1);
});
