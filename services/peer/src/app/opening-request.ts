import { ATTRIBUTE, SPAN } from "@lacewing/observability/semconv.ts";
import { endSpan, type SpanOptions, startSpan } from "@lacewing/observability/trace.ts";
import type { Clock } from "@lacewing/runtime/clock.ts";
import type { DownloadTarget } from "./download-target.ts";
import { type OriginAccess, retryAfterOf } from "./origin-access.ts";
import { OriginDistance } from "./origin-distance.ts";
import type { OriginResponse } from "./ports.ts";

/** The opening request when the content is held somewhere: access check, description and identity in one byte. */
export const PROBE = { start: 0, end: 1 } as const;

/** Sends opening requests: each is a span, and tells how far away its origin is. */
export class OpeningRequests {
  readonly distance = new OriginDistance();
  readonly #clock: Clock;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /**
   * @param isProbe whether a byte of the content is enough.
   * @param client when it aborts, so does the request; its reason is thrown then.
   * @throws {PortError} when the origin cannot be asked.
   */
  async send(
    { access, target, parent }: OpeningRequest,
    isProbe: boolean,
    client: AbortSignal,
  ): Promise<OriginResponse> {
    const span = startSpan(SPAN.originOpen, {
      parent,
      side: "client",
      attributes: { [ATTRIBUTE.url]: target.shownUrl, "lacewing.probe": isProbe },
    });
    const beganAtMs = this.#clock.monotonic();
    try {
      const response = await access.open(isProbe ? PROBE : undefined, client);
      if (retryAfterOf(response) > 0) this.distance.forget(target.url);
      else this.distance.note(target.url, this.#clock.monotonic() - beganAtMs);
      endSpan(span, { attributes: { [ATTRIBUTE.httpResponseStatusCode]: response.status } });
      return response;
    } catch (error) {
      endSpan(span, { error });
      throw error;
    }
  }
}

export interface OpeningRequest {
  readonly access: OriginAccess;
  readonly target: Pick<DownloadTarget, "url" | "shownUrl">;
  /** Above it in the trace. */
  readonly parent: SpanOptions["parent"];
}
