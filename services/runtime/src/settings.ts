import { readFileSync } from "node:fs";
import { parse } from "yaml";
import { z } from "zod";

/** The operator's settings are wrong. The message names every wrong one and what to do; it holds no secret. */
export class SettingsError extends Error {
  override readonly name = "SettingsError";
}

/** A duration in milliseconds, given as a whole number. */
export const durationMs = (fallbackMs: number) => wholeNumber(0).default(fallbackMs);

/** A count with a floor. */
export const count = (fallback: number, min = 0) => wholeNumber(min).default(fallback);

/** Digits only: JavaScript's own conversion reads a blank as 0 and takes `0x10` and `1e3`. */
const wholeNumber = (min: number) =>
  z.union([z.number(), z.string()]).transform((value, context) => {
    const number =
      typeof value === "number" || /^\d+$/.test(value.trim()) ? Number(value) : Number.NaN;
    if (!Number.isSafeInteger(number) || number < min) {
      context.addIssue({ code: "custom", message: `not a whole number from ${min}` });
      return z.NEVER;
    }
    return number;
  });

const bytes = z.union([z.number(), z.string()]).transform((value, context) => {
  const parsed = typeof value === "number" ? value : parseByteSize(value);
  if (parsed === undefined || !Number.isSafeInteger(parsed) || parsed < 0) {
    context.addIssue({ code: "custom", message: "not a size: write bytes or e.g. 64MiB, 20GiB" });
    return z.NEVER;
  }
  return parsed;
});

/** A number of bytes: `1048576`, `64KiB`, `20GiB`, `1.5GB`. */
export const byteSize = (fallback: number | undefined) =>
  fallback === undefined ? bytes.optional() : bytes.default(fallback);

/** Bytes per second, written likewise; 0, and without a setting: no limit. */
export const byteRate = (min: number) =>
  bytes
    .refine((rate) => rate === 0 || rate >= min, `must be 0 or at least ${min} bytes per second`)
    .default(0);

const BYTE_UNITS: Readonly<Record<string, number>> = {
  "": 1,
  b: 1,
  k: 2 ** 10,
  kib: 2 ** 10,
  kb: 1e3,
  m: 2 ** 20,
  mib: 2 ** 20,
  mb: 1e6,
  g: 2 ** 30,
  gib: 2 ** 30,
  gb: 1e9,
  t: 2 ** 40,
  tib: 2 ** 40,
  tb: 1e12,
};

/** Bytes of `64MiB`, `512M` (= MiB), `1GB` (= 10^9) or `4096`; `undefined` when the text is no size. */
export function parseByteSize(text: string): number | undefined {
  const match = /^\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*$/i.exec(text);
  const unit = BYTE_UNITS[match?.[2]?.toLowerCase() ?? "?"];
  return match?.[1] === undefined || unit === undefined
    ? undefined
    : Math.round(Number(match[1]) * unit);
}

/** A listening or peer address. */
export interface SocketAddress {
  readonly host: string;
  /** 0 asks the system for a free port. */
  readonly port: number;
}

/** `127.0.0.1:65001`, `[::1]:65001`; port 0 asks for a free one. */
export const socketAddress = (fallback: string) =>
  z
    .string()
    .default(fallback)
    .transform((text, context): SocketAddress => {
      const match = /^(\[[0-9a-f:]+\]|[^:\s]+):(\d{1,5})$/i.exec(text);
      const port = Number(match?.[2]);
      if (match?.[1] === undefined || port > 65535) {
        context.addIssue({ code: "custom", message: `"${text}" is not host:port` });
        return z.NEVER;
      }
      return { host: match[1].replace(/^\[|\]$/g, ""), port };
    });

/**
 * Reads settings from the environment. Only names with the schema's keys are looked at; empty strings count as unset.
 *
 * @throws {SettingsError} naming every setting that is wrong.
 */
export function readSettings<T extends z.ZodRawShape>(
  schema: z.ZodObject<T>,
  env: Readonly<Record<string, string | undefined>>,
): z.infer<z.ZodObject<T>> {
  const given = Object.fromEntries(
    Object.keys(schema.shape)
      .map((key) => [key, env[key]] as const)
      .filter(([, value]) => value !== undefined && value !== ""),
  );
  return parseOrThrow(schema, given, "settings in the environment");
}

/**
 * Reads a YAML (or JSON) settings file against a strict schema.
 *
 * @throws {SettingsError} naming the file, every wrong key, and for an unknown key the nearest known one.
 */
export function readSettingsFile<T extends z.ZodType>(schema: T, path: string): z.infer<T> {
  let content: unknown;
  try {
    content = parse(readFileSync(path, "utf8")) ?? {};
  } catch (error) {
    throw new SettingsError(
      `cannot read ${path}: ${error instanceof Error ? error.message : String(error)}`,
    );
  }
  return parseOrThrow(schema, content, path);
}

function parseOrThrow<T extends z.ZodType>(schema: T, value: unknown, where: string): z.infer<T> {
  const result = schema.safeParse(value, {
    error: (issue) => (issue.input === undefined ? "is missing" : undefined),
  });
  if (result.success) return result.data;
  const lines = result.error.issues.map((issue) => `  ${describeIssue(issue, schema)}`);
  throw new SettingsError(
    `${where}: ${lines.length} problem${lines.length === 1 ? "" : "s"}\n${lines.join("\n")}`,
  );
}

function describeIssue(issue: z.core.$ZodIssue, schema: z.ZodType): string {
  const at = issue.path.length === 0 ? "" : `${issue.path.join(".")}: `;
  if (issue.code !== "unrecognized_keys") return `${at}${issue.message}`;
  const known = keysAt(schema, issue.path);
  return issue.keys
    .map((key) => {
      const near = nearestKey(key, known);
      return `${at}unknown key "${key}"${near === undefined ? `; known: ${known.join(", ")}` : `; did you mean "${near}"?`}`;
    })
    .join("; ");
}

/** The known keys of the object schema found by walking `path`, through arrays, defaults and optionals. */
function keysAt(schema: z.ZodType, path: readonly PropertyKey[]): readonly string[] {
  let node: z.ZodType | undefined = unwrap(schema);
  for (const step of path) {
    if (node instanceof z.ZodObject)
      node = unwrap((node.shape as Record<string, z.ZodType>)[String(step)]);
    else if (node instanceof z.ZodArray) node = unwrap(node.element as z.ZodType);
    else return [];
  }
  return node instanceof z.ZodObject ? Object.keys(node.shape) : [];
}

function unwrap(schema: z.ZodType | undefined): z.ZodType | undefined {
  let node = schema;
  while (
    node instanceof z.ZodDefault ||
    node instanceof z.ZodOptional ||
    node instanceof z.ZodPrefault
  ) {
    node = node.unwrap() as z.ZodType;
  }
  return node;
}

/** The known key within two edits of `key`, nearest first. */
export function nearestKey(key: string, known: readonly string[]): string | undefined {
  const EDITS_MAX = 2;
  return known
    .map((candidate) => ({
      candidate,
      edits: editDistance(key.toLowerCase(), candidate.toLowerCase()),
    }))
    .filter(({ edits }) => edits <= EDITS_MAX)
    .toSorted((a, b) => a.edits - b.edits)[0]?.candidate;
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const substitution = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(substitution, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
