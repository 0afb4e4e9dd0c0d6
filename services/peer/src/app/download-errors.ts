import { PortError } from "@lacewing/runtime/errors.ts";

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
