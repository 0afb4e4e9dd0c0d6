import { z } from "zod";
import { httpGet } from "../support/http.ts";
import { ConditionTimeout, waitFor } from "../support/wait-for.ts";

/** What one trace shows without reading every span. */
export interface TraceSummary {
  readonly traceId: string;
  readonly spanCount: number;
  /** Distinct `service.name`s, sorted. */
  readonly services: readonly string[];
}

/** Services export spans in batches, a few seconds after they ended. */
const EXPORT_TIMEOUT_MS = 15_000;
const POLL_INTERVAL_MS = 250;

/** Jaeger's `/api/v3/traces/{id}`: OTLP resource spans. */
const traceSchema = z.object({
  result: z.object({
    resourceSpans: z.array(
      z.object({
        resource: z.object({
          attributes: z.array(
            z.object({
              key: z.string(),
              value: z.object({ stringValue: z.string().optional() }),
            }),
          ),
        }),
        scopeSpans: z.array(z.object({ spans: z.array(z.unknown()) })),
      }),
    ),
  }),
});

/**
 * Reads a trace, and reads again until spans of peer and scheduler are in or {@link EXPORT_TIMEOUT_MS} have passed.
 *
 * @returns what was there at the end; zero spans when the trace was never found.
 */
export async function readTrace(
  tracesUrl: string,
  traceId: string,
  signal: AbortSignal,
): Promise<TraceSummary> {
  let seen: TraceSummary = { traceId, spanCount: 0, services: [] };
  try {
    return await waitFor(
      `trace ${traceId}`,
      async () => {
        const answer = await httpGet(`${tracesUrl}/api/v3/traces/${traceId}`, { signal });
        if (answer.status !== 200) return undefined;
        seen = summaryOf(traceId, traceSchema.parse(JSON.parse(answer.body.toString())));
        return seen.services.length > 1 ? seen : undefined;
      },
      { timeoutMs: EXPORT_TIMEOUT_MS, intervalMs: POLL_INTERVAL_MS, signal },
    );
  } catch (error) {
    if (error instanceof ConditionTimeout) return seen;
    throw error;
  }
}

function summaryOf(traceId: string, trace: z.infer<typeof traceSchema>): TraceSummary {
  const resources = trace.result.resourceSpans;
  const names = resources.map(
    ({ resource }) =>
      resource.attributes.find(({ key }) => key === "service.name")?.value.stringValue ?? "unknown",
  );
  const spans = resources.flatMap(({ scopeSpans }) => scopeSpans.flatMap((scope) => scope.spans));
  return { traceId, spanCount: spans.length, services: [...new Set(names)].toSorted() };
}
