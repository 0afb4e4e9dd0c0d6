import { parseDigest, parseTaskId } from "@lacewing/contracts/ids.ts";
import { PIECE_COUNT_MAX } from "@lacewing/contracts/limits.ts";
import { isPieceLength, CONTENT_LENGTH_BYTES_MAX } from "@lacewing/contracts/piece-length.ts";
import { pieceCountOf } from "@lacewing/contracts/pieces.ts";
import { InvariantViolation } from "@lacewing/runtime/errors.ts";
import { z } from "zod";
import type { TaskDescription } from "../../app/ports.ts";

export function encodeDescription(description: TaskDescription): string {
  return JSON.stringify(description);
}

/** A description as it was stored; `undefined` when it is not understood. */
export function decodeDescription(text: string): TaskDescription | undefined {
  try {
    const json: unknown = JSON.parse(text);
    return descriptionSchema.safeParse(json).data;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw new InvariantViolation(`decoding a description threw ${String(error)}`);
  }
}

const branded = <T>(parse: (text: string) => T | undefined) =>
  z.string().transform((text, context): T => {
    const value = parse(text);
    if (value !== undefined) return value;
    context.addIssue({ code: "custom", message: "not of the expected form" });
    return z.NEVER;
  });

/** A description as JSON; other fields, of a later version, are ignored. */
const descriptionSchema = z
  .object({
    taskId: branded(parseTaskId),
    url: z.string(),
    sharingDomain: z.string(),
    anchor: branded(parseDigest).optional(),
    lengthBytes: z.number().int().min(0).max(CONTENT_LENGTH_BYTES_MAX),
    pieceLengthBytes: z.number().refine(isPieceLength),
    etag: z.string(),
    lastModified: z.string(),
    contentType: z.string(),
    createdAtMs: z.number(),
  })
  .transform((fields): TaskDescription => ({ ...fields, anchor: fields.anchor }))
  .refine((description) => pieceCountOf(description) <= PIECE_COUNT_MAX);
