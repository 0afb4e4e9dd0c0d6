import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { SpanRecord } from "./span.ts";
import { spanTree } from "./span-tree.ts";
import { summaryOf } from "./trace-summary.ts";

/** A span of service `peer` on host `h1`, from and to in nanoseconds. */
function aSpan(spanId: string, parentSpanId?: string, part: Partial<SpanRecord> = {}): SpanRecord {
  return {
    traceId: "a".repeat(32),
    spanId,
    parentSpanId,
    service: "peer",
    name: spanId,
    kind: "internal",
    startUnixNano: 1000n,
    endUnixNano: 2000n,
    status: "unset",
    statusMessage: "",
    scope: "",
    attributes: {},
    resource: { "service.instance.id": "h1" },
    events: [],
    links: [],
    ...part,
  };
}

const placesOf = (spans: readonly SpanRecord[]) =>
  spanTree(spans).map((node) => `${"-".repeat(node.depth)}${node.span.spanId}`);

describe("a span tree", () => {
  test("shows parents before children and siblings by start, whatever the order of arrival", () => {
    const spans = [
      aSpan("late", "root", { startUnixNano: 1500n }),
      aSpan("leaf", "early"),
      aSpan("early", "root", { startUnixNano: 1100n }),
      aSpan("root"),
    ];
    expect(placesOf(spans)).toEqual(["root", "-early", "--leaf", "-late"]);
  });

  test("shows a span whose parent is missing as a root, and says so", () => {
    const nodes = spanTree([aSpan("root"), aSpan("lost", "gone", { startUnixNano: 1001n })]);
    expect(nodes.map((node) => [node.span.spanId, node.depth, node.isOrphan])).toEqual([
      ["root", 0, false],
      ["lost", 0, true],
    ]);
  });

  test("shows every span once, also when parents form circles or point to themselves", () => {
    expect(placesOf([aSpan("a", "b"), aSpan("b", "a"), aSpan("c", "c")])).toEqual(["a", "-b", "c"]);
    const ids = fc.array(fc.tuple(fc.nat(9), fc.nat(12)), { maxLength: 20 });
    fc.assert(
      fc.property(ids, (edges) => {
        const spans = edges.map(([id, parent]) => aSpan(`${id}`, `${parent}`));
        const shown = spanTree(spans).map((node) => node.span.spanId);
        expect(shown.toSorted()).toEqual([...new Set(spans.map((span) => span.spanId))].toSorted());
      }),
    );
  });

  test("holds a chain of 20 000 spans", () => {
    const chain = Array.from({ length: 20_000 }, (_, index) =>
      aSpan(`${index}`, index === 0 ? undefined : `${index - 1}`),
    );
    expect(spanTree(chain).at(-1)?.depth).toBe(19_999);
  });
});

describe("a clock that is behind", () => {
  const other = { service: "peer", resource: { "service.instance.id": "h2" } };

  test("moves a child that began before its parent into the middle of it, with all of its process", () => {
    const nodes = spanTree([
      aSpan("root"),
      aSpan("serve", "root", { ...other, startUnixNano: 500n, endUnixNano: 900n }),
      aSpan("disk", "serve", { ...other, startUnixNano: 600n, endUnixNano: 700n }),
    ]);
    expect(
      nodes.map((node) => [node.span.spanId, node.startUnixNano, node.clockShiftNano]),
    ).toEqual([
      ["root", 1000n, 0n],
      ["serve", 1300n, 800n],
      ["disk", 1400n, 800n],
    ]);
  });

  test("is not assumed when a child ends after its parent: work may outlive its cause", () => {
    const nodes = spanTree([
      aSpan("root"),
      aSpan("serve", "root", { ...other, startUnixNano: 1500n, endUnixNano: 9000n }),
    ]);
    expect(nodes[1]?.clockShiftNano).toBe(0n);
  });

  test("does not make the trace longer than it was", () => {
    const spans = [
      aSpan("root"),
      aSpan("serve", "root", { ...other, startUnixNano: 1n, endUnixNano: 401n }),
    ];
    expect(summaryOf(spans, [])).toMatchObject({ startUnixNano: 1000n, durationNano: 1000n });
  });
});

test("a summary counts spans by service and errors, and shows the root's highlights only", () => {
  const summary = summaryOf(
    [
      aSpan("root", undefined, { attributes: { traffic: "remote_peer" } }),
      aSpan("s", "root", { service: "scheduler", status: "error", attributes: { outcome: "bad" } }),
      aSpan("f", "root"),
    ],
    ["traffic", "outcome"],
  );
  expect(summary).toMatchObject({
    rootName: "root",
    spanCount: 3,
    errorCount: 1,
    services: [
      ["peer", 2],
      ["scheduler", 1],
    ],
    highlights: [["traffic", "remote_peer"]],
  });
  expect(summaryOf([], [])).toBeUndefined();
});
