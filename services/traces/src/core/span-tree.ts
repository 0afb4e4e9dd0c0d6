import type { SpanRecord } from "./span.ts";

/** A span in its place, with the times at which to draw it. */
export interface SpanNode {
  readonly span: SpanRecord;
  /** 0 for a root. */
  readonly depth: number;
  /** The parent is named but was not received (yet): drawn as a root. */
  readonly isOrphan: boolean;
  /**
   * Nanoseconds added to the span's own times, because its process's clock is behind its parent's: a child cannot start before
   * its parent. 0 when the clocks agree.
   */
  readonly clockShiftNano: bigint;
  /** Shifted start. */
  readonly startUnixNano: bigint;
  /** Shifted end. */
  readonly endUnixNano: bigint;
}

/**
 * The spans of one trace as a tree, flattened in reading order: a parent before its children, siblings by start. Every span
 * appears once, also when its parent is missing or when parents form a circle.
 */
export function spanTree(spans: readonly SpanRecord[]): readonly SpanNode[] {
  const byId = new Map(spans.map((span) => [span.spanId, span]));
  const ordered = [...byId.values()].toSorted(byStart);
  const children = Map.groupBy(ordered, (span) => span.parentSpanId ?? "");
  const nodes: SpanNode[] = [];
  const placed = new Set<string>();
  const place = (root: SpanRecord): void => {
    // A stack, not recursion: a chain may be as long as a trace.
    const waiting: { span: SpanRecord; parent: SpanNode | undefined }[] = [
      { span: root, parent: undefined },
    ];
    for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
      if (placed.has(next.span.spanId)) continue;
      placed.add(next.span.spanId);
      const node = nodeOf(next.span, next.parent);
      nodes.push(node);
      const below = children.get(next.span.spanId) ?? [];
      waiting.push(...below.toReversed().map((span) => ({ span, parent: node })));
    }
  };
  for (const span of ordered) {
    if (span.parentSpanId === undefined || !byId.has(span.parentSpanId)) place(span);
  }
  // What is left hangs on a circle of parents: begin at its earliest span.
  for (const span of ordered) place(span);
  return nodes;
}

function nodeOf(span: SpanRecord, parent: SpanNode | undefined): SpanNode {
  const shift = parent === undefined ? 0n : clockShift(span, parent);
  return {
    span,
    depth: parent === undefined ? 0 : parent.depth + 1,
    isOrphan: parent === undefined && span.parentSpanId !== undefined,
    clockShiftNano: shift,
    startUnixNano: span.startUnixNano + shift,
    endUnixNano: span.endUnixNano + shift,
  };
}

/** A process has one clock: its spans move together. Another process's span moves only when cause would follow effect. */
function clockShift(span: SpanRecord, parent: SpanNode): bigint {
  if (processOf(span) === processOf(parent.span)) return parent.clockShiftNano;
  if (span.startUnixNano >= parent.startUnixNano) return 0n;
  const parentLength = parent.endUnixNano - parent.startUnixNano;
  const length = span.endUnixNano - span.startUnixNano;
  // In the middle of the parent when it fits: the ways there and back are taken as equally long.
  const way = length < parentLength ? (parentLength - length) / 2n : 0n;
  return parent.startUnixNano + way - span.startUnixNano;
}

/** Tells processes apart: service and instance. */
export function processOf(span: SpanRecord): string {
  const instance = span.resource["service.instance.id"];
  return `${span.service} ${typeof instance === "string" ? instance : ""}`;
}

function byStart(a: SpanRecord, b: SpanRecord): number {
  if (a.startUnixNano !== b.startUnixNano) return a.startUnixNano < b.startUnixNano ? -1 : 1;
  return a.spanId < b.spanId ? -1 : 1;
}
