import type { MetricDefinition, MetricUnit } from "./semconv.ts";

/** Label values of one metric; more go into one series `overflow="true"`, because a label with ids would fill memory. */
const SERIES_COUNT_MAX = 100;

type Labels = Readonly<Record<string, string>>;

export interface Counter {
  /** Adds `amount` (in the metric's unit, not negative) to the series with these labels. */
  add(amount: number, labels?: Labels): void;
}

export interface Gauge {
  set(value: number, labels?: Labels): void;
  /** Reads the value when somebody looks, instead of storing it. */
  observe(read: () => number): void;
}

/** The numbers of one process, as `/metrics` shows them. */
export interface MetricRegistry {
  counter(definition: MetricDefinition & { readonly kind: "counter" }): Counter;
  gauge(definition: MetricDefinition & { readonly kind: "gauge" }): Gauge;
  /** Prometheus text format 0.0.4. */
  render(): string;
}

/** Content type of {@link MetricRegistry.render}. */
export const METRICS_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8";

interface Family {
  readonly definition: MetricDefinition;
  /** Value by rendered labels. */
  readonly series: Map<string, number>;
  read: (() => number) | undefined;
}

export function createMetricRegistry(): MetricRegistry {
  const families = new Map<string, Family>();
  const familyOf = (definition: MetricDefinition): Family => {
    const known = families.get(definition.name);
    if (known !== undefined) return known;
    const family: Family = { definition, series: new Map(), read: undefined };
    // A counter without labels is 0, not absent: a rate needs a first value.
    if (definition.labels.length === 0) family.series.set("", 0);
    families.set(definition.name, family);
    return family;
  };
  return {
    counter: (definition) => {
      const family = familyOf(definition);
      return {
        add: (amount, labels = {}) => {
          if (!(amount >= 0)) return;
          const key = seriesKey(family, labels);
          family.series.set(key, (family.series.get(key) ?? 0) + amount);
        },
      };
    },
    gauge: (definition) => {
      const family = familyOf(definition);
      return {
        set: (value, labels = {}) => {
          family.series.set(seriesKey(family, labels), value);
        },
        observe: (read) => {
          family.read = read;
        },
      };
    },
    render: () => [...families.values()].map(renderFamily).join(""),
  };
}

function seriesKey(family: Family, labels: Labels): string {
  const key = family.definition.labels
    .map((label) => `${label}="${escapeLabel(labels[label] ?? "")}"`)
    .join(",");
  return family.series.has(key) || family.series.size < SERIES_COUNT_MAX ? key : 'overflow="true"';
}

function renderFamily(family: Family): string {
  const { definition } = family;
  const name = prometheusName(definition);
  if (family.read !== undefined) family.series.set("", family.read());
  const lines = [...family.series].map(
    ([labels, value]) => `${name}${labels === "" ? "" : `{${labels}}`} ${value}\n`,
  );
  return `# HELP ${name} ${definition.description.replaceAll("\\", "\\\\").replaceAll("\n", "\\n")}\n# TYPE ${name} ${definition.kind}\n${lines.join("")}`;
}

const UNIT_SUFFIX = {
  By: "_bytes",
  s: "_seconds",
  ms: "_milliseconds",
  "1": "",
} as const satisfies Record<MetricUnit, string>;

/** OpenTelemetry's rule: dots become underscores, the unit and, for counters, `_total` are appended. */
export function prometheusName(definition: MetricDefinition): string {
  const total = definition.kind === "counter" ? "_total" : "";
  return `${definition.name.replaceAll(/[^a-zA-Z0-9_]/g, "_")}${UNIT_SUFFIX[definition.unit]}${total}`;
}

function escapeLabel(value: string): string {
  return value.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
}
