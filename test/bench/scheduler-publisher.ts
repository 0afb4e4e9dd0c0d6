import { connect } from "@nats-io/transport-node";
import { publishTraffic, trafficMessages } from "../support/scheduler-traffic.ts";

/** The hosts of the benchmark, in a process of their own: `scheduler-publisher.ts <nats url> <hosts> <tasks> <messages> <pieces> <facts a message>`. */
const [url = "", ...counts] = process.argv.slice(2);
const [hostCount = 1, taskCount = 1, messageCount = 1, pieceCount = 1, factsPerMessage = 1] =
  counts.map(Number);
const connection = await connect({ servers: url });
const traffic = { hostCount, taskCount, messageCount, pieceCount, factsPerMessage };
const last = await publishTraffic(connection, trafficMessages(traffic));
await connection.close();
process.send?.(last);
process.disconnect();
