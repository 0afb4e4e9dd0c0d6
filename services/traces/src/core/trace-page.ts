import type { Attributes, SpanRecord } from "./span.ts";
import { colourClass, counted, durationText, html, page, timeText, type Html } from "./html.ts";
import { spanTree, type SpanNode } from "./span-tree.ts";
import { summaryOf } from "./trace-summary.ts";

/** Units across a bar; an SVG attribute, because the content security policy forbids style attributes. */
const BAR_WIDTH = 1000;
/** A short span is still seen. */
const BAR_WIDTH_MIN = 3;
const GRID_LINES = [0.25, 0.5, 0.75];
/** Deeper spans are not moved further to the right. */
const INDENT_DEPTH_MAX = 20;

/** The waterfall of one trace. `isCut` says that the store held more spans than it gave. */
export function tracePage(traceId: string, spans: readonly SpanRecord[], isCut: boolean): string {
  const summary = summaryOf(spans, []);
  if (summary === undefined) return noTracePage(traceId);
  const nodes = spanTree(spans);
  const { startUnixNano: start, durationNano: duration } = summary;
  const cut = isCut
    ? html`<p class="problem">Only the first ${nodes.length} spans are shown.</p>`
    : "";
  return page(
    `${summary.rootService}: ${summary.rootName}`,
    html`<h1>${summary.rootService}: ${summary.rootName}</h1>
      <p class="sub">
        <code>${traceId}</code> · ${timeText(start)} UTC · <b>${durationText(duration)}</b> ·
        ${counted(summary.spanCount, "span")} · ${counted(summary.services.length, "service")} ·
        <a href="/api/v3/traces/${traceId}">OTLP JSON</a> ·
        <a href="/api/traces/${traceId}">Jaeger JSON</a>
      </p>
      ${cut}
      <div class="fall">
        ${axis(duration)}${nodes.map((node) => spanRow(node, start, duration))}
      </div>`,
  );
}

/** The page for an id that no stored span has. */
export function noTracePage(traceId: string): string {
  return page(
    "Trace not found",
    html`<p class="note">
      No span of trace <code>${traceId}</code> is stored. It may not have been sent yet, or it is
      older than the retention.
    </p>`,
  );
}

function axis(duration: bigint): Html {
  const ticks = [0n, 1n, 2n, 3n, 4n].map(
    (quarter) =>
      html`<span>${quarter === 0n ? "0" : durationText((duration * quarter) / 4n)}</span>`,
  );
  return html`<div class="axis">
    <span>Span</span><span class="ticks">${ticks}</span><span class="time">Duration</span>
  </div>`;
}

function spanRow(node: SpanNode, start: bigint, duration: bigint): Html {
  const { span } = node;
  const colour = span.status === "error" ? "fail" : colourClass(span.service);
  const depth = Math.min(node.depth, INDENT_DEPTH_MAX);
  const marks = [
    ...(span.status === "error" ? [html`<span class="chip bad">error</span>`] : []),
    ...(node.isOrphan
      ? [html`<span class="chip" title="its parent was not received">no parent</span>`]
      : []),
  ];
  return html`<details>
    <summary class="row">
      <span class="name d${depth}"
        ><i class="pip ${colourClass(span.service)}"></i><b>${span.name}</b>${marks}<span
          class="svc"
          >${processLabel(span)}</span
        ></span
      >${bar(node, start, duration, colour)}<span class="time"
        >${durationText(span.endUnixNano - span.startUnixNano)}</span
      >
    </summary>
    <div class="more">${details(node, start)}</div>
  </details> `;
}

function bar(node: SpanNode, start: bigint, duration: bigint, colour: string): Html {
  const scale = (nano: bigint) =>
    duration === 0n ? 0 : Number((nano * BigInt(BAR_WIDTH)) / duration);
  const width = Math.max(BAR_WIDTH_MIN, scale(node.endUnixNano - node.startUnixNano));
  const x = Math.min(scale(node.startUnixNano - start), BAR_WIDTH - BAR_WIDTH_MIN);
  const grid = GRID_LINES.map(
    (share) =>
      html`<line
        class="grid"
        x1="${share * BAR_WIDTH}"
        x2="${share * BAR_WIDTH}"
        y1="0"
        y2="32"
      />`,
  );
  return html`<svg
    class="bar"
    viewBox="0 0 ${BAR_WIDTH} 32"
    preserveAspectRatio="none"
    aria-hidden="true"
  >
    ${grid}
    <rect class="${colour}" x="${x}" y="10" width="${width}" height="12" rx="1" />
  </svg>`;
}

function details(node: SpanNode, start: bigint): Html {
  const { span } = node;
  const facts: Attributes = {
    "span id": span.spanId,
    kind: span.kind,
    service: span.service,
    started: `${timeText(span.startUnixNano)} UTC (+${durationText(node.startUnixNano - start)})`,
    ...(span.parentSpanId === undefined ? {} : { "parent span id": span.parentSpanId }),
    ...(span.status === "unset" ? {} : { status: `${span.status} ${span.statusMessage}`.trim() }),
    ...(node.clockShiftNano === 0n
      ? {}
      : {
          "clock moved by": durationText(
            node.clockShiftNano < 0n ? -node.clockShiftNano : node.clockShiftNano,
          ),
        }),
  };
  const events = Object.fromEntries(
    span.events.map((event, index) => [
      `${index + 1}. ${event.name}`,
      { at: `${timeText(BigInt(event.unixNano))} UTC`, ...event.attributes },
    ]),
  );
  const links = Object.fromEntries(
    span.links.map((link) => [link.spanId, { trace: link.traceId, ...link.attributes }]),
  );
  return html`${table("Attributes", span.attributes)}${table("Events", events)}${table("Links", links)}${table("Span", facts)}${table("Process", span.resource)}`;
}

function table(title: string, values: Attributes): Html {
  const rows = Object.entries(values).map(
    ([key, value]) =>
      html`<tr>
        <td>${key}</td>
        <td>${typeof value === "string" ? value : JSON.stringify(value)}</td>
      </tr>`,
  );
  return rows.length === 0
    ? html``
    : html`<h3>${title}</h3>
        <table>
          ${rows}
        </table>`;
}

/** Service and the start of its instance: two peers of one trace must be told apart. */
function processLabel(span: SpanRecord): string {
  const INSTANCE_LENGTH_MAX = 12;
  const instance = span.resource["service.instance.id"];
  return typeof instance === "string"
    ? `${span.service} ${instance.slice(0, INSTANCE_LENGTH_MAX)}`
    : span.service;
}
