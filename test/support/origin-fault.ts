import { z } from "zod";
import { contentSchema } from "./content.ts";

const bytes = z.number().int().min(0);

/** One way for an origin to misbehave. Several can be set for one key; they are applied together. */
export const originFaultSchema = z.discriminatedUnion("kind", [
  /** The byte at `offset` is served inverted; length and ETag stay those of the true content. */
  z.object({ kind: z.literal("flip_byte"), offset: bytes }),
  /** Bytes of another content are served under this name, with the other content's length. */
  z.object({ kind: z.literal("other_content"), content: contentSchema }),
  /** The connection is reset after so many body bytes. */
  z.object({ kind: z.literal("close_after"), bytes }),
  /** The body ends after so many bytes in an orderly way (FIN), though `Content-Length` promised more. */
  z.object({ kind: z.literal("end_after"), bytes }),
  /** The body stops after so many bytes and the connection stays open. */
  z.object({ kind: z.literal("stall_after"), bytes }),
  /** `Content-Length` says this, whatever the body is; the connection is closed after the body. */
  z.object({ kind: z.literal("claim_length"), contentLength: bytes }),
  /** A range request gets 200 and the whole content. */
  z.object({ kind: z.literal("ignore_range") }),
  /** The request is read and never answered. */
  z.object({ kind: z.literal("never_answer") }),
  z.object({
    kind: z.literal("status"),
    status: z.number().int().min(400).max(599),
    retryAfterSeconds: z.number().int().min(0).optional(),
  }),
  /** To a path on this origin or an absolute URL elsewhere. */
  z.object({
    kind: z.literal("redirect"),
    location: z.string(),
    status: z.union([
      z.literal(301),
      z.literal(302),
      z.literal(303),
      z.literal(307),
      z.literal(308),
    ]),
  }),
  /** Neither ETag nor Last-Modified. */
  z.object({ kind: z.literal("no_validator") }),
  /** A weak ETag and no Last-Modified. */
  z.object({ kind: z.literal("weak_validator") }),
  /** The body comes with `Content-Encoding: gzip`, whether or not the client accepts it. */
  z.object({ kind: z.literal("gzip") }),
  /** Chunked transfer encoding: the length is not told. */
  z.object({ kind: z.literal("chunked") }),
]);
export type OriginFault = Readonly<z.infer<typeof originFaultSchema>>;

/** The faults of one request, by kind. */
export class FaultSet {
  readonly #faults: readonly OriginFault[];

  constructor(faults: readonly OriginFault[]) {
    this.#faults = faults;
  }

  get<Kind extends OriginFault["kind"]>(
    kind: Kind,
  ): Extract<OriginFault, { kind: Kind }> | undefined {
    return this.#faults.find((fault): fault is Extract<OriginFault, { kind: Kind }> => {
      return fault.kind === kind;
    });
  }

  has(kind: OriginFault["kind"]): boolean {
    return this.get(kind) !== undefined;
  }
}
