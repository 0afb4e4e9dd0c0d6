import { bigint, smallint, text } from "drizzle-orm/pg-core";
import { instant, lacewing } from "./schema.ts";

/** Which scheduler owns a slice. */
export const slices = lacewing.table("slices", {
  slice: smallint("slice").primaryKey(),
  ownerId: text("owner_id"),
  epoch: bigint("epoch", { mode: "number" }).notNull().default(0),
  leasedUntil: instant("leased_until").notNull(),
});

/** The log position that the rows of a slice include. */
export const checkpoints = lacewing.table("checkpoints", {
  slice: smallint("slice").primaryKey(),
  epoch: bigint("epoch", { mode: "number" }).notNull().default(0),
  eventsSequence: bigint("events_sequence", { mode: "number" }).notNull().default(0),
  decisionsSequence: bigint("decisions_sequence", { mode: "number" }).notNull().default(0),
  lastMessageId: text("last_message_id").notNull().default(""),
  updatedAt: instant("updated_at").notNull().defaultNow(),
});
