import { hash } from "node:crypto";
import type { Explanation } from "@lacewing/contracts/gen/lacewing/scheduler/v1/scheduler.ts";
import { taskIdOf } from "@lacewing/contracts/ids.ts";
import { systemClock } from "@lacewing/runtime/clock.ts";
import { PortError } from "@lacewing/runtime/errors.ts";
import { beforeEach, describe, expect, test } from "vitest";
// @boundaries-ignore tests share builders that no service ships
import { storedFactsContract } from "../../../../../test/contract/stored-facts-contract.ts";
// @boundaries-ignore tests share builders that no service ships
import { MemoryFacts } from "../../../../../test/support/memory-facts.ts";
// @boundaries-ignore tests share builders that no service ships
import { MemoryProjection } from "../../../../../test/support/memory-projection.ts";
// @boundaries-ignore tests share builders that no service ships
import { ALL_PIECES, SchedulerWorld, TASK } from "../../../../../test/support/scheduler-world.ts";
import { HOST_LOST_AFTER_MS } from "../../core/limits.ts";
import { hostRow, leaseRow, peerRow, taskRow } from "../rows.ts";
import { Explainer } from "./explainer.ts";
import { HISTORY_MESSAGES_MAX, TASKS_OF_PATH_MAX, TASKS_OF_URL_MAX } from "./limits.ts";
import { liveViewOf } from "./live-view.ts";
import type { LogHistory } from "./ports.ts";

storedFactsContract("facts in memory", async () => {
  const store = new MemoryProjection();
  await store.acquire("test");
  return { store, facts: new MemoryFacts(store), close: async () => {} };
});

/** Logs that keep nothing. */
const NO_HISTORY: LogHistory = {
  async *decisions() {},
  async *events() {},
};

let world: SchedulerWorld;
let rows: MemoryProjection;
let facts: MemoryFacts;

/** "a" holds the content and is the only one who does; "b" is being given it; "c" waits. */
beforeEach(() => {
  world = new SchedulerWorld();
  for (const hostId of ["a", "b", "c"]) world.announce(hostId);
  world.request("a");
  world.describe("a");
  world.decide();
  world.hold("a", ALL_PIECES);
  world.request("b");
  world.decide();
  rows = new MemoryProjection();
  facts = new MemoryFacts(rows);
});

function explainer(history: LogHistory = NO_HISTORY, isLive = true): Explainer {
  return new Explainer({
    facts,
    history,
    live: () => (isLive ? liveViewOf(world.state, world.nowMs) : undefined),
    clock: systemClock,
  });
}

async function explained(id: string, by = explainer()): Promise<Explanation> {
  const told = await by.explain(id);
  if ("kind" in told) throw new Error(`refused: ${told.message}`);
  return told;
}

function liveLeaseId(): string {
  const [lease] = [...world.state.leases.values()].filter((each) => each.childHostId === "b");
  if (lease === undefined) throw new Error("b was given nothing");
  return lease.leaseId;
}

describe("of the scheduler that decides", () => {
  test("a lease that is not projected yet is explained from memory, with what is to come", async () => {
    const told = await explained(liveLeaseId());
    expect(told.verdict).toMatch(
      /^b was given pieces .+ from a \(.+\); it is under way, \d+ pieces? to come\.$/,
    );
    if (told.subject?.$case !== "lease") throw new Error("not a lease");
    const { lease, remaining } = told.subject.value;
    expect(remaining).toEqual(lease?.pieces);
  });

  test("a task is explained while the database is away, and the answer says what is missing", async () => {
    facts.isAway = true;
    const told = await explained(TASK);
    if (told.subject?.$case !== "task") throw new Error("not a task");
    expect(told.subject.value.inFlight.map((lease) => lease.childHostId)).toEqual(["b"]);
    expect(told.notes).toEqual(["the database does not answer: what only it knows is missing"]);
  });

  test("asking changes nothing: the next turn decides as if nobody had asked", async () => {
    const before = structuredClone({
      leases: [...world.state.leases.values()].map(({ leaseId }) => leaseId),
      numbers: world.state.nextLeaseNumbers,
    });
    await explained(TASK);
    await explained(liveLeaseId());
    expect({
      leases: [...world.state.leases.values()].map(({ leaseId }) => leaseId),
      numbers: world.state.nextLeaseNumbers,
    }).toEqual(before);
  });

  test("whoever waits is told why now, and who cannot serve it", async () => {
    world.request("c", { canReadOrigin: false });
    world.tell("a", { $case: "hostLeft", value: {} });
    world.decide();
    const told = await explained(TASK);
    if (told.subject?.$case !== "task") throw new Error("not a task");
    const wait = told.subject.value.waits.find((each) => each.hostId === "c");
    expect(wait?.reason).toBe("a copy is in flight");
    expect(wait?.wantedPieceCount).toBe(4);
    expect(wait?.passedOver).toEqual([{ reason: "stopped", count: 1, hostIds: ["a"] }]);
  });
});

test("a host that is lost holds nothing for those who wait, and the answer says that it is gone", async () => {
  const alone = new SchedulerWorld();
  for (const hostId of ["a", "b"]) alone.announce(hostId);
  alone.request("a");
  alone.describe("a");
  alone.decide();
  alone.hold("a", ALL_PIECES);
  alone.decide();
  alone.nowMs += HOST_LOST_AFTER_MS;
  alone.announce("b");
  alone.advance(100);
  alone.request("b", { canReadOrigin: false });
  alone.decide();
  world = alone;
  for (const host of alone.state.hosts.values()) rows.hosts.set(host.hostId, hostRow(host));
  for (const peer of alone.state.tasks.get(TASK)?.peers.values() ?? [])
    rows.peers.set(`${TASK}/${peer.hostId}`, peerRow(peer));
  const told = await explained(TASK);
  if (told.subject?.$case !== "task") throw new Error("not a task");
  expect(told.subject.value.peers.map((peer) => [peer.hostId, peer.isGone])).toEqual([
    ["a", true],
    ["b", false],
  ]);
  expect(told.verdict).toBe(
    "No living host holds all of it; 1 host waits, b because no free parent, and no request that may read the origin; the one host that held pieces is gone.",
  );
});

test("whose content is of another length than the task's is told among the hosts of the task", async () => {
  const ANCHOR = `sha256:${"0".repeat(64)}`;
  const parted = new SchedulerWorld();
  parted.request("a", { anchor: ANCHOR });
  parted.describe("a", { anchor: ANCHOR });
  parted.hold("a", [0]);
  parted.describe("b", { anchor: ANCHOR, lengthBytes: 5 * 1024 });
  world = parted;
  for (const peer of parted.state.tasks.get(TASK)?.peers.values() ?? [])
    rows.peers.set(`${TASK}/${peer.hostId}`, peerRow(peer));
  const told = await explained(TASK);
  if (told.subject?.$case !== "task") throw new Error("not a task");
  expect(told.subject.value.peers.map((peer) => [peer.hostId, peer.isApart])).toEqual([
    ["a", false],
    ["b", true],
  ]);
});

describe("of a scheduler that stands by", () => {
  test("what was projected is explained, without a word about now", async () => {
    const task = world.state.tasks.get(TASK);
    const lease = world.state.leases.get(liveLeaseId());
    if (task === undefined || lease === undefined) throw new Error("the world lacks its task");
    rows.tasks.set(TASK, taskRow(task));
    rows.leases.set(lease.leaseId, leaseRow(lease));
    const told = await explained(TASK, explainer(NO_HISTORY, false));
    expect(told.isLive).toBe(false);
    if (told.subject?.$case !== "task") throw new Error("not a task");
    expect(told.subject.value.inFlight).toHaveLength(1);
    expect(told.subject.value.waits).toEqual([]);
  });

  test("a database that is away is the answer", async () => {
    facts.isAway = true;
    await expect(explained(TASK, explainer(NO_HISTORY, false))).rejects.toMatchObject({
      code: "database_unavailable",
    });
  });
});

describe("the logs", () => {
  test("that cannot be read leave a note and take nothing else away", async () => {
    const away = new PortError("nats_failed", "the broker is away", { retryable: true });
    const history: LogHistory = {
      decisions: () => failing(away),
      events: () => failing(away),
    };
    const told = await explained(TASK, explainer(history));
    expect(told.notes).toEqual([
      "the broker's logs could not be read: what only they keep is missing",
    ]);
    expect(told.subject?.$case).toBe("task");
  });

  test("that never end are read up to a limit, which the answer names", async () => {
    const event = {
      subject: "lw.v1.ev.7.a",
      data: new Uint8Array(),
      messageId: "",
      streamSequence: 1,
    };
    const history: LogHistory = {
      ...NO_HISTORY,
      async *events() {
        for (;;) yield { ...event, storedAtMs: 0 };
      },
    };
    const told = await explained(TASK, explainer(history));
    expect(told.notes).toEqual([
      `the log was read for ${HISTORY_MESSAGES_MAX} messages only: later ones are left out`,
    ]);
  });
});

test("an id is found by its form, and one that names nothing is refused with a reason", async () => {
  const refusals = await Promise.all(
    ["", "x y", "7-3-999", "0123456", "f".repeat(64), "f".repeat(200), "http://"].map((id) =>
      explainer().explain(id),
    ),
  );
  expect(refusals.map((told) => ("kind" in told ? told.code : "told"))).toEqual([
    "malformed",
    "malformed",
    "unknown",
    "unknown",
    "unknown",
    "malformed",
    "malformed",
  ]);
});

test("a download that is not over is told as its task", async () => {
  const told = await explained("request-of-b");
  expect(told.subject?.$case).toBe("task");
  expect(told.notes).toContain("download request-of-b is under way at b: this is its task");
});

test("a URL stands for the newest content that was had under it, whatever its signature", async () => {
  const task = world.state.tasks.get(TASK);
  if (task === undefined) throw new Error("the world lacks its task");
  const older = `07${"0".repeat(62)}`;
  const row = taskRow(task);
  rows.tasks.set(TASK, row);
  rows.tasks.set(older, { ...row, taskId: older, createdAtMs: row.createdAtMs - 1 });
  const told = await explained(`${row.url}?X-Amz-Signature=00`);
  if (told.subject?.$case !== "task") throw new Error("not a task");
  expect(told.subject.value.task?.taskId).toBe(TASK);
  expect(told.notes).toContain(`the newest content of this URL; older: ${older}`);
  expect(await explainer().explain("https://origin.example/other")).toMatchObject({
    code: "unknown",
  });
});

test("a URL whose query names content is not answered with another query's content", async () => {
  const task = world.state.tasks.get(TASK);
  if (task === undefined) throw new Error("the world lacks its task");
  const path = "https://origin.example/versions";
  const idOf = (versionId: number) =>
    taskIdOf(task.sharingDomain, ["url", `${path}?versionId=${versionId}`, task.etag], (text) =>
      hash("sha256", text),
    );
  for (const versionId of [1, 2]) {
    const taskId = idOf(versionId);
    // As hosts tell it: without the query.
    rows.tasks.set(taskId, { ...taskRow(task), taskId, url: path, createdAtMs: versionId });
  }
  for (const versionId of [1, 2]) {
    const told = await explained(`${path}?versionId=${versionId}`);
    if (told.subject?.$case !== "task") throw new Error("not a task");
    expect(told.subject.value.task?.taskId).toBe(idOf(versionId));
    expect(told.notes).toEqual([]);
  }
  expect(await explainer().explain(`${path}?versionId=3`)).toEqual({
    kind: "refused",
    code: "unknown",
    message: `no content of ${path} is known with this query; with another: ${idOf(2)}, ${idOf(1)}`,
  });
  for (const digit of ["d", "e"])
    rows.tasks.set(digit.repeat(64), {
      ...taskRow(task),
      taskId: digit.repeat(64),
      anchor: `sha256:${digit.repeat(64)}`,
      url: path,
    });
  const told = await explainer().explain(`${path}?versionId=3`);
  expect(told).toMatchObject({ code: "ambiguous" });
  expect("kind" in told ? told.message : "").toMatch(/^2 contents were had under .+ d{64}, e{64}$/);
});

test("of a path with very many contents the newest are looked at, which the answer says", async () => {
  const task = world.state.tasks.get(TASK);
  if (task === undefined) throw new Error("the world lacks its task");
  const row = { ...taskRow(task), url: "https://origin.example/many" };
  for (let index = 0; index < TASKS_OF_PATH_MAX; index++) {
    const taskId = index.toString(16).padStart(64, "0");
    rows.tasks.set(taskId, { ...row, taskId });
  }
  const cut = `only the newest ${TASKS_OF_PATH_MAX} contents of this path were looked at`;
  expect((await explained(row.url)).notes).toContain(cut);
  const refusal = await explainer().explain(`${row.url}?id=1`);
  expect("kind" in refusal ? refusal.message : "").toMatch(
    new RegExp(`and ${TASKS_OF_PATH_MAX - TASKS_OF_URL_MAX} more; ${cut}$`),
  );
});

test("digits that more than one task begins with are refused, and both are named", async () => {
  const task = world.state.tasks.get(TASK);
  if (task === undefined) throw new Error("the world lacks its task");
  const other = `${TASK.slice(0, 60)}0000`;
  for (const taskId of [TASK, other]) rows.tasks.set(taskId, { ...taskRow(task), taskId });
  const told = await explainer().explain(TASK.slice(0, 12));
  expect(told).toMatchObject({ code: "ambiguous" });
  expect("kind" in told ? told.message : "").toContain(other);
});

/** A log whose first message cannot be had. */
function failing(error: Error): AsyncIterable<never> {
  return { [Symbol.asyncIterator]: () => ({ next: () => Promise.reject(error) }) };
}
