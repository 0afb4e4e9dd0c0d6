import { expect, test } from "vitest";
import { EventQueue } from "./event-queue.ts";
import { Flows, FlowUplink } from "./flows.ts";

const MB = 1e6;
/** 1 MB a second. */
const LINK = { bytesPerMs: MB / 1000 };

function world() {
  const queue = new EventQueue();
  const flows = new Flows(queue);
  const ends: [string, number][] = [];
  const uplink = () => new FlowUplink(flows, LINK.bytesPerMs);
  const noting = (name: string) => () => ends.push([name, Math.round(queue.nowMs)]);
  return { queue, ends, uplink, noting };
}

test("a receiver whose way in is full holds its senders up, and what they have left goes to others", () => {
  const { queue, ends, uplink, noting } = world();
  const [x, y] = [{ ...LINK }, { ...LINK }];
  const [a, b, c] = [uplink(), uplink(), uplink()];
  // Three into x have a third each; c has two thirds left for y.
  a.send(MB, x, noting("a to x"));
  b.send(MB, x, noting("b to x"));
  c.send(MB, x, noting("c to x"));
  c.send(MB, y, noting("c to y"));

  queue.run(100_000, () => false);

  expect(ends).toEqual([
    ["c to y", 1500],
    ["a to x", 3000],
    ["b to x", 3000],
    ["c to x", 3000],
  ]);
  expect(c.sentBytes).toBeCloseTo(2 * MB, 3);
});

test("what a canceled piece and a stall leave of a way in goes to the others", () => {
  const { queue, ends, uplink, noting } = world();
  const x = { ...LINK };
  const [a, b, c] = [uplink(), uplink(), uplink()];
  a.send(MB, x, noting("a"));
  const canceled = b.send(MB, x, noting("b"));
  c.send(MB, x, noting("c"));
  // By then each has sent half; then a alone has all of the way in.
  queue.at(1500, () => {
    expect(b.load).toBe(1);
    b.cancel(canceled);
    c.setRate(0);
  });
  queue.at(2500, () => c.setRate(LINK.bytesPerMs));

  queue.run(100_000, () => false);

  expect(ends).toEqual([
    ["a", 2000],
    ["c", 3000],
  ]);
  expect(b.load).toBe(0);
});
