import { customType, pgSchema, timestamp } from "drizzle-orm/pg-core";

/** Everything of Lacewing's lives in this one schema; nothing outside is touched. */
export const SCHEMA = "lacewing";

export const lacewing = pgSchema(SCHEMA);

/** Binary columns; drizzle has none of its own. */
export const bytea = customType<{ data: Buffer; driverData: Buffer }>({
  dataType: () => "bytea",
});

/** A point in time; read as a `Date` with millisecond precision. */
export function instant(name: string) {
  return timestamp(name, { withTimezone: true, mode: "date" });
}
