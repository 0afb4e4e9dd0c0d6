import fc from "fast-check";
import { expect, test } from "vitest";
import { ReaderBlocked } from "./gen/lacewing/hints/v1/hints.ts";
import { decodeReaderHint, encodeReaderHint } from "./hints.ts";
import { parseHostId, parseTaskId } from "./ids.ts";
import { PIECE_COUNT_MAX } from "./limits.ts";
import { sliceOf } from "./slices.ts";
import { HINTS_FILTER, hintsSubject } from "./subjects.ts";

const taskId = parseTaskId("c0ffee42".repeat(8));
const hostId = parseHostId("host-a");
if (taskId === undefined || hostId === undefined) throw new Error("the ids are none");
const slice = sliceOf(taskId);
const SUBJECT = hintsSubject(slice, hostId);

test.each([0, 1, 255, PIECE_COUNT_MAX - 1])(
  "what a host says of piece %d is heard as it was said",
  (pieceIndex) => {
    const decoded = decodeReaderHint(SUBJECT, encodeReaderHint({ taskId, pieceIndex }));
    expect(decoded).toEqual({ ok: true, hint: { hostId, taskId, pieceIndex } });
  },
);

test("hints of all hosts and slices come by one filter", () => {
  const wanted = HINTS_FILTER.split(".");
  const tokens = SUBJECT.split(".");
  expect(tokens).toHaveLength(wanted.length);
  expect(wanted.every((token, at) => token === "*" || token === tokens[at])).toBe(true);
});

test.each([
  ["another version", SUBJECT, { version: 2 }, "version 2"],
  ["no task", SUBJECT, { taskId: "../etc" }, "task id is malformed"],
  ["a piece that no content has", SUBJECT, { pieceIndex: PIECE_COUNT_MAX }, "more than a content"],
  [
    "a task of another slice",
    hintsSubject((slice + 1) % 64, hostId),
    {},
    "on the subject of slice",
  ],
  ["a subject without host", `lw.v1.hint.${slice}`, {}, "carries no hints"],
  ["a subject of events", `lw.v1.ev.${slice}.host-a`, {}, "carries no hints"],
])("a hint with %s is refused", (_, subject, change, reason) => {
  const bytes = ReaderBlocked.encode({ version: 1, taskId, pieceIndex: 3, ...change }).finish();
  const decoded = decodeReaderHint(subject, bytes);
  expect(decoded.ok ? "" : decoded.reason).toContain(reason);
});

test("a message that is too long is not even decoded", () => {
  const decoded = decodeReaderHint(SUBJECT, new Uint8Array(513));
  expect(decoded).toEqual({ ok: false, reason: "513 bytes, more than 512" });
});

test("whatever else comes by the subject is refused or fits, and never throws", () => {
  const isSound = (bytes: Uint8Array) => {
    const decoded = decodeReaderHint(SUBJECT, bytes);
    return !decoded.ok || decoded.hint.pieceIndex < PIECE_COUNT_MAX;
  };
  const numbers = fc.record({
    version: fc.constantFrom(0, 1, 2),
    pieceIndex: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
  });
  const messages = numbers.map((of) => ReaderBlocked.encode({ ...of, taskId }).finish());
  const any = fc.oneof(fc.uint8Array({ maxLength: 600 }), messages);
  expect(() => fc.assert(fc.property(any, isSound))).not.toThrow();
});
