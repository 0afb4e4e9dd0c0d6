import { SETTINGS as peer } from "@lacewing/peer/config.ts";
import { SETTINGS as scheduler } from "@lacewing/scheduler/config.ts";
import { SETTINGS as traces } from "@lacewing/traces/config.ts";
import type { z } from "zod";
import { cell, table } from "./markdown.ts";

/** Sizes from here on are shown in units. */
const MIB = 2 ** 20;

/** The schemas of the services that read settings from the environment. */
export const SETTINGS_OF = { peer, scheduler, traces } as const;

/** One row per setting: name, default and what it means with its unit, as the schema says. */
export function settingsTable(schema: z.ZodObject): string {
  const rows = fieldsOf(schema).map(([name, field]) => [
    `\`${name}\``,
    defaultOf(field),
    cell(field.description ?? ""),
  ]);
  return table(["setting", "default", "meaning"], rows);
}

/** Settings without a description: they may not exist. */
export function undescribed(schema: z.ZodObject): readonly string[] {
  return fieldsOf(schema)
    .filter(([, field]) => field.description === undefined)
    .map(([name]) => name);
}

function fieldsOf(schema: z.ZodObject): readonly (readonly [string, z.ZodType])[] {
  const shape: Readonly<Record<string, z.ZodType>> = schema.shape;
  return Object.entries(shape);
}

/** What the schema makes of nothing. */
function defaultOf(field: z.ZodType): string {
  const result = field.safeParse(undefined);
  if (!result.success) return "required";
  if (result.data === undefined) return "unset";
  return result.data === "" ? "empty" : `\`${shown(result.data)}\``;
}

function shown(value: unknown): string {
  if (typeof value === "number" && value >= MIB && value % MIB === 0) {
    return value % 1024 ** 3 === 0 ? `${value / 1024 ** 3}GiB` : `${value / MIB}MiB`;
  }
  if (typeof value === "object" && value !== null && "host" in value && "port" in value) {
    return `${String(value.host)}:${String(value.port)}`;
  }
  return String(value);
}
