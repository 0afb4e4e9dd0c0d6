import { z } from "zod";
import type {
  AnyValue,
  ExportTraceServiceRequest,
  KeyValue,
} from "@lacewing/contracts/gen/lacewing/otlp/v1/trace.ts";

/**
 * OTLP's JSON encoding (opentelemetry-proto docs/specification.md, "JSON Protobuf Encoding"): ids in hex, 64-bit numbers as strings or
 * numbers, enums as numbers, unknown fields ignored.
 */
const hexBytes = z
  .string()
  .regex(/^([0-9a-f]{2})*$/i, "must be hex digits")
  .default("")
  .transform((text): Uint8Array => Buffer.from(text, "hex"));

const wholeNumber = z
  .union([
    z.string().regex(/^-?\d{1,20}$/, "must be a whole number"),
    z.number().refine(Number.isInteger, "must be a whole number"),
  ])
  .transform((value) => (typeof value === "number" ? BigInt(value).toString() : value));

const nanoseconds = wholeNumber.default("0");

const anyValue: z.ZodType<AnyValue> = z.lazy(() =>
  z
    .object({
      stringValue: z.string().optional(),
      boolValue: z.boolean().optional(),
      intValue: wholeNumber.optional(),
      doubleValue: z
        .union([z.number(), z.enum(["NaN", "Infinity", "-Infinity"]).transform(Number)])
        .optional(),
      arrayValue: z.object({ values: z.array(anyValue).default([]) }).optional(),
      kvlistValue: z.object({ values: z.array(keyValue).default([]) }).optional(),
      bytesValue: z.base64().optional(),
    })
    .transform((given): AnyValue => ({ value: oneofOf(given) })),
);

const keyValue: z.ZodType<KeyValue> = z.lazy(() =>
  z
    .object({ key: z.string().default(""), value: anyValue.optional() })
    .transform(({ key, value }): KeyValue => ({ key, value })),
);

const attributes = z.array(keyValue).default([]);

const enumNumber = <T extends number>(values: readonly T[], fallback: T) =>
  z
    .number()
    .default(fallback)
    .transform((value): T => values.find((known) => known === value) ?? fallback);

const span = z.object({
  traceId: hexBytes,
  spanId: hexBytes,
  traceState: z.string().default(""),
  parentSpanId: hexBytes,
  name: z.string().default(""),
  kind: enumNumber([0, 1, 2, 3, 4, 5], 0),
  startTimeUnixNano: nanoseconds,
  endTimeUnixNano: nanoseconds,
  attributes,
  events: z
    .array(z.object({ timeUnixNano: nanoseconds, name: z.string().default(""), attributes }))
    .default([]),
  links: z
    .array(
      z.object({
        traceId: hexBytes,
        spanId: hexBytes,
        traceState: z.string().default(""),
        attributes,
      }),
    )
    .default([]),
  status: z
    .object({ message: z.string().default(""), code: enumNumber([0, 1, 2], 0) })
    .optional()
    .transform((status) => status),
});

const request = z.object({
  resourceSpans: z
    .array(
      z
        .object({
          resource: z.object({ attributes }).optional(),
          scopeSpans: z
            .array(
              z
                .object({
                  scope: z
                    .object({ name: z.string().default(""), version: z.string().default("") })
                    .optional(),
                  spans: z
                    .array(span.transform((given) => ({ ...given, status: given.status })))
                    .default([]),
                })
                .transform(({ scope, spans }) => ({ scope, spans })),
            )
            .default([]),
        })
        .transform(({ resource, scopeSpans }) => ({ resource, scopeSpans })),
    )
    .default([]),
});

/**
 * Reads an OTLP JSON body.
 *
 * @throws {SyntaxError} when it is no JSON. @throws {z.ZodError} when it is no such message.
 */
export function requestOfJson(text: string): ExportTraceServiceRequest {
  const content: unknown = JSON.parse(text);
  return request.parse(content);
}

function oneofOf(given: {
  readonly stringValue?: string | undefined;
  readonly boolValue?: boolean | undefined;
  readonly intValue?: string | undefined;
  readonly doubleValue?: number | undefined;
  readonly arrayValue?: { values: AnyValue[] } | undefined;
  readonly kvlistValue?: { values: KeyValue[] } | undefined;
  readonly bytesValue?: string | undefined;
}): AnyValue["value"] {
  if (given.stringValue !== undefined) return { $case: "stringValue", value: given.stringValue };
  if (given.boolValue !== undefined) return { $case: "boolValue", value: given.boolValue };
  if (given.intValue !== undefined) return { $case: "intValue", value: given.intValue };
  if (given.doubleValue !== undefined) return { $case: "doubleValue", value: given.doubleValue };
  if (given.arrayValue !== undefined) return { $case: "arrayValue", value: given.arrayValue };
  if (given.kvlistValue !== undefined) return { $case: "kvlistValue", value: given.kvlistValue };
  if (given.bytesValue !== undefined) {
    return { $case: "bytesValue", value: Buffer.from(given.bytesValue, "base64") };
  }
  return undefined;
}
