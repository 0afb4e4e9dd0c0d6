import { fieldsForLog, type Log, type LogFields } from "./log.ts";

/** One line as the memory log keeps it. */
export interface LogEntry {
  readonly level: "debug" | "info" | "warn" | "error";
  readonly event: string;
  /** Redacted as in a written line. */
  readonly fields: Readonly<Record<string, unknown>>;
}

export interface MemoryLog extends Log {
  /** Every line so far, of this log and its children, in order. */
  readonly entries: readonly LogEntry[];
}

/** The log's in-memory twin for tests: keeps lines of every level instead of writing them. */
export function createMemoryLog(): MemoryLog {
  const entries: LogEntry[] = [];
  return { ...logInto(entries, {}), entries };
}

function logInto(entries: LogEntry[], inherited: Readonly<Record<string, unknown>>): Log {
  const at = (level: LogEntry["level"]) => (event: string, fields?: LogFields) => {
    entries.push({ level, event, fields: { ...inherited, ...fieldsForLog(fields) } });
  };
  return {
    debug: at("debug"),
    info: at("info"),
    warn: at("warn"),
    error: at("error"),
    child: (fields) => logInto(entries, { ...inherited, ...fieldsForLog(fields) }),
  };
}
