import { bigint, boolean, jsonb, primaryKey, smallint, text } from "drizzle-orm/pg-core";
import { bytea, instant, lacewing } from "./schema.ts";

/** Machines that run the peer service. */
export const hosts = lacewing.table("hosts", {
  hostId: text("host_id").primaryKey(),
  bootId: text("boot_id").notNull(),
  kind: text("kind", { enum: ["normal", "seed"] }).notNull(),
  transferAddress: text("transfer_address").notNull(),
  idc: text("idc").notNull(),
  location: text("location").notNull(),
  uploadSlots: bigint("upload_slots", { mode: "number" }).notNull(),
  freeBytes: bigint("free_bytes", { mode: "number" }).notNull(),
  quotaBytes: bigint("quota_bytes", { mode: "number" }).notNull(),
  state: text("state", { enum: ["alive", "left", "lost"] }).notNull(),
  announcedAt: instant("announced_at").notNull(),
  updatedAt: instant("updated_at").notNull().defaultNow(),
  forgottenAt: instant("forgotten_at"),
});

/** Contents that are, or were, distributed. */
export const tasks = lacewing.table("tasks", {
  taskId: text("task_id").primaryKey(),
  slice: smallint("slice").notNull(),
  url: text("url").notNull(),
  sharingDomain: text("sharing_domain").notNull(),
  anchor: text("anchor").notNull(),
  tag: text("tag").notNull(),
  application: text("application").notNull(),
  priority: bigint("priority", { mode: "number" }).notNull(),
  lengthBytes: bigint("length_bytes", { mode: "number" }),
  pieceLengthBytes: bigint("piece_length_bytes", { mode: "number" }),
  etag: text("etag").notNull(),
  contentType: text("content_type").notNull(),
  pieceDigests: bytea("piece_digests").notNull(),
  state: text("state", { enum: ["active", "verified", "retired"] }).notNull(),
  retiredReason: text("retired_reason").notNull(),
  createdAt: instant("created_at").notNull(),
  updatedAt: instant("updated_at").notNull().defaultNow(),
  forgottenAt: instant("forgotten_at"),
});

/** One host's participation in one task. */
export const peers = lacewing.table(
  "peers",
  {
    taskId: text("task_id").notNull(),
    hostId: text("host_id").notNull(),
    slice: smallint("slice").notNull(),
    incarnation: bigint("incarnation", { mode: "number" }).notNull(),
    bitmap: bytea("bitmap").notNull(),
    heldPieceCount: bigint("held_piece_count", { mode: "number" }).notNull(),
    isVerified: boolean("is_verified").notNull(),
    requests: jsonb("requests").notNull().default([]),
    isSeeding: boolean("is_seeding").notNull(),
    updatedAt: instant("updated_at").notNull().defaultNow(),
    isApart: boolean("is_apart").notNull().default(false),
  },
  (table) => [primaryKey({ columns: [table.taskId, table.hostId] })],
);

/** Grants "this child takes these pieces from this parent". */
export const leases = lacewing.table("leases", {
  leaseId: text("lease_id").primaryKey(),
  taskId: text("task_id").notNull(),
  slice: smallint("slice").notNull(),
  epoch: bigint("epoch", { mode: "number" }).notNull(),
  childHostId: text("child_host_id").notNull(),
  parentHostId: text("parent_host_id"),
  pieces: text("pieces").notNull(),
  pieceCount: bigint("piece_count", { mode: "number" }).notNull(),
  isOpen: boolean("is_open").notNull(),
  requestId: text("request_id").notNull(),
  reason: text("reason").notNull(),
  candidateCount: bigint("candidate_count", { mode: "number" }).notNull(),
  grantedAt: instant("granted_at").notNull(),
  durationMs: bigint("duration_ms", { mode: "number" }).notNull(),
  traceparent: text("traceparent").notNull(),
  outcome: text("outcome").notNull(),
  endedAt: instant("ended_at"),
  bytes: bigint("bytes", { mode: "number" }).notNull(),
  transferMs: bigint("transfer_ms", { mode: "number" }).notNull(),
});
