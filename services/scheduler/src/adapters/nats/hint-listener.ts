import type { NatsConnection } from "@nats-io/transport-node";
import { decodeReaderHint, type ReaderHint } from "@lacewing/contracts/hints.ts";
import { HINTS_FILTER } from "@lacewing/contracts/subjects.ts";
import type { Log } from "@lacewing/observability/log.ts";
import { messageOf } from "@lacewing/runtime/errors.ts";

/** Hears what holds readers up, until the connection closes. Hints are stored nowhere: what is malformed or lost is worth a line in the log. */
export function listenForHints(
  connection: NatsConnection,
  log: Log,
  onHint: (hint: ReaderHint) => void,
): void {
  connection.subscribe(HINTS_FILTER, {
    callback: (error, { subject, data }) => {
      if (error !== null) {
        const hint = `let this NATS user subscribe to ${HINTS_FILTER}, and start the scheduler anew`;
        log.warn("hints cannot be received", { message: messageOf(error), hint });
        return;
      }
      const decoded = decodeReaderHint(subject, data);
      if (decoded.ok) onHint(decoded.hint);
      else log.debug("hint refused", { subject, reason: decoded.reason });
    },
  });
}
