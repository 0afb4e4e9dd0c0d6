import type { DownloadOutcome } from "@lacewing/contracts/events/reasons.ts";
import { PortError } from "@lacewing/runtime/errors.ts";
import type { OriginRefusal } from "./ports.ts";

/** The content does not agree with its anchor. */
export class AnchorMismatch extends PortError {
  constructor(message: string) {
    super("anchor_mismatch", message, { retryable: false });
    this.name = "AnchorMismatch";
  }
}

/** The content cannot be brought: the origin failed too often, it changed, or there is no place for it. */
export class DownloadFailure extends PortError {
  constructor(message: string) {
    super("download_failed", message, { retryable: true });
    this.name = "DownloadFailure";
  }
}

/** The store failed under a download: what is missing can still come straight from the origin. */
export class StorageFailure extends DownloadFailure {
  constructor(detail: string) {
    super(`the content cannot be stored: ${detail}`);
    this.name = "StorageFailure";
  }
}

/** The origin refuses the client after all, before it got anything: it is told what the origin said. */
export class OriginRefused extends DownloadFailure {
  readonly refusal: OriginRefusal;
  constructor(refusal: OriginRefusal) {
    super(`the origin answered ${refusal.status}`);
    this.name = "OriginRefused";
    this.refusal = refusal;
  }
}

/** What becomes of a download that could not be answered, as its account tells it. */
export function failureOutcome(error: unknown, signal: AbortSignal): DownloadOutcome {
  if (signal.aborted) return "client_gone";
  return error instanceof AnchorMismatch ? "anchor_mismatch" : "failed";
}

/** Why a fetch was broken off. Made once: nearly every small download ends with it, and the stack of a new one would say nothing. */
export const NOBODY_WAITS = new Error("no client waits for it any more");
