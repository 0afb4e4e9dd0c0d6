import { z } from "zod";
import { contentSchema } from "./content.ts";
import { originFaultSchema } from "./origin-fault.ts";

/** What the process that started an origin asks of it over IPC; one answer each, in any order. */
export const originCallSchema = z.object({
  id: z.number(),
  call: z.discriminatedUnion("method", [
    z.object({
      method: z.literal("add_object"),
      content: contentSchema,
      oid: z.string().optional(),
    }),
    z.object({
      method: z.literal("put_file"),
      name: z.string(),
      content: contentSchema,
      headers: z.record(z.string(), z.string()).optional(),
    }),
    z.object({
      method: z.literal("set_faults"),
      key: z.string(),
      faults: z.array(originFaultSchema),
    }),
    z.object({ method: z.literal("set_rate"), bytesPerSecond: z.number().optional() }),
    z.object({ method: z.literal("stats") }),
    z.object({ method: z.literal("reset_stats") }),
  ]),
});
export type OriginCall = z.infer<typeof originCallSchema>["call"];

export const lfsObjectSchema = z.object({ oid: z.string(), sizeBytes: z.number() });

export const originMessageSchema = z.discriminatedUnion("type", [
  z.object({ type: z.literal("ready"), port: z.number() }),
  z.object({ type: z.literal("answer"), id: z.number(), value: z.unknown().optional() }),
  z.object({ type: z.literal("failure"), id: z.number(), message: z.string() }),
]);
export type OriginMessage = z.infer<typeof originMessageSchema>;
