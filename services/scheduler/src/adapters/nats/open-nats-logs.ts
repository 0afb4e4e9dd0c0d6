import { jetstream, jetstreamManager } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/transport-node";
import type { Log } from "@lacewing/observability/log.ts";
import type { LogHistory } from "../../app/explain/ports.ts";
import type { AssignmentSender, BrokerLink, DecisionLog, EventLog } from "../../app/ports.ts";
import { NatsAssignmentSender } from "./assignment-sender.ts";
import { ConnectionWatch } from "./connection-watch.ts";
import { NatsDecisionLog } from "./decision-log.ts";
import { NatsEventLog } from "./event-log.ts";
import { NatsLogHistory } from "./log-history.ts";
import { StreamRestore } from "./stream-restore.ts";
import { ensureStreams, type StreamLimits } from "./streams.ts";

/** Everything that the scheduler needs of the broker, over one connection. */
export interface NatsLogs {
  readonly eventLog: EventLog;
  readonly decisionLog: DecisionLog;
  readonly sender: AssignmentSender;
  readonly link: BrokerLink;
  /** Both logs again, for questions. */
  readonly history: LogHistory;
}

/** @throws {PortError} when the broker has no JetStream or its streams do not fit. */
export async function openNatsLogs(
  connection: NatsConnection,
  limits: StreamLimits,
  log: Log,
): Promise<NatsLogs> {
  const watch = new ConnectionWatch(connection, log);
  // The check asks for account information, which a user with few rights may not have.
  const manager = await jetstreamManager(connection, { checkAPI: false });
  await ensureStreams(manager, limits, log);
  const restore = new StreamRestore(() => ensureStreams(manager, limits, log), log);
  const tools = { client: jetstream(connection), manager, watch, restore };
  return {
    eventLog: new NatsEventLog(tools),
    decisionLog: new NatsDecisionLog(tools),
    sender: new NatsAssignmentSender(connection, log),
    link: watch,
    history: new NatsLogHistory(tools),
  };
}
