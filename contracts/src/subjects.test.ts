import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type HostId, parseHostId } from "./ids.ts";
import {
  assignmentsSubject,
  DECISIONS_STREAM_SUBJECTS,
  decisionsSubject,
  EVENTS_STREAM_SUBJECTS,
  eventsSubject,
  hostSubject,
  inboxPrefix,
  MIXED,
  type ParsedSubject,
  parseSubject,
  sliceEventsFilters,
} from "./subjects.ts";

const slices = fc.integer({ min: 0, max: 63 });
const slicesOrMixed = fc.oneof(slices, fc.constant(MIXED));
const hostIds = fc.stringMatching(/^[A-Za-z0-9_-]{1,64}$/).map(hostIdOf);

function hostIdOf(text: string): HostId {
  const hostId = parseHostId(text);
  if (hostId === undefined) throw new Error(`no host id: ${text}`);
  return hostId;
}

/** Whether NATS delivers `subject` to a subscription or stream with `pattern` (only `*` is used). */
function isMatch(pattern: string, subject: string): boolean {
  const tokens = subject.split(".");
  const wanted = pattern.split(".");
  return (
    tokens.length === wanted.length &&
    wanted.every((token, index) => token === "*" || token === tokens[index])
  );
}

function builtFrom(parsed: ParsedSubject): string {
  switch (parsed.kind) {
    case "host":
      return hostSubject(parsed.hostId);
    case "decisions":
      return decisionsSubject(parsed.slice);
    case "events":
      return eventsSubject(parsed.slice, parsed.hostId);
  }
}

describe("a subject that was built", () => {
  test("parses back to what it was built from", () => {
    fc.assert(
      fc.property(slices, slicesOrMixed, hostIds, (slice, sliceOrMixed, hostId) => {
        expect(parseSubject(eventsSubject(sliceOrMixed, hostId))).toEqual({
          kind: "events",
          slice: sliceOrMixed,
          hostId,
        });
        expect(parseSubject(hostSubject(hostId))).toEqual({ kind: "host", hostId });
        expect(parseSubject(decisionsSubject(slice))).toEqual({ kind: "decisions", slice });
      }),
    );
  });

  test("is stored by exactly one stream, and assignments by none", () => {
    const streamsOf = (subject: string) =>
      [EVENTS_STREAM_SUBJECTS, DECISIONS_STREAM_SUBJECTS].map(
        (patterns) => patterns.filter((pattern) => isMatch(pattern, subject)).length,
      );
    const hostId = hostIdOf("h1");
    expect(streamsOf(eventsSubject(63, hostId))).toEqual([1, 0]);
    expect(streamsOf(eventsSubject(MIXED, hostId))).toEqual([1, 0]);
    expect(streamsOf(hostSubject(hostId))).toEqual([1, 0]);
    expect(streamsOf(decisionsSubject(0))).toEqual([0, 1]);
    expect(streamsOf(assignmentsSubject(hostId))).toEqual([0, 0]);
  });
});

test("the filters of a slice take what may be about its tasks, each message by one of them", () => {
  const takenBy = (subject: string) =>
    sliceEventsFilters(7).map((pattern) => isMatch(pattern, subject));
  const hostId = hostIdOf("h1");
  expect(takenBy(eventsSubject(7, hostId))).toEqual([true, false]);
  expect(takenBy(eventsSubject(MIXED, hostId))).toEqual([false, true]);
  expect(takenBy(eventsSubject(8, hostId))).toEqual([false, false]);
});

describe("a subject from outside", () => {
  test.each([
    "",
    "lw",
    "lw.v1",
    "lw.v1.host",
    "lw.v1.host.",
    "lw.v1.host.a.b",
    "lw.v1.host.*",
    "lw.v1.host.>",
    "lw.v2.host.a",
    "LW.v1.host.a",
    "lw.v1.ev.0",
    "lw.v1.ev.64.a",
    "lw.v1.ev.-1.a",
    "lw.v1.ev.1e1.a",
    "lw.v1.ev.007.a",
    "lw.v1.ev.07.a",
    "lw.v1.ev. 7.a",
    "lw.v1.ev..a",
    "lw.v1.ev.7.a.b",
    "lw.v1.ev.7.",
    "lw.v1.dec",
    "lw.v1.dec.64",
    "lw.v1.dec.mixed",
    "lw.v1.ev.Mixed.a",
    "lw.v1.dec.1.a",
    "lw.v1.assign.a",
    "lw.v1.hint.1",
    `lw.v1.host.${"x".repeat(65)}`,
    "lw.v1.ev.7.a\n",
  ])("%j is none of ours", (subject) => {
    expect(parseSubject(subject)).toBeUndefined();
  });

  test("either is none of ours or is exactly what we would have built", () => {
    const tokens = fc.constantFrom(
      "lw",
      "v1",
      "ev",
      "host",
      "dec",
      "0",
      "7",
      "07",
      "63",
      "64",
      "mixed",
      "a",
      "",
      "*",
    );
    const texts = fc.oneof(
      fc.string(),
      fc.array(tokens, { maxLength: 6 }).map((list) => list.join(".")),
    );
    fc.assert(
      fc.property(texts, (text) => {
        const parsed = parseSubject(text);
        expect(parsed === undefined ? text : builtFrom(parsed)).toBe(text);
      }),
      { numRuns: 2000 },
    );
  });
});

test("an inbox prefix is one token whatever the client is called", () => {
  fc.assert(
    fc.property(fc.string(), (name) => {
      expect(inboxPrefix(name)).toMatch(/^_INBOX_[A-Za-z0-9_-]*$/);
    }),
  );
});
