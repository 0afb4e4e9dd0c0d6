import { headers, type NatsConnection } from "@nats-io/transport-node";
import { AssignmentMessage } from "@lacewing/contracts/gen/lacewing/assignments/v1/assignments.ts";
import type { HostId } from "@lacewing/contracts/ids.ts";
import { assignmentsSubject } from "@lacewing/contracts/subjects.ts";
import type { Log } from "@lacewing/observability/log.ts";
import { TRACEPARENT } from "@lacewing/observability/trace.ts";
import { messageOf } from "@lacewing/runtime/errors.ts";
import type { AssignmentSender } from "../../app/ports.ts";

/** Assignments by core NATS: not stored, one subject for each host. */
export class NatsAssignmentSender implements AssignmentSender {
  readonly #connection: NatsConnection;
  readonly #log: Log;

  constructor(connection: NatsConnection, log: Log) {
    this.#connection = connection;
    this.#log = log;
  }

  send(hostId: HostId, message: AssignmentMessage, traceparent: string): void {
    const data = AssignmentMessage.encode(message).finish();
    try {
      if (traceparent === "") this.#connection.publish(assignmentsSubject(hostId), data);
      else {
        const header = headers();
        header.set(TRACEPARENT, traceparent);
        this.#connection.publish(assignmentsSubject(hostId), data, { headers: header });
      }
    } catch (error) {
      // Lost messages are made good by the next request or announce.
      this.#log.warn("assignment not sent", { hostId, message: messageOf(error) });
    }
  }
}
