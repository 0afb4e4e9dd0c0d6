import { expect, test } from "vitest";
import { EventQueue } from "./event-queue.ts";
import { Pipe, Uplink } from "./links.ts";

const MB = 1e6;

test("things happen in the order of their times, and of their asking when the times are equal", () => {
  const queue = new EventQueue();
  const seen: string[] = [];
  queue.at(20, () => seen.push("late"));
  queue.at(10, () => {
    seen.push("first");
    queue.after(0, () => seen.push("now"));
  });
  queue.at(10, () => seen.push("second"));

  queue.run(100, () => false);

  expect(seen).toEqual(["first", "second", "now", "late"]);
});

test("pieces that are served together share the rate, and the last is no later than one after another", () => {
  const queue = new EventQueue();
  const uplink = new Uplink(queue, MB / 1000, 2);
  const ends: number[] = [];
  for (const bytes of [MB, MB, MB])
    uplink.send(bytes, null, () => ends.push(Math.round(queue.nowMs)));

  queue.run(100_000, () => false);

  expect(ends).toEqual([2000, 2000, 3000]);
  expect(uplink.sentBytes).toBeCloseTo(3 * MB, 3);
});

test("one at a time is a queue", () => {
  const queue = new EventQueue();
  const uplink = new Uplink(queue, MB / 1000, 1);
  const ends: number[] = [];
  for (const bytes of [MB, 2 * MB])
    uplink.send(bytes, null, () => ends.push(Math.round(queue.nowMs)));

  queue.run(100_000, () => false);

  expect(ends).toEqual([1000, 3000]);
});

test("what a canceled piece and a stall leave of the rate goes to the others", () => {
  const queue = new EventQueue();
  const uplink = new Uplink(queue, MB / 1000, 2);
  const ends: number[] = [];
  const canceled = uplink.send(MB, null, () => ends.push(-1));
  uplink.send(MB, null, () => ends.push(Math.round(queue.nowMs)));
  // Half a second each is sent by then; alone the other needs another half, and for one second nothing leaves.
  queue.at(1000, () => {
    uplink.cancel(canceled);
    uplink.setRate(0);
  });
  queue.at(2000, () => uplink.setRate(MB / 1000));

  queue.run(100_000, () => false);

  expect(ends).toEqual([2500]);
});

test("a way in passes what arrives together one after another, and delays nothing that arrives slower than it is", () => {
  const pipe = new Pipe(MB / 1000);

  const ends = [pipe.pass(MB, 0, 500), pipe.pass(MB, 0, 500), pipe.pass(MB, 5000, 8000)];

  expect(ends).toEqual([1000, 2000, 8000]);
});
