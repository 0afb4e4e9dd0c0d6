import type { AttributeValue } from "./span.ts";
import type { TraceSummary } from "./trace-summary.ts";
import { colourClass, counted, durationText, type Html, html, page, timeText } from "./html.ts";

/** What the person asked for, as text, and what there is to choose from. */
export interface SearchForm {
  readonly service: string;
  readonly operation: string;
  readonly lookback: string;
  readonly minDuration: string;
  readonly maxDuration: string;
  readonly tags: string;
  readonly limit: string;
  readonly services: readonly string[];
  readonly operations: readonly string[];
}

/** Spans of time to choose from; any other, such as `30m`, may stand in the address. */
const LOOKBACKS = ["15m", "1h", "6h", "24h", "2d", "7d"];
/** Bars wider than this are drawn to the end. */
const METER_WIDTH = 1000;

/** The page that finds traces. `problem` says what is wrong with the question. */
export function searchPage(
  form: SearchForm,
  traces: readonly TraceSummary[],
  problem: string | undefined,
): string {
  const longest = traces.reduce(
    (most, trace) => (trace.durationNano > most ? trace.durationNano : most),
    1n,
  );
  const results =
    traces.length === 0
      ? html`<p class="note">
          No traces found. Widen the time range, or download something through the proxy and reload.
        </p>`
      : html`<p class="sub">
            <b>${traces.length}</b> ${traces.length === 1 ? "trace" : "traces"}, newest first; times
            in UTC
          </p>
          ${traces.map((trace) => traceCard(trace, longest))}`;
  return page(
    form.service === "" ? "Traces" : `Traces of ${form.service}`,
    html`${formHtml(form)}${problem === undefined ? "" : html`<p class="problem">${problem}</p>`}${results}`,
  );
}

function formHtml(form: SearchForm): Html {
  return html`<form method="get" action="/search">
    <label
      >Service<select name="service">
        <option value="">all</option>
        ${options(form.services, form.service)}
      </select></label
    >
    <label
      >Operation<select name="operation">
        <option value="">all</option>
        ${options(form.operations, form.operation)}
      </select></label
    >
    <label
      >Lookback<select name="lookback">
        ${options(LOOKBACKS, form.lookback)}
      </select></label
    >
    <label
      >Tags<input name="tags" value="${form.tags}" placeholder="lacewing.traffic=remote_peer"
    /></label>
    <label
      >Min duration<input name="minDuration" value="${form.minDuration}" placeholder="100ms"
    /></label>
    <label
      >Max duration<input name="maxDuration" value="${form.maxDuration}" placeholder="5s"
    /></label>
    <label>Limit<input name="limit" value="${form.limit}" inputmode="numeric" /></label>
    <div><button>Find traces</button></div>
  </form> `;
}

function options(values: readonly string[], chosen: string): Html[] {
  const all = chosen === "" || values.includes(chosen) ? values : [chosen, ...values];
  return all.map((value) =>
    value === chosen
      ? html`<option value="${value}" selected>${value}</option>`
      : html`<option value="${value}">${value}</option>`,
  );
}

function traceCard(trace: TraceSummary, longest: bigint): Html {
  const width = Math.max(2, Number((trace.durationNano * BigInt(METER_WIDTH)) / longest));
  const errors =
    trace.errorCount === 0
      ? ""
      : html`<span class="chip bad">${counted(trace.errorCount, "error")}</span>`;
  return html`<a class="trace" href="/trace/${trace.traceId}">
    <div class="top">
      <strong>${trace.rootService}: ${trace.rootName}</strong>${errors}<code class="dim"
        >${trace.traceId.slice(0, 7)}</code
      ><span class="dur">${durationText(trace.durationNano)}</span>
    </div>
    <svg class="meter" viewBox="0 0 ${METER_WIDTH} 3" preserveAspectRatio="none" aria-hidden="true">
      <rect class="${colourClass(trace.rootService)}" width="${width}" height="3" />
    </svg>
    <div class="chips">
      <span class="chip">${counted(trace.spanCount, "span")}</span>${trace.services.map(
        ([service, count]) =>
          html`<span class="chip"
            ><i class="dot ${colourClass(service)}"></i>${service} (${count})</span
          >`,
      )}${trace.highlights.map(([name, value]) => html`<span class="chip"><span class="dim">${name}</span> ${shortText(value)}</span>`)}<span
        class="right dim"
        >${timeText(trace.startUnixNano)}</span
      >
    </div>
  </a> `;
}

/** Ids and URLs in a list are cut; the trace's page shows them whole. */
function shortText(value: AttributeValue): string {
  const LENGTH_MAX = 60;
  const text = typeof value === "string" ? value : JSON.stringify(value);
  if (/^[0-9a-f]{32,}$/.test(text)) return `${text.slice(0, 12)}…`;
  return text.length <= LENGTH_MAX ? text : `${text.slice(0, LENGTH_MAX)}…`;
}
