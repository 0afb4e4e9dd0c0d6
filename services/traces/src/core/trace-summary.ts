import type { AttributeValue, SpanRecord } from "./span.ts";
import { spanTree } from "./span-tree.ts";

/** One trace as a line of a list. */
export interface TraceSummary {
  readonly traceId: string;
  readonly rootName: string;
  readonly rootService: string;
  /** Nanoseconds since 1970-01-01 UTC. */
  readonly startUnixNano: bigint;
  /** From the first start to the last end, clocks aligned. */
  readonly durationNano: bigint;
  readonly spanCount: number;
  readonly errorCount: number;
  /** Span count by service, most spans first. */
  readonly services: readonly (readonly [service: string, spanCount: number])[];
  /** Those of the highlighted attributes that the root has. */
  readonly highlights: readonly (readonly [attribute: string, value: AttributeValue])[];
}

/** Sums up one trace of at least one span; `undefined` for none. */
export function summaryOf(
  spans: readonly SpanRecord[],
  highlighted: readonly string[],
): TraceSummary | undefined {
  const nodes = spanTree(spans);
  const root = nodes[0];
  if (root === undefined) return undefined;
  const start = nodes.reduce(
    (least, node) => (node.startUnixNano < least ? node.startUnixNano : least),
    root.startUnixNano,
  );
  const end = nodes.reduce(
    (most, node) => (node.endUnixNano > most ? node.endUnixNano : most),
    root.endUnixNano,
  );
  const byService = Map.groupBy(nodes, (node) => node.span.service);
  return {
    traceId: root.span.traceId,
    rootName: root.span.name,
    rootService: root.span.service,
    startUnixNano: start,
    durationNano: end - start,
    spanCount: nodes.length,
    errorCount: nodes.filter((node) => node.span.status === "error").length,
    services: [...byService]
      .map(([service, members]) => [service, members.length] as const)
      .toSorted((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1)),
    highlights: highlighted.flatMap((attribute) => {
      const value = root.span.attributes[attribute];
      return value === undefined ? [] : [[attribute, value] as const];
    }),
  };
}
