import type { TaskRequested } from "@lacewing/contracts/gen/lacewing/events/v1/events.ts";
import { ATTRIBUTE, SPAN } from "@lacewing/observability/semconv.ts";
import { endSpan, startSpan, traceparentOf } from "@lacewing/observability/trace.ts";
import type { Flow } from "./download-answers.ts";
import type { FirstAnswer } from "./opening.ts";
import type { TaskRegistry } from "./task-registry.ts";

/** The scheduler's first word about a request, in a span of its own. */
export async function firstWordOn(
  registry: TaskRegistry,
  flow: Flow,
  asked: TaskRequested,
): Promise<FirstAnswer> {
  // Told ahead: the span of that request is above this one's in the trace.
  const known = registry.firstAnswerTo(asked.requestId);
  if (known !== undefined) return known;
  const span = startSpan(SPAN.taskRequest, {
    parent: flow.record.span,
    side: "client",
    attributes: { [ATTRIBUTE.taskId]: asked.taskId, [ATTRIBUTE.requestId]: asked.requestId },
  });
  const first = await registry.ask(asked, traceparentOf(span) ?? "");
  endSpan(span, { attributes: { [ATTRIBUTE.outcome]: first } });
  return first;
}
