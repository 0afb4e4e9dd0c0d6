import { z } from "zod";
import { httpGet } from "./http.ts";

const value = z.object({
  stringValue: z.string().optional(),
  boolValue: z.boolean().optional(),
  intValue: z.coerce.string().optional(),
  doubleValue: z.number().optional(),
});
const attributes = z.array(z.object({ key: z.string(), value }));

/** Jaeger's `/api/v3/traces/{id}`: OTLP resource spans. */
const traceSchema = z.object({
  result: z.object({
    resourceSpans: z.array(
      z.object({
        resource: z.object({ attributes }),
        scopeSpans: z.array(
          z.object({
            spans: z.array(
              z.object({
                traceId: z.string(),
                spanId: z.string(),
                parentSpanId: z.string().optional(),
                name: z.string(),
                attributes: attributes.optional(),
              }),
            ),
          }),
        ),
      }),
    ),
  }),
});

export interface TraceSpan {
  readonly service: string;
  readonly traceId: string;
  readonly spanId: string;
  /** Empty for a root. */
  readonly parentSpanId: string;
  readonly name: string;
  readonly attributes: Readonly<Record<string, string>>;
}

/** The spans of one trace; empty while the store does not know it. */
export async function readSpans(tracesUrl: string, traceId: string): Promise<readonly TraceSpan[]> {
  const answer = await httpGet(`${tracesUrl}/api/v3/traces/${traceId}`);
  if (answer.status !== 200) return [];
  const { result } = traceSchema.parse(JSON.parse(answer.body.toString()));
  return result.resourceSpans.flatMap(({ resource, scopeSpans }) => {
    const service = textsOf(resource.attributes)["service.name"] ?? "";
    return scopeSpans.flatMap(({ spans }) =>
      spans.map((span) => ({
        service,
        traceId: span.traceId,
        spanId: span.spanId,
        parentSpanId: span.parentSpanId ?? "",
        name: span.name,
        attributes: textsOf(span.attributes ?? []),
      })),
    );
  });
}

function textsOf(list: z.infer<typeof attributes>): Record<string, string> {
  return Object.fromEntries(
    list.map(({ key, value: typed }) => [
      key,
      typed.stringValue ?? typed.intValue ?? String(typed.doubleValue ?? typed.boolValue ?? ""),
    ]),
  );
}
