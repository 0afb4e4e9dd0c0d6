import type { Log } from "@lacewing/observability/log.ts";
import { PortError } from "@lacewing/runtime/errors.ts";
import { LOG_LOST } from "../../app/ports.ts";
import { isApiError, natsError, STREAM_NOT_FOUND } from "./nats-errors.ts";

/** Makes the streams again when the broker came back without them: nobody else would, and every call would fail for ever. */
export class StreamRestore {
  readonly #ensure: () => Promise<void>;
  readonly #log: Log;
  /** Every slice notices the loss at once; one of them mends it. */
  #restoring: Promise<void> | undefined;

  constructor(ensure: () => Promise<void>, log: Log) {
    this.#ensure = ensure;
    this.#log = log;
  }

  /**
   * What a failed call is to throw. A missing stream is made before.
   *
   * @throws {PortError} when the streams cannot be made.
   */
  async failureOf(what: string, error: unknown): Promise<PortError> {
    if (!isApiError(error, STREAM_NOT_FOUND)) return natsError(what, error);
    this.#restoring ??= this.#restore();
    await this.#restoring;
    return new PortError(LOG_LOST, `${what}: the stream was gone`, {
      retryable: true,
      cause: error,
    });
  }

  async #restore(): Promise<void> {
    this.#log.warn("streams are gone, making them again");
    try {
      await this.#ensure();
    } finally {
      this.#restoring = undefined;
    }
  }
}
