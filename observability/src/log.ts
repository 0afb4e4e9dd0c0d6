import { trace } from "@opentelemetry/api";
import { pino, type Logger } from "pino";
import { LineBatch } from "./line-batch.ts";
import { LogFile } from "./log-file.ts";
import { addRedacted } from "./redaction.ts";

/** Typed facts beside the event name. Units stand in the names: `costMs`, `lengthBytes`. */
export type LogFields = Readonly<Record<string, unknown>>;

/**
 * Where a service says what happens: an event name (few distinct values, no interpolated prose) and fields.
 *
 * `error`: a person must act. `warn`: it mended itself. `info`: a state changed. `debug`: the rest.
 */
export interface Log {
  debug(event: string, fields?: LogFields): void;
  info(event: string, fields?: LogFields): void;
  warn(event: string, fields?: LogFields): void;
  error(event: string, fields?: LogFields): void;
  /** A log whose lines all carry these fields too. */
  child(fields: LogFields): Log;
}

export const LOG_LEVELS = ["debug", "info", "warn", "error", "silent"] as const;
/** The least level that is written. */
export type LogLevel = (typeof LOG_LEVELS)[number];

export interface LogOptions {
  /** One of `SERVICE` in `semconv.ts`. */
  readonly service: string;
  readonly level: LogLevel;
  /** Lines go here too, besides standard output; made with its folders when missing. */
  readonly file?: string | undefined;
  /** Told in every line, so that the logs of a cluster can be put together. */
  readonly hostId?: string | undefined;
  /** Where lines go instead of standard output, one or more at a time. */
  readonly write?: (lines: string) => void;
}

/** The log of a process; its main closes it as the last thing. */
export interface ServiceLog extends Log {
  close(): void;
}

/**
 * Makes the log of a service: JSON lines with ISO time, level name, service, event (also as `msg`), and `trace_id`/`span_id`
 * of the active span. Lines that come close together are written together (see {@link LineBatch}); an orderly exit loses none. Fields pass {@link redacted}.
 */
export function createLog(options: LogOptions): ServiceLog {
  const file = options.file === undefined ? undefined : new LogFile(options.file);
  const writeOut = options.write ?? standardOutput();
  const batch = new LineBatch((lines) => {
    writeOut(lines);
    file?.write(lines);
  });
  const root = pino(
    {
      level: options.level,
      base: {
        service: options.service,
        ...(options.hostId === undefined ? {} : { hostId: options.hostId }),
      },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      mixin: activeTraceIds,
    },
    { write: (line: string) => batch.add(line) },
  );
  return {
    ...logOver(root, () => batch.flush()),
    close: () => {
      batch.close();
      file?.close();
    },
  };
}

function logOver(logger: Logger, flush: () => void): Log {
  const at =
    (level: "debug" | "info" | "warn" | "error") => (event: string, fields?: LogFields) => {
      // Redaction costs more than the test: a silent debug line must be nearly free.
      if (!logger.isLevelEnabled(level)) return;
      logger[level](fieldsForLog(fields, { event }), event);
      // What somebody may have to act on must not wait for a turn that never ends.
      if (level === "warn" || level === "error") flush();
    };
  return {
    debug: at("debug"),
    info: at("info"),
    warn: at("warn"),
    error: at("error"),
    child: (fields) => logOver(logger.child(fieldsForLog(fields)), flush),
  };
}

/** Keys that a line has by itself; a field of the same name would make a JSON object with a key twice. */
const OWN_KEYS = new Set([
  "level",
  "time",
  "service",
  "hostId",
  "event",
  "msg",
  "trace_id",
  "span_id",
]);

/**
 * Fields as a line carries them: redacted, and renamed `field_<key>` where the line has that key itself.
 * @param line what they are added to.
 */
export function fieldsForLog(
  fields: LogFields | undefined,
  line: Record<string, unknown> = {},
): Record<string, unknown> {
  if (fields === undefined) return line;
  return addRedacted(line, fields, (key) => (OWN_KEYS.has(key) ? `field_${key}` : key));
}

function activeTraceIds(): Record<string, string> {
  const ids = trace.getActiveSpan()?.spanContext();
  return ids === undefined ? {} : { trace_id: ids.traceId, span_id: ids.spanId };
}

/** Synchronous standard output. A reader that went away (`| head`) must not end the service. */
function standardOutput(): (line: string) => void {
  const out = pino.destination({ dest: 1, sync: true });
  out.on("error", () => {});
  return (line) => {
    out.write(line);
  };
}
