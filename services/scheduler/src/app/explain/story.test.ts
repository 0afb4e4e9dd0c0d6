import { type Event, EventMessage } from "@lacewing/contracts/gen/lacewing/events/v1/events.ts";
import { Lease, StoryEvent } from "@lacewing/contracts/gen/lacewing/scheduler/v1/scheduler.ts";
import { expect, test } from "vitest";
import { STORY_LENGTH_MAX } from "./limits.ts";
import { inOrder, storyOfDecisions, storyOfEvents, storyOfRows } from "./story.ts";

const TASK = "15".repeat(32);
const OTHER = `15${"ab".repeat(31)}`;
const SLICE = 0x15;

function stored(kinds: readonly NonNullable<Event["kind"]>[], atMs = 1_000) {
  const data = EventMessage.encode({
    version: 1,
    hostId: "child",
    bootId: "boot-1",
    sequence: 1,
    sentAtMs: 0,
    events: kinds.map((kind) => ({ traceparent: "", kind })),
  }).finish();
  return {
    subject: `lw.v1.ev.${SLICE}.child`,
    data,
    streamSequence: 1,
    messageId: "",
    storedAtMs: atMs,
  };
}

function event(atMs: number, kind: string, value: Partial<StoryEvent> = {}): StoryEvent {
  return StoryEvent.fromPartial({ atMs, kind, text: `${kind} at ${atMs}`, ...value });
}

test("events tell of the task that is asked about, and of no other in the same message", () => {
  const dropped = (taskId: string) =>
    ({ $case: "peerDropped", value: { taskId, incarnation: 2, reason: "evicted" } }) as const;
  expect(storyOfEvents(stored([dropped(OTHER), dropped(TASK)]), TASK)).toEqual([
    {
      atMs: 1_000,
      kind: "dropped",
      text: "child gave its copy up: evicted",
      hostId: "child",
      leaseId: "",
      requestId: "",
    },
  ]);
});

test("a message that cannot be read tells nothing", () => {
  const broken = { ...stored([]), data: new Uint8Array([255, 255, 255]) };
  expect(storyOfEvents(broken, TASK)).toEqual([]);
});

test("what a host repeats until it is heard is told once", () => {
  const asked = (atMs: number) => event(atMs, "requested", { text: "child wants all of it" });
  const described = (atMs: number) => event(atMs, "described", { text: "4 MiB" });
  const { story } = inOrder([asked(30), described(25), asked(10), described(20), asked(20)]);
  expect(story.map(({ kind, atMs }) => [kind, atMs])).toEqual([
    ["requested", 10],
    ["described", 20],
  ]);
});

test("the failure that a host described stands for the end of its lease", () => {
  const { story } = inOrder([
    event(1, "granted", { leaseId: "1-1-1" }),
    event(3, "ended", { leaseId: "1-1-1" }),
    event(2, "failed", { leaseId: "1-1-1" }),
    event(4, "ended", { leaseId: "1-1-2" }),
  ]);
  expect(story.map(({ kind, leaseId }) => `${kind} ${leaseId}`)).toEqual([
    "granted 1-1-1",
    "failed 1-1-1",
    "ended 1-1-2",
  ]);
});

test("of a story that is too long the beginning and the end are told", () => {
  const events = Array.from({ length: STORY_LENGTH_MAX + 10 }, (_, at) => event(at, "granted"));
  const { story, leftOutCount } = inOrder(events);
  expect([story.length, leftOutCount]).toEqual([STORY_LENGTH_MAX, 10]);
  expect([story[0]?.atMs, story.at(-1)?.atMs]).toEqual([0, STORY_LENGTH_MAX + 9]);
});

test("a lease that is under way was granted and has not ended", () => {
  const live = Lease.fromPartial({
    leaseId: "1-1-1",
    childHostId: "child",
    grantedAtMs: 5,
    outcome: "live",
  });
  expect(storyOfRows(undefined, [live], []).map(({ kind }) => kind)).toEqual(["granted"]);
});

test("a retirement is told from the decision log", () => {
  const retired = { $case: "taskRetired", value: { taskId: TASK, reason: "poisoned" } } as const;
  const other = { $case: "taskRetired", value: { taskId: OTHER, reason: "poisoned" } } as const;
  const message = {
    version: 1,
    slice: SLICE,
    epoch: 1,
    eventsSequence: 1,
    decidedAtMs: 7,
    decisions: [{ kind: retired }, { kind: other }],
  };
  expect(storyOfDecisions(message, TASK).map(({ atMs, kind }) => [atMs, kind])).toEqual([
    [7, "retired"],
  ]);
});
