import type { Event } from "@lacewing/contracts/gen/lacewing/events/v1/events.ts";
import { ATTRIBUTE, SPAN } from "@lacewing/observability/semconv.ts";
import {
  contextFromTraceparent,
  endSpan,
  type Span,
  startSpan,
  traceparentOf,
} from "@lacewing/observability/trace.ts";
import type { Answer } from "../core/answer.ts";
import type { Host } from "../core/state.ts";
import { OPEN_SPANS_MAX } from "./limits.ts";

/** One `schedule` span for each request, from folding it to sending the first answer. */
export class ScheduleSpans {
  readonly #open = new Map<string, Span>();

  /**
   * Starts the span of a request, and puts it where the request's own was, so that what follows hangs below it.
   *
   * @param host as it is before the event is folded: a request that it waits for already has had its span.
   */
  begin(event: Event, host: Host | undefined): Event {
    if (event.kind?.$case !== "taskRequested" || event.traceparent === "") return event;
    const { requestId, taskId } = event.kind.value;
    if (host?.requests.has(requestId) === true || this.#open.size >= OPEN_SPANS_MAX) return event;
    const span = startSpan(SPAN.schedule, {
      parent: contextFromTraceparent(event.traceparent),
      side: "consumer",
      attributes: { [ATTRIBUTE.taskId]: taskId, [ATTRIBUTE.requestId]: requestId },
    });
    const traceparent = traceparentOf(span);
    if (traceparent === undefined) return event;
    this.#open.set(requestId, span);
    return { ...event, traceparent };
  }

  /** Ends the span of the request that the answer is for, when it is the first. */
  end(answer: Answer): void {
    if (answer.kind !== "lease" && answer.kind !== "pending") return;
    const requestId = answer.kind === "lease" ? answer.lease.requestId : answer.requestId;
    const span = this.#open.get(requestId);
    if (span === undefined) return;
    this.#open.delete(requestId);
    endSpan(span, {
      attributes: {
        [ATTRIBUTE.childHostId]: answer.hostId,
        [ATTRIBUTE.outcome]: answer.kind,
        [ATTRIBUTE.leaseReason]: answer.kind === "lease" ? answer.lease.reason : answer.reason,
        ...(answer.kind === "lease"
          ? {
              [ATTRIBUTE.leaseId]: answer.lease.leaseId,
              [ATTRIBUTE.parentHostId]: answer.lease.parentHostId || "origin",
            }
          : {}),
      },
    });
  }

  /** Ends all: their answers will not come from this session. */
  close(): void {
    for (const span of this.#open.values())
      endSpan(span, { attributes: { [ATTRIBUTE.outcome]: "abandoned" } });
    this.#open.clear();
  }
}
