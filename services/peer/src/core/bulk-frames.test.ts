import { parseTaskId } from "@lacewing/contracts/ids.ts";
import { expect, test } from "vitest";
import {
  BULK_COUNT_MAX,
  type BulkEntry,
  type BulkFrame,
  encodeBulkFrames,
  encodeBulkRequest,
  parseBulkFrames,
  parseBulkRequest,
} from "./bulk-frames.ts";

function entry(at: number): BulkEntry {
  const taskId = parseTaskId(at.toString(16).padStart(64, "0"));
  if (taskId === undefined) throw new Error("no task id");
  return { taskId, token: `token${at}`, traceparent: at % 2 === 0 ? "" : `00-${at}` };
}

const FRAMES: readonly BulkFrame[] = [
  { code: "content", content: Uint8Array.of(1, 2, 3) },
  { code: "not_held", content: new Uint8Array(0) },
  { code: "content", content: new Uint8Array(0) },
  { code: "alone", content: new Uint8Array(0) },
];

test("a request of many contents comes out as it went in", () => {
  const entries = [entry(1), entry(2), entry(3)];
  expect(parseBulkRequest(encodeBulkRequest(entries))).toEqual(entries);
});

test.each([
  ["nothing", ""],
  ["a line without its end", encodeBulkRequest([entry(1)]).slice(0, -1)],
  ["a task id that is none", "xyz token \n"],
  ["no token", `${entry(1).taskId}  \n`],
  ["a word too many", `${entry(1).taskId} token 00-1 more\n`],
  [
    "too many lines",
    encodeBulkRequest(Array.from({ length: BULK_COUNT_MAX + 1 }, (_, at) => entry(at))),
  ],
])("a request with %s is refused", (_name, text) => {
  expect(parseBulkRequest(text)).toBeUndefined();
});

test("an answer comes out as it went in", () => {
  const body = Buffer.concat(encodeBulkFrames(FRAMES));
  const frames = parseBulkFrames(body, FRAMES.length);
  expect(frames?.map(({ code, content }) => [code, ...content])).toEqual(
    FRAMES.map(({ code, content }) => [code, ...content]),
  );
});

test("an answer that is cut anywhere, goes on, or has an unknown code is refused", () => {
  const body = Buffer.concat(encodeBulkFrames(FRAMES));
  for (let end = 0; end < body.length; end++) {
    expect(parseBulkFrames(body.subarray(0, end), FRAMES.length)).toBeUndefined();
  }
  expect(parseBulkFrames(Buffer.concat([body, Buffer.of(0)]), FRAMES.length)).toBeUndefined();
  expect(parseBulkFrames(Buffer.of(9, 0, 0, 0, 0), 1)).toBeUndefined();
});
