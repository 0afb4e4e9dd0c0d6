import { z } from "zod";
import type { TraceQuery } from "../../core/span.ts";
import { RequestError } from "./http.ts";

/** Traces of one answer, at most. */
const TRACE_COUNT_MAX = 500;
const TRACE_COUNT_DEFAULT = 20;
const LOOKBACK_DEFAULT = "1h";

const UNIT_NANO: Readonly<Record<string, number>> = {
  ns: 1,
  us: 1e3,
  µs: 1e3,
  μs: 1e3,
  ms: 1e6,
  s: 1e9,
  m: 60e9,
  h: 3600e9,
  d: 86_400e9,
};

/** A length of time as Go writes it (`1h30m`, `1.5s`, `200ms`), and days (`2d`), in nanoseconds; `undefined` when it is none. */
export function parseDuration(text: string): bigint | undefined {
  const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(ns|us|µs|μs|ms|s|m|h|d)/g)];
  if (parts.length === 0 || parts.map((part) => part[0]).join("") !== text) return undefined;
  const nano = parts.reduce(
    (sum, [, value, unit]) => sum + Number(value) * (UNIT_NANO[unit ?? ""] ?? 0),
    0,
  );
  return nano <= Number.MAX_SAFE_INTEGER * 1000 ? BigInt(Math.round(nano)) : undefined;
}

/** A time in RFC 3339 in nanoseconds since 1970; `undefined` when it is none. */
export function parseTime(text: string): bigint | undefined {
  const match = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d*)?(Z|[+-]\d\d:\d\d)$/i.exec(
    text,
  );
  const [, seconds, fraction = "", zone] = match ?? [];
  if (seconds === undefined || zone === undefined) return undefined;
  const ms = Date.parse(seconds + zone.toUpperCase());
  return Number.isNaN(ms) ? undefined : BigInt(ms) * 1_000_000n + BigInt(fraction.padEnd(9, "0"));
}

/**
 * The query of Jaeger's `GET /api/v3/traces`: names with the prefix `query.`, in camelCase or snake_case.
 *
 * @throws {RequestError} 400 that names the wrong parameter. As in Jaeger, both ends of the time range are required.
 */
export function traceQueryOfApi(parameters: URLSearchParams): TraceQuery {
  const read = (camelCase: string, ...aliases: string[]) => {
    const snakeCase = camelCase.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
    const names = [camelCase, snakeCase, ...aliases].map((name) => `query.${name}`);
    const name = names.find((candidate) => given(parameters, candidate) !== undefined);
    return name === undefined ? undefined : { name, text: given(parameters, name) ?? "" };
  };
  const time = (name: string) => {
    const found = read(name);
    if (found === undefined) {
      throw new RequestError(
        400,
        `query.${name} is required: a time in RFC 3339, e.g. 2026-01-31T00:00:00Z`,
      );
    }
    return parsed(found, parseTime, "a time in RFC 3339, e.g. 2026-01-31T00:00:00Z");
  };
  const duration = (name: string) => {
    const found = read(name);
    return found && parsed(found, parseDuration, DURATION_HINT);
  };
  const attributes = read("attributes");
  const limit = read("searchDepth", "num_traces", "numTraces");
  return {
    service: read("serviceName")?.text,
    operation: read("operationName")?.text,
    startMinUnixNano: time("startTimeMin"),
    startMaxUnixNano: time("startTimeMax"),
    durationMinNano: duration("durationMin"),
    durationMaxNano: duration("durationMax"),
    attributes:
      attributes === undefined
        ? {}
        : parsed(
            attributes,
            parseJsonTags,
            'a JSON object, e.g. {"lacewing.traffic":"remote_peer"}',
          ),
    traceCountMax:
      limit === undefined ? TRACE_COUNT_DEFAULT : parsed(limit, parseLimit, LIMIT_HINT),
  };
}

/** A query of the search page, and the texts it came from. */
export interface PageQuery {
  readonly query: TraceQuery;
  readonly lookback: string;
  readonly limit: string;
}

/**
 * The query of the search page: names and forms of Jaeger's own page; tags also as `key=value key=value`.
 *
 * @throws {RequestError} 400 that names the wrong field.
 */
export function traceQueryOfPage(parameters: URLSearchParams, nowMs: number): PageQuery {
  const field = <T>(name: string, parse: (text: string) => T | undefined, hint: string) => {
    const text = given(parameters, name);
    return text === undefined ? undefined : parsed({ name, text }, parse, hint);
  };
  const lookback = given(parameters, "lookback") ?? LOOKBACK_DEFAULT;
  const now = BigInt(Math.trunc(nowMs)) * 1_000_000n;
  const traceCountMax = field("limit", parseLimit, LIMIT_HINT) ?? TRACE_COUNT_DEFAULT;
  return {
    query: {
      service: given(parameters, "service"),
      operation: given(parameters, "operation"),
      startMinUnixNano:
        now - parsed({ name: "lookback", text: lookback }, parseDuration, DURATION_HINT),
      // Clocks of other machines may be a little ahead.
      startMaxUnixNano: now + 60_000_000_000n,
      durationMinNano: field("minDuration", parseDuration, DURATION_HINT),
      durationMaxNano: field("maxDuration", parseDuration, DURATION_HINT),
      attributes: field("tags", parseTags, "key=value pairs or a JSON object") ?? {},
      traceCountMax,
    },
    lookback,
    limit: String(traceCountMax),
  };
}

const DURATION_HINT = "a length of time, e.g. 200ms, 1.5s, 1h30m, 2d";
const LIMIT_HINT = `a number from 1 to ${TRACE_COUNT_MAX}`;
/** Conditions of one query. */
const TAG_COUNT_MAX = 16;

/** Empty is the same as absent; NUL can be in no stored text. */
function given(parameters: URLSearchParams, name: string): string | undefined {
  const text = parameters.get(name)?.trim().replaceAll("\0", "");
  return text === "" ? undefined : text;
}

function parsed<T>(
  found: { readonly name: string; readonly text: string },
  parse: (text: string) => T | undefined,
  hint: string,
): T {
  const value = parse(found.text);
  if (value === undefined) {
    throw new RequestError(400, `malformed parameter ${found.name}: must be ${hint}`);
  }
  return value;
}

function parseLimit(text: string): number | undefined {
  const count = /^\d{1,6}$/.test(text) ? Number(text) : 0;
  return count >= 1 ? Math.min(count, TRACE_COUNT_MAX) : undefined;
}

const TAGS = z.record(
  z.string(),
  z.union([z.string(), z.number(), z.boolean()]).transform((value) => String(value)),
);

function parseJsonTags(text: string): Readonly<Record<string, string>> | undefined {
  try {
    const content: unknown = JSON.parse(text);
    const tags = TAGS.safeParse(content).data;
    return tags === undefined || Object.keys(tags).length > TAG_COUNT_MAX ? undefined : tags;
  } catch {
    return undefined;
  }
}

function parseTags(text: string): Readonly<Record<string, string>> | undefined {
  if (text.startsWith("{")) return parseJsonTags(text);
  const pairs = [...text.matchAll(/([^\s="]+)=(?:"([^"]*)"|(\S*))/g)];
  const isAll = text.replaceAll(/([^\s="]+)=(?:"([^"]*)"|(\S*))/g, "").trim() === "";
  if (!isAll || pairs.length > TAG_COUNT_MAX) return undefined;
  return Object.fromEntries(
    pairs.map(([, key, quoted, plain]) => [key ?? "", quoted ?? plain ?? ""]),
  );
}
